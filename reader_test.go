package godax_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"godax"
)

// TestReadsBesideWrites reads one file without a break while it is overwritten, cut, and
// its storage given to another file. A read has the bytes of one write, or is short.
func TestReadsBesideWrites(t *testing.T) {
	each(t, func(t *testing.T, f *godax.FS) {
		const (
			size            = 2 << 20 // one entry of the index, in ext2
			rounds, readers = 15, 2
			foreign         = 200 // what other files have
		)
		w, err := f.Create("a")
		must(t, err)
		defer w.Close()
		other, err := f.Create("b")
		must(t, err)
		defer other.Close()
		var done atomic.Bool
		var reads atomic.Int64
		var wg sync.WaitGroup
		for range readers {
			r, err := f.Open("a")
			must(t, err)
			wg.Go(func() {
				defer r.Close()
				b := make([]byte, size/8)
				for !done.Load() {
					got, err := r.ReadAt(b, size/2)
					if err != nil && err != io.EOF {
						t.Error(err)
						done.Store(true)
					}
					if got > 0 && (b[0] >= foreign || !bytes.Equal(b[1:got], b[:got-1])) {
						t.Errorf("read %d bytes, the first %d, of two writes or of another file", got, b[0])
						done.Store(true)
					}
					reads.Add(1)
				}
			})
		}
		for n := 0; n < rounds && !done.Load(); n++ {
			_, err := w.WriteAt(bytes.Repeat([]byte{byte(n%foreign) | 1}, size), 0)
			must(t, err)
			if n%3 == 0 {
				must(t, w.Truncate(0))
				_, err = other.WriteAt(bytes.Repeat([]byte{foreign}, size), 0)
				must(t, err)
				must(t, other.Truncate(0))
			}
			// Readers that wait for the lock do not read without it.
			for seen := reads.Load(); reads.Load() < seen+2*readers && !done.Load(); {
				runtime.Gosched()
			}
		}
		done.Store(true)
		wg.Wait()
	})
}

// TestReadsBesideClose closes a file and its file system under readers.
func TestReadsBesideClose(t *testing.T) {
	image := t.TempDir() + "/image"
	for range 3 {
		must(t, os.WriteFile(image, nil, 0o644))
		f, err := newImage(image, 16<<20, 4096, godax.Options{})
		must(t, err)
		must(t, f.WriteFile("a", bytes.Repeat([]byte{7}, 2<<20), 0o644))
		r, err := f.Open("a")
		must(t, err)
		var wg sync.WaitGroup
		var started sync.WaitGroup
		for range 3 {
			started.Add(1)
			wg.Go(func() {
				b := make([]byte, 1<<20)
				for n := 0; ; n++ {
					got, err := r.ReadAt(b, page)
					if n == 0 {
						started.Done()
					}
					if errors.Is(err, fs.ErrClosed) {
						return
					}
					if err != nil || got != len(b) || b[0] != 7 || b[len(b)-1] != 7 {
						t.Errorf("read %d bytes, %d to %d: %v", got, b[0], b[len(b)-1], err)
						return
					}
				}
			})
		}
		started.Wait()
		must(t, r.Close())
		must(t, f.Close())
		wg.Wait()
	}
}
