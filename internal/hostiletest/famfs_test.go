package hostiletest

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"math/rand/v2"
	"testing"
	"time"

	"godax"
	"godax/fs/famfs"
	"godax/pmem"
	"godax/vfs"
)

const (
	famfsHost    = "00000000-1111-8222-8333-444444444444"
	famfsSize    = 14 << 20
	famfsLog     = 2 << 20
	famfsEntries = 30
	famfsEntry   = 544
)

// famfsMedium makes a medium with files of all shapes.
func famfsMedium(t *testing.T) (pmem.Device, []byte) {
	t.Helper()
	t.Setenv(famfs.HostEnv, famfsHost)
	dev, err := pmem.NewMemory(famfsSize, pmem.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	if err := famfs.Format(dev, famfs.FormatOptions{Unit: 4096}); err != nil {
		t.Fatal(err)
	}
	f, err := godax.OpenDevice(dev, godax.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for i := range famfsEntries {
		name := string(rune('A' + i))
		if i%5 == 0 {
			err = f.Mkdir(name, 0o755)
		} else {
			o := godax.CreateOptions{Perm: 0o644}
			if i%3 == 0 {
				o.Stripe = godax.Stripe{Strips: 1 + i%4, Chunk: 4096}
			}
			dir := string(rune('A'+i/5*5)) + "/"
			var file *godax.File
			if file, err = f.CreateSized(dir+name, int64(i)*5000+1, o); err == nil {
				err = file.Close()
			}
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := dev.Bytes(0, famfsSize)
	if err != nil {
		t.Fatal(err)
	}
	return dev, b
}

// mutateFamfs changes a few places of superblock, log header and entries; three times of four it
// makes the checksums right, as somebody who means it would.
func mutateFamfs(r *rand.Rand, b []byte) {
	for range 1 + r.IntN(6) {
		at := r.IntN(200)
		switch r.IntN(8) {
		case 0:
			at = famfsLog + r.IntN(48)
		case 1:
		default:
			at = famfsLog + 48 + r.IntN(famfsEntries*famfsEntry)
		}
		switch r.IntN(4) {
		case 0:
			b[at] = byte(r.Uint32())
		case 1:
			b[at] ^= 1 << r.IntN(8)
		case 2:
			at &^= 7
			words := []uint64{0, 1, 2, 3, 4096, 2 << 20, 10 << 20, 1 << 31, 1 << 63, ^uint64(0), uint64(r.IntN(famfsSize)) &^ 4095, r.Uint64()}
			binary.LittleEndian.PutUint64(b[at:], words[r.IntN(len(words))])
		case 3:
			to, from := r.IntN(famfsEntries), r.IntN(famfsEntries)
			e := b[famfsLog+48:]
			copy(e[to*famfsEntry+8:(to+1)*famfsEntry], e[from*famfsEntry+8:(from+1)*famfsEntry])
		}
	}
	if r.IntN(4) == 0 {
		return
	}
	seal := func(at, n, crc int) {
		binary.LittleEndian.PutUint64(b[at+crc:], uint64(crc32.ChecksumIEEE(b[at:at+n])))
	}
	seal(0, 96, 96)
	seal(famfsLog, 24, 24)
	for i := range famfsEntries {
		seal(famfsLog+48+i*famfsEntry, 536, 536)
	}
}

// TestMutatedFamfs changes the metadata of a famfs at random, and checks, reads and writes what
// comes out. -mutations says how many, times ten, for one costs little.
func TestMutatedFamfs(t *testing.T) {
	dev, b := famfsMedium(t)
	healthy := append([]byte(nil), b[:famfsLog+64<<10]...)
	n := *mutations * 10
	if testing.Short() {
		n = min(n, 500)
	}
	var slowest time.Duration
	listed, damaged, written := 0, 0, 0
	before := resetPeak()
	for s := *seed; s < *seed+uint64(n); s++ {
		copy(b, healthy)
		mutateFamfs(rand.New(rand.NewPCG(s, 78)), b)
		start := time.Now()
		r, err := famfs.Driver.Check(context.Background(), dev, vfs.MountOptions{ReadOnly: true})
		if worst, _ := r.Worst(); err == nil && worst >= vfs.Warning {
			damaged++
		}
		w, err := readAll(dev, timeLimit)
		if err != nil {
			t.Errorf("seed %d: reading: %v", s, err)
		}
		if w.names > 0 {
			listed++
		}
		next := b[famfsLog+40]
		if err := writeSome(dev, timeLimit); err != nil {
			t.Errorf("seed %d: writing: %v", s, err)
		}
		if b[famfsLog+40] != next {
			written++
		}
		slowest = max(slowest, time.Since(start))
	}
	used := peakMemory() - before
	t.Logf("%d media: %d with damage that the checker names, %d with names, %d that could be written; the slowest took %v; at most %d KiB of memory",
		n, damaged, listed, written, slowest, used>>10)
	if used > memoryLimit {
		t.Errorf("memory grew by %d bytes", used)
	}
	if listed < n/3 || damaged < n/3 || written == 0 {
		t.Error("the mutations are too coarse to find much, or too fine")
	}
}
