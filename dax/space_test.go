package dax_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"godax/dax"
)

// Blocks: how many a file has, and what there is when there are no more.

// TestSB19_WriteWithoutSpace: a write of which the last pages do not fit reports what it
// has written, and size, storage and bytes agree with that.
//
// Guards I15, I26, I46.
func TestSB19_WriteWithoutSpace(t *testing.T) {
	for _, begin := range []int64{0, 100, pageSize, pageSize + 100} {
		for left := range 6 {
			t.Run(fmt.Sprintf("at %d/%d blocks", begin, left), func(t *testing.T) {
				eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
					first := fill(int(begin), 1)
					w.mustWrite(first, 0)
					before := w.used()
					w.keep(left)
					v := w.view(0, 2*w.pages+8, sharedRW)
					b := fill(7*pageSize+5, 2)
					n, err := w.write(b, begin)
					isErr(t, err, syscall.ENOSPC)
					if most := left*pageSize + int(int64(before)*pageSize-begin); n > most {
						t.Fatalf("%d bytes written, there is space for %d", n, most)
					}
					size := begin + int64(n)
					if w.m.Size() != size {
						t.Errorf("size %d, written to %d", w.m.Size(), size)
					}
					if got, want := w.used(), int(size+pageSize-1)/pageSize; got != want {
						t.Errorf("%d blocks, the size needs %d", got, want)
					}
					if n < left*pageSize {
						t.Errorf("%d bytes written, there are %d blocks", n, left)
					}
					want := append(first, b[:n]...)
					equal(t, "read", w.mustRead(0, len(want)), want)
					equal(t, "view", load(t, v, 0, len(want)), want)
					page := (size + pageSize - 1) / pageSize * pageSize
					isBus(t, "load past the end", v.Load(ctx, make([]byte, 1), page), dax.ErrBeyondEnd)
				})
			})
		}
	}
}

// A write that is interrupted between storage and copy leaves no entries past the end for
// what it was given.
//
// Guards I15, I26.
func TestSB19_WriteInterrupted(t *testing.T) {
	eachWorld(t, realOrders, dax.Config{}, func(t *testing.T, w *world) {
		first := fill(pageSize+5, 1)
		w.mustWrite(first, 0)
		interrupted, cancel := context.WithCancel(ctx)
		w.set(func(f *file) { f.onCall = func(*dax.Request) { cancel() } })
		n, err := w.m.WriteAt(interrupted, fill(int(3*w.run), 2), w.run, w)
		w.set(func(f *file) {
			f.onCall = nil
			f.dropLocked(2, dax.ToEnd)
		})
		if n != 0 || !errors.Is(err, context.Canceled) || w.m.Size() != int64(len(first)) {
			t.Errorf("%d bytes, %v, size %d", n, err, w.m.Size())
		}
		for p := uint64(2); p < 5*w.pages; p++ {
			if _, ok, _ := dax.Dirty(w.m, p); ok {
				t.Fatalf("page %d has an entry", p)
			}
		}
		w.sized(2 * w.run)
		want := append(first, make([]byte, int(2*w.run)-len(first))...)
		equal(t, "extended", w.mustRead(0, len(want)), want)
	})
}

// TestSB22_BlocksAfterStore: a file that was only stored to through a view has blocks
// (generic/614).
//
// Guards I46.
func TestSB22_BlocksAfterStore(t *testing.T) {
	eachWorld(t, realOrders, dax.Config{}, func(t *testing.T, w *world) {
		w.sized(4 * w.run)
		v := w.view(0, 4*w.pages, sharedRW)
		load(t, v, 0, int(w.run))
		if n := w.used(); n != 0 {
			t.Errorf("%d blocks after loads", n)
		}
		storeByte(t, v, 1, w.run+5)
		n := w.used()
		if n == 0 {
			t.Error("no blocks after a store")
		}
		direct := uint64(0)
		for e, err := range w.m.Entries(ctx, 0, dax.ToEnd, w) {
			if err != nil {
				t.Fatal(err)
			}
			if e.Kind == dax.Direct {
				direct += e.N
			}
		}
		if direct != uint64(n) {
			t.Errorf("%d blocks, the index knows of %d", n, direct)
		}
	})
}

// TestSB30_NoChargeForFailure: a fault that fails charges nothing, one that falls back just
// what it then needs, one that is tried again when there is space no more than that.
//
// Guards I46, I52, T56.
func TestSB30_NoChargeForFailure(t *testing.T) {
	for _, quota := range []error{syscall.ENOSPC, syscall.EDQUOT} {
		t.Run(quota.Error(), func(t *testing.T) {
			eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
				w.sized(4 * w.run)
				v := w.view(0, 4*w.pages, sharedRW)
				load(t, v, 0, int(2*w.run)) // huge zero pages
				most, failed := 0, 0
				w.populate = func(r *dax.Request) (bool, error) {
					if need := int(r.N); r.Intent == dax.IntentWrite && w.used()+need > most {
						failed++
						return true, quota
					}
					return false, nil
				}
				isBus(t, "store without space", v.Store(ctx, []byte{1}, 5), quota)
				n, err := w.write([]byte{1}, pageSize)
				if n != 0 || !errors.Is(err, quota) {
					t.Errorf("write: %d, %v", n, err)
				}
				_, err = w.m.Pin(ctx, 0, 1, dax.PinWrite, w)
				isErr(t, err, quota)
				if got := w.used(); got != 0 || failed < 3 {
					t.Errorf("%d blocks after %d failures", got, failed)
				}
				equal(t, "the hole", load(t, v, 0, int(w.run)), make([]byte, w.run))
				w.check()

				most = 1
				storeByte(t, v, 1, 5)
				if got := w.used(); got != 1 {
					t.Errorf("%d blocks after a fallback, want 1", got)
				}
				if got := w.m.Stats().Fallbacks[6].Load(); got == 0 {
					t.Error("no fallback is counted")
				}
				most = 1 + int(w.pages)
				storeByte(t, v, 1, w.run)
				if got := w.used(); got != most {
					t.Errorf("%d blocks after a huge store, want %d", got, most)
				}
				isBus(t, "store", v.Store(ctx, []byte{1}, pageSize), quota)
				if got := w.used(); got != most {
					t.Errorf("%d blocks after another failure, want %d", got, most)
				}
			})
		})
	}
}
