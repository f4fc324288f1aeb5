package killtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"godax"
	"godax/internal/daxtest"
	"godax/pmem"
)

// What a marking child is to do, from its environment: marks as that number. The runs of the
// file on the device come in on its standard input, as lines "offset in the file, offset on the
// device, length"; it ends when nothing more comes.
const (
	markEnv   = "GODAX_MARK_DEVICE"
	numberEnv = "GODAX_MARK_NUMBER"
)

const (
	markPages  = 150 // of the file
	markers    = 5   // in each page: of three processes, a view and write(2)
	markRounds = 20
)

// marker is what who marks with the number stores to the page in a round.
func marker(page, number, round int) []byte {
	return binary.LittleEndian.AppendUint64(nil, uint64(page)<<32|uint64(number)<<16|uint64(round))
}

// mark is the child: it maps the device itself and stores to every page of the file.
func mark() error {
	number, err := strconv.Atoi(os.Getenv(numberEnv))
	if err != nil {
		return err
	}
	dev, err := os.OpenFile(os.Getenv(markEnv), os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer dev.Close()
	pages := map[int][]byte{}
	for {
		var off, at int64
		var n int
		if _, err := fmt.Scanln(&off, &at, &n); err == io.EOF {
			break
		} else if err != nil {
			return err
		}
		b, err := unix.Mmap(int(dev.Fd()), at, n, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		if err != nil {
			return err
		}
		for i := 0; i < n; i += pmem.PageSize {
			pages[(int(off)+i)/pmem.PageSize] = b[i : i+pmem.PageSize]
		}
	}
	if len(pages) != markPages {
		return fmt.Errorf("%d pages", len(pages))
	}
	r := rand.New(rand.NewPCG(1, uint64(number)))
	for round := 1; round <= markRounds; round++ {
		for _, page := range r.Perm(markPages) {
			own := pages[page][8*number:][:8]
			if round > 1 && !bytes.Equal(own, marker(page, number, round-1)) {
				return fmt.Errorf("page %d, round %d: %x", page, round, own)
			}
			copy(own, marker(page, number, round))
		}
	}
	return nil
}

// Three processes that map the device themselves, a view and write(2) store markers of their
// own to every page of a file, under a loop of fsync: the frames are one memory, and all markers
// are in the file, also after the image was closed and opened again. The pages are pinned, as
// for a device that transfers to them.
//
// Guards I24, I25, I40, T1, T8.
func TestSD2_Processes(t *testing.T) {
	fsck := daxtest.Tool(t, "e2fsck")
	for _, c := range configs {
		if c.blockSize != pmem.PageSize {
			continue // its pages are cached: no other process has them
		}
		t.Run(c.carrier, func(t *testing.T) {
			img := newImage(t, c)
			fs, err := godax.Open(img.path, godax.Options{Carrier: c.carrier})
			if err != nil {
				t.Fatal(err)
			}
			f, err := fs.Create("marked")
			if err == nil {
				err = markAll(t, img.path, f)
			}
			if err := errors.Join(err, fs.Close()); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(fsck, "-fn", img.path).CombinedOutput(); err != nil {
				t.Fatalf("e2fsck: %v\n%s", err, out)
			}
			if fs, err = godax.Open(img.path, godax.Options{Carrier: c.carrier, ReadOnly: true}); err != nil {
				t.Fatal(err)
			}
			b, err := fs.ReadFile("marked")
			if err := errors.Join(err, allMarked(b), fs.Close()); err != nil {
				t.Errorf("opened again: %v", err)
			}
		})
	}
}

// markAll has everybody store to the pages of an empty file, reads it and closes it.
func markAll(t *testing.T, device string, f *godax.File) (err error) {
	defer func() { err = errors.Join(err, f.Close()) }()
	const size = markPages * pmem.PageSize
	if err := f.Truncate(size); err != nil {
		return err
	}
	pin, err := f.Pin(0, size, true)
	if err != nil {
		return err
	}
	defer pin.Release()
	var runs bytes.Buffer
	for e, err := range f.Extents() {
		if err != nil {
			return err
		}
		fmt.Fprintln(&runs, e.Off, int64(e.PFN.Page())*pmem.PageSize, e.Len)
	}
	v, err := f.Mmap(0, size, godax.MapShared|godax.MapWrite)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, v.Close()) }()

	errs := make([]error, markers)
	var wg sync.WaitGroup
	for number := range markers {
		wg.Go(func() {
			switch number {
			default:
				cmd := exec.CommandContext(t.Context(), os.Args[0])
				cmd.Env = append(os.Environ(), markEnv+"="+device, numberEnv+"="+strconv.Itoa(number))
				cmd.Stdin = bytes.NewReader(runs.Bytes())
				out, err := cmd.CombinedOutput()
				if err != nil {
					errs[number] = fmt.Errorf("process %d: %w\n%s", number, err, out)
				}
			case markers - 2:
				errs[number] = markThrough(number, func(b []byte, off int64) error {
					copy(v.Bytes()[off:], b)
					return nil
				})
			case markers - 1:
				errs[number] = markThrough(number, func(b []byte, off int64) error {
					_, err := f.WriteAt(b, off)
					return err
				})
			}
		})
	}
	done, synced := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			select {
			case <-done:
				synced <- f.Sync()
				return
			default:
				if err := f.Sync(); err != nil {
					synced <- err
					return
				}
			}
		}
	}()
	wg.Wait()
	close(done)
	if err := errors.Join(append(errs, <-synced)...); err != nil {
		return err
	}
	b := make([]byte, size)
	if _, err := f.ReadAt(b, 0); err != nil {
		return err
	}
	return errors.Join(allMarked(b), allMarked(v.Bytes()))
}

func markThrough(number int, store func(b []byte, off int64) error) error {
	r := rand.New(rand.NewPCG(1, uint64(number)))
	for round := 1; round <= markRounds; round++ {
		for _, page := range r.Perm(markPages) {
			if err := store(marker(page, number, round), int64(page*pmem.PageSize+8*number)); err != nil {
				return err
			}
		}
	}
	return nil
}

// allMarked looks for the last marker of everybody in every page, and for nothing else.
func allMarked(b []byte) error {
	if len(b) != markPages*pmem.PageSize {
		return fmt.Errorf("%d bytes", len(b))
	}
	want := make([]byte, len(b))
	for page := range markPages {
		for number := range markers {
			copy(want[page*pmem.PageSize+8*number:], marker(page, number, markRounds))
		}
	}
	for i := range b {
		if b[i] != want[i] {
			return fmt.Errorf("byte %d of page %d is %#x, want %#x", i%pmem.PageSize, i/pmem.PageSize, b[i], want[i])
		}
	}
	return nil
}
