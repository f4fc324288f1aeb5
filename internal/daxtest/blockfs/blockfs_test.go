package blockfs_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"syscall"
	"testing"

	"godax/internal/daxtest/blockfs"
	"godax/internal/daxtest/sched"
	"godax/pmem"
)

// The instrument itself: what it does agrees with a plain slice of bytes.
func TestOperations(t *testing.T) {
	for _, carrier := range []blockfs.Carrier{blockfs.Iomap, blockfs.BufferHead} {
		for _, holes := range []bool{false, true} {
			t.Run(fmt.Sprintf("%v/source holes=%t", carrier, holes), func(t *testing.T) {
				w := newWorld(t, blockfs.Config{Carrier: carrier, SourceHoles: holes}, 3)
				f, want := w.fs.Create(), []byte(nil)
				v := w.view(f, 0, 64, sharedRW)
				r := rand.New(rand.NewPCG(1, uint64(carrier)))
				grow := func(n int64) {
					if n > int64(len(want)) {
						want = append(want, make([]byte, n-int64(len(want)))...)
					}
				}
				for range 400 {
					off, n := r.Int64N(16*pageSize), 1+r.Int64N(6*pageSize)
					if r.IntN(2) == 0 {
						off, n = off/pageSize*pageSize, (n+pageSize-1)/pageSize*pageSize
					}
					in := min(n, int64(len(want))-off) // what of it lies in the file
					b := pages(byte(1+r.IntN(200)), int(n/pageSize)+1)[:n]
					switch op := r.IntN(9); {
					case op == 0:
						w.write(f, b, off)
						grow(off + n)
						copy(want[off:], b)
					case op == 1:
						w.ok(f.Truncate(ctx, off))
						grow(off)
						want = want[:off]
					case op == 2:
						w.ok(f.Allocate(ctx, off, n))
						grow(off + n)
					case op == 3 && in > 0:
						store(t, v, b[:in], off)
						copy(want[off:], b[:in])
					case op == 4 && in > 0:
						w.ok(f.Punch(ctx, off, n))
						clear(want[off : off+in])
					case op == 5 && in > 0:
						w.ok(f.Zero(ctx, off, n))
						clear(want[off : off+in])
					case op == 6 && in > 0:
						w.ok(f.Fsync(ctx, off, n))
					case op == 7 && in == n && off%pageSize == 0 && n%pageSize == 0 && off+n < int64(len(want)):
						w.ok(f.Collapse(ctx, off, n))
						want = append(want[:off:off], want[off+n:]...)
					case op == 8 && in > 0 && off%pageSize == 0 && n%pageSize == 0 && len(want) < 20*pageSize:
						w.ok(f.Insert(ctx, off, n))
						want = append(want[:off:off], append(make([]byte, n), want[off:]...)...)
					}
					if f.M.Size() != int64(len(want)) {
						t.Fatalf("size %d, want %d", f.M.Size(), len(want))
					}
					w.ok(w.fs.Check())
				}
				w.holds("file", f, want)
			})
		}
	}
}

// A full file system has room again after the commit that makes the freeing durable: for
// a fault as well as for a write.
//
// Guards I46, T32.
func TestSG1_SpaceAfterCommit(t *testing.T) {
	for _, fault := range []bool{false, true} {
		for _, retry := range []bool{false, true} {
			t.Run(fmt.Sprintf("fault=%t/retry=%t", fault, retry), func(t *testing.T) {
				w := newWorld(t, blockfs.Config{NoRetry: !retry}, 1)
				w.fs.SetLimit(8)
				a := w.file(pages(1, 8))
				w.ok(a.Fsync(ctx, 0, 1<<62))
				b := w.fs.Create()
				w.ok(b.Truncate(ctx, 8*pageSize))
				v := w.view(b, 0, 8, sharedRW)
				w.ok(a.Truncate(ctx, 2*pageSize))
				err := v.Store(ctx, pages(9, 1), pageSize)
				if !fault {
					_, err = b.Write(ctx, pages(9, 1), pageSize)
				}
				if !retry {
					isErr(t, err, syscall.ENOSPC)
					w.holds("nothing was written", b, make([]byte, 8*pageSize))
					return
				}
				w.ok(err)
				want := make([]byte, 8*pageSize)
				copy(want[pageSize:], pages(9, 1))
				w.holds("written", b, want)
			})
		}
	}
}

// A device goes away under files that have blocks on it and on another: what lies on it is
// an error from then on, what was dirty there is reported once, the rest is served.
//
// Guards I35, I39, I43, I48.
func TestSG10_DeviceRemoved(t *testing.T) {
	eachOrder(t, blockfs.Config{Stripe: 4}, func(t *testing.T, w *world) {
		w.bad = true
		f := w.file(pages(1, 8)) // the first half on one device, the second on the other
		w.ok(w.fs.Sync(ctx))
		v := w.view(f, 0, 8, sharedRW)
		store(t, v, pages(50, 8), 0)
		seen := f.M.WritebackErrors()
		w.devs[0].Remove()
		if err := f.M.WritebackError(&seen); !errors.Is(err, pmem.ErrRemoved) || f.M.WritebackError(&seen) != nil {
			t.Errorf("reported: %v", err)
		}
		for _, l := range v.Translations() {
			if l.PFN.Device() == w.devs[0].ID() {
				t.Errorf("translation %+v", l)
			}
		}
		if n, _ := f.M.Pages(); n != 4 {
			t.Errorf("%d pages are left in the index", n)
		}
		for page := range int64(8) {
			b, want := make([]byte, 1), error(nil)
			if page < 4 {
				want = pmem.ErrRemoved
			}
			_, read := f.Read(ctx, b, page*pageSize)
			_, write := f.Write(ctx, []byte{byte(50 + page)}, page*pageSize)
			for _, err := range []error{v.Load(ctx, b, page*pageSize), v.Store(ctx, []byte{byte(50 + page)}, page*pageSize), read, write} {
				isErr(t, err, want)
			}
			if page >= 4 && b[0] != byte(50+page) {
				t.Errorf("page %d is %d", page, b[0])
			}
		}
	})
}

// Frozen, the file system lets nobody change a file, also not through a page that was
// mapped for storing before; loads and private stores go on.
//
// Guards I38, I51, T31.
func TestSC32_Freeze(t *testing.T) {
	eachOrder(t, blockfs.Config{}, func(t *testing.T, w *world) {
		sched.Enabled(t)
		f := w.file(pages(1, 8))
		v := w.view(f, 0, 8, sharedRW)
		p := w.view(f, 0, 8, private)
		store(t, v, []byte{42}, 5)
		w.ok(w.fs.Freeze(ctx))
		if n, _, _ := w.devs[0].Lines(0, 128*pageSize); n != 0 {
			t.Errorf("%d lines are not durable", n)
		}
		a := sched.Go(t, "store", func() error { return v.Store(ctx, []byte{43}, 6) })
		b := sched.Go(t, "write", func() error { _, err := f.Write(ctx, []byte{44}, 7); return err })
		c := sched.Go(t, "load", func() error { return v.Load(ctx, make([]byte, 8), 0) })
		d := sched.Go(t, "private store", func() error { return p.Store(ctx, []byte{9}, 0) })
		if !a.Blocked() || !b.Blocked() || !c.Done() || !d.Done() {
			t.Errorf("store %v, write %v, load %v, private store %v", a, b, c, d)
		}
		w.ok(c.Err())
		w.ok(d.Err())
		raw, err := f.Raw(0, 8)
		w.ok(err)
		equal(t, "frozen", raw, []byte{1, 1, 1, 1, 1, 42, 1, 1})
		w.fs.Thaw()
		w.ok(a.Err())
		w.ok(b.Err())
		want := pages(1, 8)
		copy(want[5:], []byte{42, 43, 44})
		w.holds("thawed", f, want)
	})
}
