package hostiletest

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strconv"
	"strings"
	"testing"
	"time"

	"godax"
	"godax/internal/daxtest"
	"godax/pmem"
)

var (
	mutations = flag.Int("mutations", 200, "number of mutated images")
	seed      = flag.Uint64("seed", 1, "seed of the first mutated image")
)

const (
	timeLimit   = 4 * time.Second // of the processor
	memoryLimit = 64 << 20        // above the image's size
)

// childEnv names the image that this process, started by the test, is to read.
const childEnv = "GODAX_HOSTILE_IMAGE"

func TestMain(m *testing.M) {
	if path := os.Getenv(childEnv); path != "" {
		os.Exit(child(path))
	}
	os.Exit(m.Run())
}

// child reads one image and prints what it found and used.
func child(path string) int {
	before := peakMemory()
	dev, err := pmem.Open(path, pmem.Options{ReadOnly: true})
	if err != nil {
		fmt.Println("refused:", err)
		return 0
	}
	start := daxtest.CPUTime()
	w, err := readAll(dev, timeLimit)
	if err != nil {
		fmt.Println("error:", err)
		return 1
	}
	took := daxtest.CPUTime() - start
	fmt.Printf("%d names, %d bytes, %d errors, %v, %d KiB\n", w.names, w.bytes, w.errors, took.Round(time.Millisecond), (peakMemory()-before)/1024)
	if used := peakMemory() - before; used > memoryLimit+dev.Size() {
		fmt.Printf("error: %d bytes of memory for an image of %d\n", used, dev.Size())
		return 1
	}
	return 0
}

// peakMemory is the most memory this process has had, in bytes, since it began or
// since resetPeak.
func peakMemory() int64 { return memory("VmHWM:") }

// resetPeak gives unused memory back, makes the rest the peak, and returns it (proc(5),
// clear_refs). Where that is not possible the old peak stays.
func resetPeak() int64 {
	debug.FreeOSMemory() // what the last image has left would hide what the next one takes
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		return peakMemory()
	}
	return memory("VmRSS:")
}

// memory is a field of /proc/self/status, in bytes.
func memory(field string) int64 {
	b, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for s := bufio.NewScanner(bytes.NewReader(b)); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), field); ok {
			kb, _ := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10
		}
	}
	return 0
}

// TestDamagedImages reads every damaged image of the test data, each in a process
// of its own, which must end in time, without a panic and with bounded memory.
func TestDamagedImages(t *testing.T) {
	images, err := filepath.Glob(filepath.Join(daxtest.TestData(t, "ext-corrupt"), "*.img.gz"))
	if err != nil || len(images) == 0 {
		t.Fatalf("no damaged images in the test data: %v", err)
	}
	for _, gz := range images {
		t.Run(strings.TrimSuffix(filepath.Base(gz), ".img.gz"), func(t *testing.T) {
			image := filepath.Join(t.TempDir(), "image")
			if err := os.WriteFile(image, daxtest.Gunzip(t, gz), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), childEnv+"="+image)
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			t.Log(strings.TrimSpace(string(out)))

			dev := daxtest.MemoryImage(t, image)
			if err := writeSome(dev, timeLimit); err != nil {
				t.Errorf("writing: %v", err)
			}
		})
	}
}

// TestMutatedImages changes healthy images at random, metadata preferred, and reads
// and writes what comes out. -mutations says how many, -seed where to begin; the
// seed of a failure is printed.
func TestMutatedImages(t *testing.T) { mutated(t, healthyImages(t), mutate) }

// mutated does the work of TestMutatedImages for the images of one format.
func mutated(t *testing.T, healthy [][]byte, mutate func(r *rand.Rand, img []byte)) {
	n := *mutations
	if testing.Short() {
		n = min(n, 50)
	}
	var slowest time.Duration
	var most int64
	listed := 0
	for s := *seed; s < *seed+uint64(n); s++ {
		r := rand.New(rand.NewPCG(s, 77))
		img := bytes.Clone(healthy[r.IntN(len(healthy))])
		mutate(r, img)
		before := resetPeak()
		start := daxtest.CPUTime()
		dev, err := pmem.NewMemory(int64(len(img)), pmem.MemoryOptions{})
		if err != nil {
			t.Fatal(err)
		}
		b, err := dev.Bytes(0, int64(len(img)))
		if err != nil {
			t.Fatal(err)
		}
		copy(b, img)
		w, err := readAll(dev, timeLimit)
		if err != nil {
			t.Errorf("seed %d: reading: %v", s, err)
		}
		if w.names > 0 {
			listed++
		}
		slowest = max(slowest, daxtest.CPUTime()-start)
		if err := writeSome(dev, timeLimit); err != nil {
			t.Errorf("seed %d: writing: %v", s, err)
		}
		if err := dev.Close(); err != nil {
			t.Errorf("seed %d: close: %v", s, err)
		}
		used := peakMemory() - before
		if most = max(most, used-int64(len(img))); used > memoryLimit+int64(len(img)) {
			t.Errorf("seed %d: memory grew by %d bytes for an image of %d", s, used, len(img))
		}
	}
	t.Logf("%d images, %d of them with names, the slowest read in %v of processor time, at most %d KiB more than the image in memory",
		n, listed, slowest, most>>10)
	if listed < n/3 {
		t.Errorf("only %d of %d images show anything: the mutations are too coarse to find much", listed, n)
	}
}

// healthyImages returns images of both revisions, all block sizes and many features: those of
// the test data that can be opened, for the others are refused whatever else is in them.
func healthyImages(t *testing.T) [][]byte {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(daxtest.TestData(t, "ext"), "*.img.gz"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no images in the test data: %v", err)
	}
	var all [][]byte
	for _, gz := range found {
		img := daxtest.Gunzip(t, gz)
		f, err := godax.OpenDevice(daxtest.MemoryDevice(t, img), godax.Options{ReadOnly: true})
		if errors.Is(err, godax.ErrUnsupported) {
			continue
		}
		if err != nil {
			t.Fatalf("%s: %v", gz, err)
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
		all = append(all, img)
	}
	return all
}

// mutate changes a few places: bytes, words set to extremes or to the number of
// some block, blocks copied over others. Half of them are in the first 64 KiB, where
// superblock, descriptors, bitmaps and inodes are; the others are where the image is
// not zero.
func mutate(r *rand.Rand, img []byte) {
	for range 1 + r.IntN(8) {
		at := r.IntN(min(len(img), 64<<10))
		if r.IntN(2) == 0 {
			for range 64 {
				if at = r.IntN(len(img)); img[at] != 0 {
					break
				}
			}
		}
		switch r.IntN(4) {
		case 0:
			img[at] = byte(r.Uint32())
		case 1:
			img[at] ^= 1 << r.IntN(8)
		case 2:
			at &^= 3
			words := []uint32{0, 1, 2, 0x7fffffff, 0x80000000, 0xffffffff, r.Uint32N(uint32(len(img) >> 10)), r.Uint32()}
			w := words[r.IntN(len(words))]
			img[at], img[at+1], img[at+2], img[at+3] = byte(w), byte(w>>8), byte(w>>16), byte(w>>24)
		case 3:
			const block = 1024
			to, from := at&^(block-1), r.IntN(len(img))&^(block-1)
			if max(to, from)+block <= len(img) {
				copy(img[to:to+block], img[from:from+block])
			}
		}
	}
}
