package dax_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"godax/dax"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

// crowd is goroutines that work on one thing: some do a number of steps, others go on until
// those have ended. The seed of each follows from that of the test.
type crowd struct {
	t      *testing.T
	seed   uint64
	n      uint64 // goroutines so far
	failed atomic.Pointer[error]
	over   atomic.Bool
	work   sync.WaitGroup
	others sync.WaitGroup
}

// steps is how often each worker of a crowd works, if nothing is said about time.
const steps = 200

func (c *crowd) rand() *rand.Rand {
	c.n++
	return rand.New(rand.NewPCG(c.seed, c.n))
}

// each starts a worker.
func (c *crowd) each(step func(r *rand.Rand, i int) error) {
	r := c.rand()
	var end time.Time
	if *flagDuration > 0 {
		end = time.Now().Add(*flagDuration / 50)
	}
	c.work.Go(func() {
		for i := 0; i < soaked(steps) || time.Now().Before(end); i++ {
			if err := step(r, i); err != nil {
				c.failed.CompareAndSwap(nil, &err)
			}
			if c.failed.Load() != nil {
				return
			}
		}
	})
}

// beside starts somebody who goes on until the workers have ended.
func (c *crowd) beside(step func(r *rand.Rand) error) {
	r := c.rand()
	c.others.Go(func() {
		for !c.over.Load() {
			if err := step(r); err != nil {
				c.failed.CompareAndSwap(nil, &err)
				return
			}
			runtime.Gosched()
		}
	})
}

// end waits for all.
func (c *crowd) end() {
	c.t.Helper()
	done := start(func() error {
		c.work.Wait()
		c.over.Store(true)
		c.others.Wait()
		return nil
	})
	if *flagDuration > 0 {
		<-done
	} else {
		must(c.t, within(c.t, "the crowd", done))
	}
	if err := c.failed.Load(); err != nil {
		c.t.Fatalf("seed %d: %v", c.seed, *err)
	}
}

// eachCrowd runs a workload with different numbers of processors and orders of huge pages.
func eachCrowd(t *testing.T, test func(t *testing.T, c *crowd, order uint)) {
	seed := firstSeed(t)
	for _, procs := range []int{1, 2, 8} {
		for _, order := range []uint{1, 2, 9} {
			t.Run(fmt.Sprintf("procs %d/order %d", procs, order), func(t *testing.T) {
				defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(procs))
				test(t, &crowd{t: t, seed: seed}, order)
			})
		}
	}
}

// crowdFile is a file of a number of pages that is no multiple of any huge page.
func crowdFile(t *testing.T, order uint) (*file, *psim.Device, *sim.Space) {
	f, dev := newSimFile(t, 64, dax.Config{PMDOrder: order})
	f.iomap = order%2 == 0
	f.sized(crowdPages * pageSize)
	return f, dev, sim.New(sim.Config{PMDOrder: order})
}

const crowdPages = 23

func marker(b []byte, v uint64) []byte {
	binary.LittleEndian.PutUint64(b, v)
	return b[:8]
}

// TestSD1_SD2_SD11_SD13_Markers: four threads store markers of their own to every page of a
// file, through views of their own or by write(2), prefaulted by loads or not, and find all
// of them afterwards. The file is sparse, preallocated, full of zeroes, or truncated from
// what it was.
//
// Guards I23, I24, I25, I55, I57, T1, T3, T4, T8, T9, T10.
func TestSD1_SD2_SD11_SD13_Markers(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd, order uint) {
		for i, prepare := range []func(f *file){
			func(f *file) {},
			func(f *file) { f.prealloc(0, crowdPages) },
			func(f *file) { f.mustWrite(make([]byte, crowdPages*pageSize), 0) },
			func(f *file) {
				f.mustWrite(fill(crowdPages*pageSize, 1), 0)
				f.sized(0).sized(crowdPages * pageSize)
			},
		} {
			for _, prefault := range []bool{false, true} {
				f, _, s := crowdFile(t, order)
				prepare(f)
				c := &crowd{t: t, seed: c.seed}
				for tid := range 4 {
					v := f.mapView(s, 0, crowdPages, sharedRW)
					pages := c.rand().Perm(crowdPages)
					c.each(func(r *rand.Rand, i int) error {
						off := int64(pages[i%crowdPages]*pageSize + tid*8)
						var b [8]byte
						if prefault {
							if err := v.Load(nil, b[:], off); err != nil {
								return err
							}
						}
						if prefault && tid == 3 {
							_, err := f.write(marker(b[:], uint64(off)+1), off)
							return err
						}
						return v.Store(nil, marker(b[:], uint64(off)+1), off)
					})
				}
				if prefault {
					c.beside(func(*rand.Rand) error { _, err := f.m.Writeback(nil, 0, 1<<62); return err })
				}
				c.end()
				b := f.mustRead(0, crowdPages*pageSize)
				for p := range crowdPages {
					for tid := range 4 {
						off := p*pageSize + tid*8
						if got := binary.LittleEndian.Uint64(b[off:]); got != uint64(off)+1 {
							t.Fatalf("variant %d: page %d, thread %d: %#x", i, p, tid, got)
						}
					}
					if rest := b[p*pageSize+32 : (p+1)*pageSize]; len(bytes.Trim(rest, "\x00")) > 0 {
						t.Fatalf("variant %d: page %d: bytes that nobody stored", i, p)
					}
				}
				f.check()
				must(t, s.Check())
			}
		}
	})
}

// TestSD5_OneRun: loads, stores, private stores, writebacks and small views at one huge run,
// which is truncated away and comes back all the time, huge or in small pages, as the file
// system likes. Everything ends, and nobody is left asleep.
//
// Guards I7, I8, I16, I18, I19, I53, I54, T12, T29, T30, T50, T57, T74.
func TestSD5_OneRun(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd, order uint) {
		n := uint64(1) << order
		f, _ := newSimFile(t, int64(2*n), dax.Config{PMDOrder: order})
		f.sized(int64(n) * pageSize)
		s := sim.New(sim.Config{PMDOrder: order})
		gone := func(err error) error {
			var bus *vm.BusError
			if errors.As(err, &bus) && errors.Is(err, dax.ErrBeyondEnd) {
				return nil
			}
			return err
		}
		wide, priv := f.mapView(s, 0, n, sharedRW), f.mapView(s, 0, n, private)
		small := f.mapView(s, n-1, 1, sharedRW)
		at := func(r *rand.Rand) int64 { return r.Int64N(int64(n) * pageSize) }
		for range 2 {
			c.each(func(r *rand.Rand, i int) error { return gone(wide.Load(nil, make([]byte, 1), at(r))) })
			c.each(func(r *rand.Rand, i int) error { return gone(wide.Store(nil, []byte{1}, at(r))) })
			c.each(func(r *rand.Rand, i int) error {
				return gone(small.Store(nil, []byte{2}, int64(n-1)*pageSize+r.Int64N(pageSize)))
			})
			c.each(func(r *rand.Rand, i int) error { return gone(priv.Store(nil, []byte{3}, at(r))) })
		}
		c.each(func(r *rand.Rand, i int) error {
			return errors.Join(f.truncate(ctx, 0), f.truncate(ctx, int64(n)*pageSize))
		})
		c.each(func(r *rand.Rand, i int) error { return f.punch(ctx, at(r), pageSize) })
		c.beside(func(r *rand.Rand) error { _, err := f.m.Writeback(nil, at(r), pageSize); return err })
		c.beside(func(r *rand.Rand) error {
			f.set(func(f *file) { f.onePage = !f.onePage })
			return nil
		})
		c.end()
		f.check()
		must(t, s.Check())
	})
}

// TestSD6_BoundedPass: whoever dirties pages in front of a writeback, and behind it, at every
// one of its steps, does not make it flush more than was dirty when it began.
//
// Guards I34, T23, T28.
func TestSD6_BoundedPass(t *testing.T) {
	for _, onePage := range []bool{false, true} {
		f, dev := newSimFile(t, 64, dax.Config{PMDOrder: 1})
		f.onePage = onePage
		const n = 32
		f.mustWrite(make([]byte, n*pageSize), 0)
		f.sync()
		v := f.mapView(sim.New(sim.Config{PMDOrder: 1}), 0, n, sharedRW)
		for p := int64(0); p < n/2; p += 4 {
			store(t, v, []byte{1}, p*pageSize)
		}
		flushes := int64(0)
		dev.Hook(func(c psim.Call) {
			if c.Op != psim.OpFlush || flushes > 4*n {
				return
			}
			// Pages in front of the pass, and the ones that it had not to clean; the entry
			// that it has locked is none of them.
			flushes++
			ahead := v.Store(nil, []byte{2}, (n/2+flushes%(n/2))*pageSize)
			between := v.Store(nil, []byte{2}, (flushes*4+2)%(n/2)*pageSize)
			if err := errors.Join(ahead, between); err != nil {
				t.Error(err)
			}
		})
		st, err := f.m.Writeback(nil, 0, n*pageSize)
		must(t, err)
		if st.Entries != n/8 {
			t.Errorf("%d entries were cleaned, %d were dirty when it began", st.Entries, n/8)
		}
		dev.Hook(nil)
		f.sync()
		f.check()
	}
}

// TestSD8_NoSpaceCycles: a disk that is filled, emptied and filled again by several goroutines
// answers with ENOSPC and nothing else, and no block is lost.
//
// Guards I46, T32.
func TestSD8_NoSpaceCycles(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd, order uint) {
		d := newDisk(t, 1, dax.Config{PMDOrder: order})
		const pages = 2 * (diskPages - dataPage)
		must(t, d.truncate(nil, pages*pageSize))
		v := d.mapView(sim.New(sim.Config{PMDOrder: order}), 0, pages, sharedRW)
		full := func(err error) error {
			if errors.Is(err, syscall.ENOSPC) {
				return nil
			}
			return err
		}
		for range 3 {
			c.each(func(r *rand.Rand, i int) error { return full(v.Store(nil, []byte{1}, r.Int64N(pages)*pageSize)) })
			c.each(func(r *rand.Rand, i int) error {
				return full(d.write(make([]byte, 3*pageSize), r.Int64N(pages-3)*pageSize))
			})
			c.each(func(r *rand.Rand, i int) error { return d.punch(r.Int64N(pages)*pageSize, r.Int64N(pages)*pageSize) })
		}
		c.beside(func(*rand.Rand) error { return d.fsync() })
		c.end()
		must(t, d.fsync())
		d.check()
		if n := len(d.free) + len(d.blocks) + len(d.leaving); n != diskPages-dataPage {
			t.Errorf("%d blocks are free or in use, there are %d", n, diskPages-dataPage)
		}
		for p := range d.blocks {
			if _, _, dirty := dax.Dirty(d.m, p); dirty {
				t.Errorf("page %d is dirty after fsync", p)
			}
		}
	})
}

// TestSD12_ManyFiles: a thread for each of many files, and one that evicts them: what was stored
// is on the device when a file comes back, and nothing is left of what was evicted.
//
// Guards I5, I9, I33, T47.
func TestSD12_ManyFiles(t *testing.T) {
	eachCrowd(t, func(t *testing.T, c *crowd, order uint) {
		type one struct {
			*file
			sync.RWMutex // exclusive: evicting
			v            *sim.View
			s            *sim.Space
			want         [crowdPages]byte
		}
		files := make([]*one, 6)
		for i := range files {
			f, _, s := crowdFile(t, order)
			o := &one{file: f, s: s, v: f.mapView(s, 0, crowdPages, sharedRW)}
			files[i] = o
			c.each(func(r *rand.Rand, i int) error {
				o.RLock()
				defer o.RUnlock()
				p := r.IntN(crowdPages)
				if r.IntN(2) == 0 {
					o.want[p] = byte(i)
					return o.v.Store(nil, []byte{byte(i)}, int64(p)*pageSize)
				}
				b := []byte{0}
				err := o.v.Load(nil, b, int64(p)*pageSize)
				if err == nil && b[0] != o.want[p] {
					err = fmt.Errorf("page %d: %d, want %d", p, b[0], o.want[p])
				}
				return err
			})
		}
		c.beside(func(r *rand.Rand) error {
			o := files[r.IntN(len(files))]
			o.Lock()
			defer o.Unlock()
			if err := o.m.Detach(o.v); err != nil {
				return err
			}
			o.v.Close()
			if err := o.m.Evict(nil, false); err != nil {
				return err
			}
			if pages, entries := o.m.Pages(); pages+entries != 0 {
				return fmt.Errorf("%d pages in %d entries are left", pages, entries)
			}
			size := o.m.Size()
			o.m = dax.NewMapping(dax.Config{PMDOrder: order})
			o.m.SetSize(size)
			v, err := o.s.Map(o.file, 0, crowdPages, sharedRW)
			if err != nil {
				return err
			}
			o.v = v
			return o.m.Attach(nil, v, o.file)
		})
		c.end()
		for _, o := range files {
			o.check()
			if views, pins := o.m.Busy(); views != 1 || pins != 0 {
				t.Errorf("%d views, %d pins", views, pins)
			}
		}
	})
}
