package dax_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"syscall"
	"testing"

	"godax/pmem"
	psim "godax/pmem/sim"
)

// TestSD9_RandomErrors: devices and the file system fail now and then under a load. Errors are
// passed up, nothing hangs, and what succeeded is there.
//
// Guards I6, I30, I35, I46, I47, I54, L12.
func TestSD9_RandomErrors(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd, order uint) {
		f, dev, s := crowdFile(t, order)
		v, w := f.mapView(s, 0, crowdPages, sharedRW), f.mapView(s, 3, 6, sharedRW)
		var want, tried [4][crowdPages]uint64
		failed := func(err error) bool { return errors.Is(err, syscall.EIO) || errors.Is(err, syscall.ENOSPC) }
		for tid := range 4 {
			c.each(func(r *rand.Rand, i int) error {
				p := r.IntN(crowdPages)
				off, n := int64(p*pageSize+tid*8), uint64(i+1)<<8|uint64(tid)
				var b [8]byte
				var err error
				switch r.IntN(4) {
				case 0:
					tried[tid][p] = n
					if _, err = f.write(marker(b[:], n), off); err == nil {
						want[tid][p] = n
					}
				case 1:
					tried[tid][p] = n
					view := v
					if p >= 3 && p < 9 {
						view = w
					}
					if err = view.Store(nil, marker(b[:], n), off); err == nil {
						want[tid][p] = n
					}
				default:
					_, err = f.read(b[:], off)
					if err == io.EOF {
						err = nil
					}
					if got := binary.LittleEndian.Uint64(b[:]); err == nil && got != want[tid][p] && got != tried[tid][p] {
						return fmt.Errorf("page %d: %#x, want %#x or %#x", p, got, want[tid][p], tried[tid][p])
					}
				}
				if failed(err) {
					return nil
				}
				return err
			})
		}
		c.beside(func(r *rand.Rand) error {
			if _, err := f.m.Writeback(nil, 0, 1<<62); err != nil && !failed(err) {
				return err
			}
			return nil
		})
		c.beside(func(r *rand.Rand) error {
			stop := dev.Inject(psim.Fault{Op: psim.Op(1 << r.IntN(4)), Off: r.Int64N(64) * pageSize, N: pageSize * (1 + r.Int64N(3)), Err: syscall.EIO})
			f.set(func(f *file) { f.noSpace = r.IntN(3) == 0 })
			for range r.IntN(50) {
				runtime.Gosched()
			}
			f.set(func(f *file) { f.noSpace = false })
			stop()
			return nil
		})
		c.end()
		f.sync()
		b := f.mustRead(0, crowdPages*pageSize)
		for tid := range 4 {
			for p := range crowdPages {
				if got := binary.LittleEndian.Uint64(b[p*pageSize+tid*8:]); got != want[tid][p] && got != tried[tid][p] {
					t.Fatalf("page %d, thread %d: %#x, want %#x or %#x", p, tid, got, want[tid][p], tried[tid][p])
				}
			}
		}
		f.check()
		must(t, s.Check())
	})
}

// TestSD10_RandomPoison: pages go bad, and are overwritten, under a load of markers. Only
// those pages fail, and nothing but the lost bytes is lost.
//
// Guards I43, I44, I45, T41, T42, T43, T88.
func TestSD10_RandomPoison(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd, order uint) {
		f, dev, s := crowdFile(t, order)
		hold(t, dev, f)
		f.mustWrite(make([]byte, crowdPages*pageSize), 0)
		v, w := f.mapView(s, 0, crowdPages, sharedRW), f.mapView(s, 1, 9, sharedRO)
		var locks [crowdPages]sync.RWMutex // shared: the page is good
		var want [crowdPages][4]uint64
		for tid := range 4 {
			c.each(func(r *rand.Rand, i int) error {
				p := r.IntN(crowdPages)
				locks[p].RLock()
				defer locks[p].RUnlock()
				off := int64(p*pageSize + tid*8)
				var b [8]byte
				if r.IntN(2) == 0 {
					want[p][tid] = uint64(i) + 1
					if r.IntN(2) == 0 {
						_, err := f.write(marker(b[:], want[p][tid]), off)
						return err
					}
					return v.Store(nil, marker(b[:], want[p][tid]), off)
				}
				view := v
				if p >= 1 && p < 10 {
					view = w
				}
				err := view.Load(nil, b[:], off)
				if got := binary.LittleEndian.Uint64(b[:]); err == nil && got != want[p][tid] {
					err = fmt.Errorf("page %d: %d, want %d", p, got, want[p][tid])
				}
				return err
			})
		}
		c.beside(func(r *rand.Rand) error {
			p := r.IntN(crowdPages)
			locks[p].Lock()
			defer locks[p].Unlock()
			at, _ := f.device(uint64(p))
			if err := dev.Poison(at, 1); err != nil {
				return err
			}
			off := int64(p) * pageSize
			if err := v.Load(nil, make([]byte, 1), off); !errors.Is(err, pmem.ErrPoisoned) {
				return fmt.Errorf("load of a bad page: %w", err)
			}
			if _, err := f.read(make([]byte, 1), off); !errors.Is(err, pmem.ErrPoisoned) {
				return fmt.Errorf("read of a bad page: %w", err)
			}
			b := make([]byte, pageSize)
			for tid := range want[p] {
				marker(b[tid*8:], want[p][tid])
			}
			_, err := f.write(b, off)
			return err
		})
		c.beside(func(r *rand.Rand) error {
			if _, err := f.m.Writeback(nil, 0, 1<<62); err != nil && !errors.Is(err, pmem.ErrPoisoned) {
				return err
			}
			return nil
		})
		c.end()
		f.sync()
		b := load(t, v, 0, crowdPages*pageSize)
		for p := range want {
			for tid, n := range want[p] {
				if got := binary.LittleEndian.Uint64(b[p*pageSize+tid*8:]); got != n {
					t.Fatalf("page %d, thread %d: %d, want %d", p, tid, got, n)
				}
			}
		}
		f.check()
	})
}
