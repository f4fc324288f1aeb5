package dax_test

import (
	"bytes"
	"errors"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"godax/dax"
	"godax/pmem"
	"godax/vm"
	"godax/vm/sim"
)

// Errors that file systems and devices answer with.

// TestSG1_SpaceAfterCommit: a store that finds no space is told so, with the file system's own
// error, and succeeds when a commit has given blocks back.
//
// Guards I46, T32.
func TestSG1_SpaceAfterCommit(t *testing.T) {
	eachPMD(t, 1, func(t *testing.T, d *disk, s *sim.Space) {
		const all = diskPages - dataPage
		want := fill(all*pageSize, 1)
		must(t, d.write(want, 0))
		must(t, d.fsync())
		must(t, d.punch(8*pageSize, 8*pageSize))
		clear(want[8*pageSize:][:8*pageSize])
		v := d.mapView(s, 0, all, sharedRW)
		for page := int64(8); page < 16; page++ {
			want[page*pageSize] = 1
			store(t, v, []byte{1}, page*pageSize)
		}
		must(t, d.fsync())
		d.crashed(2, func(f *found) { f.is(t, "after fsync", want) })
	})
}

// TestSG2_NoSpace: without space stores and writes fail, loads of holes do not, and nothing
// is half done; with space again everything goes on.
//
// Guards I46, I52, I58.
func TestSG2_NoSpace(t *testing.T) {
	eachPMD(t, 1, func(t *testing.T, d *disk, s *sim.Space) {
		const all = diskPages - dataPage
		must(t, d.write(fill(all*pageSize, 1), 0))
		must(t, d.truncate(nil, (all+8)*pageSize))
		must(t, d.fsync())
		v := d.mapView(s, 0, all+8, sharedRW)
		for page := int64(all); page < all+8; page++ {
			equal(t, "hole", load(t, v, page*pageSize, 10), make([]byte, 10))
			isBus(t, "store", v.Store(ctx, []byte{1}, page*pageSize), syscall.ENOSPC)
			if err := d.write([]byte{1}, page*pageSize); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("write: %v", err)
			}
			if _, err := d.m.Pin(ctx, page*pageSize, 1, dax.PinWrite, d); !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("pin: %v", err)
			}
			d.check()
		}
		must(t, d.punch(0, 4*pageSize))
		store(t, v, []byte{1}, (all+1)*pageSize)
	})
}

// faulty is a file system that fails once.
type faulty struct {
	*file
	calls, failAt int
	late          bool // it has done what it was asked by then
	err           error
	huge          bool // what failed was asked for a huge slot
}

func (f *faulty) PopulatePFNs(r *dax.Request) error {
	f.calls++
	if f.calls != f.failAt {
		return f.file.PopulatePFNs(r)
	}
	f.huge = r.Order > 0
	if f.late {
		_ = f.file.PopulatePFNs(r)
	}
	return f.err
}

func (f *faulty) Fault(ft *vm.Fault) error { return f.m.Fault(ft, f) }

// TestSG3_SG4_EachPopulateFails: whichever question the file system answers with an error
// (quota, read-only, shut down, out of memory), the operation says so, nothing is half
// done, and the same operation succeeds afterwards. A huge fault that the single page could
// serve does not fail.
//
// Guards I46, I47, I51, I52, L12.
func TestSG3_SG4_EachPopulateFails(t *testing.T) {
	for _, errno := range []syscall.Errno{syscall.EDQUOT, syscall.ENOSPC, syscall.EROFS, syscall.EIO, syscall.ENOMEM} {
		for _, late := range []bool{false, true} {
			failed := 0
			for failAt := 1; ; failAt++ {
				f := &faulty{file: newFile(t, 64, dax.Config{}), failAt: failAt, late: late, err: errno}
				if !f.runAll(t, &failed) {
					break // there are no more calls
				}
			}
			if failed < 4 {
				t.Errorf("%v: %d operations failed", errno, failed)
			}
		}
	}
}

// runAll does one operation of each kind, twice if it fails, and reports whether the file
// system was asked as often as to fail.
func (f *faulty) runAll(t *testing.T, failed *int) bool {
	f.sized(6 * run)
	s := newSpace()
	v, err := s.Map(f, 0, 6*pmdPages, sharedRW)
	must(t, err)
	must(t, f.m.Attach(nil, v, f))
	cow, err := s.Map(f, 0, 6*pmdPages, private)
	must(t, err)
	must(t, f.m.Attach(nil, cow, f))
	want := make([]byte, 6*run)
	ones := bytes.Repeat([]byte{1}, run)
	for _, op := range []struct {
		name string
		off  int
		b    []byte // what is stored
		do   func(off int64, b []byte) error
	}{
		{"load", 0, nil, func(off int64, _ []byte) error { return v.Load(ctx, make([]byte, 1), off) }},
		{"store over zeroes", 5, ones[:10], func(off int64, b []byte) error { return v.Store(ctx, b, off) }},
		{"huge store", run + 5, ones[:10], func(off int64, b []byte) error { return v.Store(ctx, b, off) }},
		{"write", 2*run + 7, ones, func(off int64, b []byte) error { _, err := f.m.WriteAt(ctx, b, off, f); return err }},
		{"private store", 3*run + pageSize, nil, func(off int64, b []byte) error { return cow.Store(ctx, []byte{1}, off) }},
		{"pin", 4*run + 9, nil, func(off int64, _ []byte) error {
			p, err := f.m.Pin(ctx, off, 100, dax.PinWrite, f)
			if err == nil {
				p.Release()
			}
			return err
		}},
		{"read", 5 * run, nil, func(off int64, _ []byte) error { _, err := f.m.ReadAt(ctx, make([]byte, 10), off, f); return err }},
	} {
		err := op.do(int64(op.off), op.b)
		if err != nil {
			*failed++
			if !errors.Is(err, f.err) {
				t.Fatalf("%s: %v, the file system said %v", op.name, err, f.err)
			}
			if fault := op.name == "load" || op.name == "huge store" || op.name == "store over zeroes"; fault && f.huge && f.err != syscall.EROFS && f.err != syscall.ENOMEM {
				t.Fatalf("%s: %v, which was about a huge page only", op.name, err)
			}
			f.check()
			err = op.do(int64(op.off), op.b)
		}
		if err != nil {
			t.Fatalf("%s, again: %v", op.name, err)
		}
		copy(want[op.off:], op.b)
		f.check()
		must(t, s.Check())
	}
	reached := f.calls >= f.failAt
	f.failAt = 0
	equal(t, "read", f.mustRead(0, len(want)), want)
	equal(t, "view", load(t, v, 0, len(want)), want)
	must(t, errors.Join(f.m.Detach(v), f.m.Detach(cow)))
	must(t, f.m.Evict(ctx, false))
	return reached
}

// TestSG6_EachFlushFails: whichever of n pages cannot be flushed stays dirty, the others are
// clean, and the error is reported.
//
// Guards I32, I35, T11, T33.
func TestSG6_EachFlushFails(t *testing.T) {
	for k := range uint64(8) {
		for _, onePage := range []bool{false, true} {
			f, dev := newSimFile(t, 64, dax.Config{})
			f.onePage = onePage
			f.mustWrite(fill(8*pageSize, 1), 0)
			at, _ := f.device(k)
			stop := dev.Inject(psimFlushFault(int64(at) * pageSize))
			seen := f.m.WritebackErrors()
			_, err := f.m.Writeback(ctx, 0, 8*pageSize)
			isErr(t, err, syscall.EIO)
			for p := range uint64(8) {
				order, _, dirty := dax.Dirty(f.m, p)
				if dirty != (p>>order == k>>order) {
					t.Errorf("page %d failed; page %d of order %d: dirty %t", k, p, order, dirty)
				}
			}
			stop()
			isErr(t, f.m.WritebackError(&seen), syscall.EIO)
			if st := f.sync(); st.Entries != 1 {
				t.Errorf("the next writeback: %+v, want one entry", st)
			}
			f.check()
		}
	}
}

// TestSG10_RemovalUnderLoad: the device goes away under loads, stores, reads, writes and
// writebacks. From then on everything is an error, no translation and no entry is left, and
// a writeback that lost something said so.
//
// Guards I48, I35.
func TestSG10_RemovalUnderLoad(t *testing.T) {
	for round := range 10 {
		f, dev := newSimFile(t, 64, dax.Config{})
		hold(t, dev, f)
		f.onePage = round%2 == 0
		f.mustWrite(fill(8*run, 1), 0)
		f.sync()
		seen := f.m.WritebackErrors()
		s := newSpace()
		v, w := f.mapView(s, 0, 8*pmdPages, sharedRW), f.mapView(s, 1, 30, sharedRW)
		var wg sync.WaitGroup
		var steps atomic.Int64
		var gone atomic.Bool
		for i, do := range []func(off int64) error{
			func(off int64) error { return v.Load(nil, make([]byte, 1), off) },
			func(off int64) error { return w.Store(nil, []byte{1}, pageSize+off%(30*pageSize)) },
			func(off int64) error { _, err := f.read(make([]byte, 100), off); return err },
			func(off int64) error { _, err := f.write(make([]byte, 100), off); return err },
			func(off int64) error {
				if gone.Load() {
					return pmem.ErrRemoved // there may be nothing left to flush
				}
				_, err := f.m.Writeback(nil, 0, 8*run)
				return err
			},
		} {
			wg.Go(func() {
				for off := int64(i); ; off = (off*31 + 4099) % (8*run - 100) {
					if err := do(off); err != nil {
						if !errors.Is(err, pmem.ErrRemoved) {
							t.Errorf("%d: %v", i, err)
						}
						return
					}
					steps.Add(1)
				}
			})
		}
		until(t, "some steps", func() bool { return steps.Load() > 200 })
		dev.Remove()
		gone.Store(true)
		wg.Wait()
		if pages, _ := f.m.Pages(); pages != 0 || len(v.Translations())+len(w.Translations()) != 0 {
			t.Errorf("%d pages in the index, translations %d and %d", pages, len(v.Translations()), len(w.Translations()))
		}
		_ = f.m.WritebackError(&seen)
		f.check()
	}
}

// TestSG10_RemovalDuringWrite: a write whose pages vanish under it is an error: nobody will
// flush its bytes.
//
// Guards I30, I48.
func TestSG10_RemovalDuringWrite(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	hold(t, dev, f)
	f.mustWrite(fill(run, 1), 0)
	f.sync()
	n, err := f.m.WriteFrom(ctx, 0, 100, f, func(b []byte) (int, error) {
		dev.Remove()
		return len(b), nil
	})
	if n != 0 || !errors.Is(err, pmem.ErrRemoved) {
		t.Errorf("%d bytes written, %v", n, err)
	}
	f.check()
}

// TestSG13_UserBufferGoes: memory that the caller gave and that goes away in the middle ends a
// read or write with a short count, or the error; what was done is done.
//
// Guards I26, I55.
func TestSG13_UserBufferGoes(t *testing.T) {
	f, _ := newSimFile(t, 64, dax.Config{})
	f.onePage = true
	data := fill(2*run, 1)
	f.mustWrite(data, 0)
	efault := func(upTo int) func(b []byte) (int, error) {
		left := upTo
		return func(b []byte) (int, error) {
			n := min(left, len(b))
			left -= n
			if n < len(b) {
				clear(b[:n])
				return n, syscall.EFAULT
			}
			clear(b)
			return n, nil
		}
	}
	for _, upTo := range []int{0, 1, pageSize - 1, pageSize, pageSize + 5} {
		take := efault(upTo)
		n, err := f.m.ReadTo(ctx, 10, run, f, func(b []byte) (int, error) { return take(bytes.Clone(b)) })
		if n != int64(upTo) || !errors.Is(err, syscall.EFAULT) {
			t.Errorf("read: %d, %v; the buffer had %d", n, err, upTo)
		}
		n, err = f.m.WriteFrom(ctx, 10, run, f, efault(upTo))
		if n != int64(upTo) || !errors.Is(err, syscall.EFAULT) {
			t.Errorf("write: %d, %v; the buffer had %d", n, err, upTo)
		}
		clear(data[10:][:upTo])
		equal(t, "read", f.mustRead(0, len(data)), data)
	}
	// The buffer is a view of the file itself, which is unmapped meanwhile.
	v := f.mapView(newSpace(), 0, 8, sharedRW)
	n, err := f.m.ReadTo(ctx, 0, run, f, func(b []byte) (int, error) {
		if err := v.Store(ctx, b[:8], run); err != nil {
			return 0, err
		}
		v.Close()
		return len(b), nil
	})
	if n != pageSize || !errors.Is(err, sim.ErrClosed) {
		t.Errorf("read to a view that goes: %d, %v", n, err)
	}
	must(t, f.m.Detach(v))
	f.check()
}
