package dax_test

import (
	"errors"
	"fmt"
	"testing"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// The end of the file.

// TestSB2_EndOfFile: an access raises SIGBUS exactly from the first page on that is wholly
// past the end, whichever order the fault is tried at first, and nothing past the end gets
// into the index or a view.
//
// Guards I15, T70, T87.
func TestSB2_EndOfFile(t *testing.T) {
	for _, access := range []string{"load", "store", "load and store", "private store"} {
		for _, small := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/small %t", access, small), func(t *testing.T) {
				orders := smallOrders
				if raceEnabled {
					orders = []uint{1, 2}
				}
				eachWorld(t, orders, dax.Config{}, func(t *testing.T, w *world) {
					run := w.run
					for _, size := range []int64{0, 1, pageSize - 1, pageSize, pageSize + 1, run - pageSize, run - 1, run, run + 1, run + pageSize, 2*run - 1, 2 * run} {
						w.sized(size)
						endOfFile(w, access, small)
					}
				})
			})
		}
	}
}

// endOfFile accesses every page of a view that is longer than the file, each with nothing
// in the index.
func endOfFile(w *world, access string, small bool) {
	t, size := w.t, w.m.Size()
	t.Helper()
	flags := sharedRW
	if access == "private store" {
		flags = private
	}
	if small {
		flags |= vm.NoHuge
	}
	s := sim.New(sim.Config{PMDOrder: w.pmd, TryAll: !small})
	v := w.mapView(s, 0, 3*w.pages, flags)
	defer v.Close()
	defer w.m.Detach(v)
	for page := range int64(3 * w.pages) {
		var err error
		if access != "store" && access != "private store" {
			err = v.Load(ctx, make([]byte, 1), page*pageSize)
		}
		if err == nil && access != "load" {
			err = v.Store(ctx, []byte{1}, page*pageSize)
		}
		what := fmt.Sprintf("size %d, %s of page %d", size, access, page)
		if inside := page*pageSize < size; inside && err != nil {
			t.Fatalf("%s: %v", what, err)
		} else if !inside {
			isBus(t, what, err, dax.ErrBeyondEnd)
		}
		for _, l := range v.Translations() {
			if end := int64(l.Page+1<<l.Order) * pageSize; end >= size+pageSize {
				t.Errorf("%s: %+v reaches past the end", what, l)
			}
		}
		if pages, _ := w.m.Pages(); int64(pages)*pageSize >= size+pageSize {
			t.Errorf("%s: %d pages in the index", what, pages)
		}
		w.check()
		w.forget()
	}
}

// A huge fault past the end is a SIGBUS at once, not a fallback; one whose run reaches past
// the end, from a page that does not, is a fallback.
//
// Guards I15, T87.
func TestSB2_HugeFaultPastTheEnd(t *testing.T) {
	for _, pmd := range realOrders {
		w := newWorld(t, pmd, 4, dax.Config{})
		v := w.view(0, 4*w.pages, sharedRW)
		for _, size := range []int64{0, 1, pageSize, w.run - 1, w.run, w.run + 1} {
			w.sized(size)
			end := uint64(size+pageSize-1) / pageSize
			for _, page := range []uint64{0, 1, end - 1, end, end + 1, 2*w.pages - 1, 4*w.pages - 1} {
				if page >= 4*w.pages {
					continue // end-1 of the empty file
				}
				for _, a := range []vm.Access{vm.Load, vm.Store, vm.MkWrite} {
					err := w.m.Fault(&vm.Fault{View: v, Page: page, Order: pmd, Access: a}, w)
					want := error(nil)
					switch {
					case page >= end:
						want = dax.ErrBeyondEnd
					case page>>pmd<<pmd+w.pages > end:
						want = vm.ErrFallback
					}
					if !errors.Is(err, want) {
						t.Errorf("order %d, size %d, page %d, access %d: %v, want %v", pmd, size, page, a, err, want)
					}
					w.forget()
				}
			}
		}
		w.check()
	}
}

// TestSB3_TailNeverBecomesData: what is stored through a view behind the end of the file,
// in its last page, is gone when the file is extended over it.
//
// Guards I22, T77.
func TestSB3_TailNeverBecomesData(t *testing.T) {
	grow := map[string]func(w *world){
		"write behind":        func(w *world) { w.mustWrite([]byte{7}, 2*pageSize+10) },
		"write near":          func(w *world) { w.mustWrite([]byte{7}, pageSize+300) },
		"write at the end":    func(w *world) { w.mustWrite([]byte{7}, pageSize+100) },
		"truncate":            func(w *world) { w.sized(3 * pageSize) },
		"truncate by a byte":  func(w *world) { w.sized(pageSize + 101) },
		"truncate far":        func(w *world) { w.sized(3 * w.run) },
		"allocate":            func(w *world) { w.prealloc(2, 2); w.sized(4 * pageSize) },
		"truncate down to it": func(w *world) { w.sized(pageSize + 50); w.sized(pageSize + 400) },
	}
	for name, extend := range grow {
		for _, hole := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/hole %t", name, hole), func(t *testing.T) {
				eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
					w.sized(pageSize + 100)
					want := make([]byte, pageSize+100)
					if !hole {
						want = fill(pageSize+100, 1)
						w.mustWrite(want, 0)
					}
					v := w.view(0, 4*w.pages, sharedRW)
					equal(t, "the last page's rest", load(t, v, pageSize+100, pageSize-100), make([]byte, pageSize-100))
					store(t, v, fill(pageSize-100, 2), pageSize+100)
					extend(w)
					got := w.mustRead(0, int(w.m.Size()))
					for i := range got {
						b := byte(0)
						if i < len(want) && (name != "truncate down to it" || i < pageSize+50) {
							b = want[i]
						}
						if got[i] != b && got[i] != 7 {
							t.Fatalf("byte %d is %#x, want %#x", i, got[i], b)
						}
					}
					equal(t, "view", load(t, v, 0, len(got)), got)
				})
			})
		}
	}
}

// A file that is extended byte by byte, each stored to through a view as soon as it is part
// of the file, loses none of them (generic/438).
//
// Guards I25, I29, T77.
func TestSB3_ByteByByte(t *testing.T) {
	for name, extend := range map[string]func(w *world, at int64){
		"truncate": func(w *world, at int64) { w.sized(at + 1) },
		"write":    func(w *world, at int64) { w.mustWrite([]byte{0}, at) },
		"write 2":  func(w *world, at int64) { w.mustWrite([]byte{0}, at); w.sized(at + 2); w.sized(at + 1) },
	} {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
				const begin, n = pageSize - 40, 80
				w.sized(begin)
				v := w.view(0, 2*w.pages, sharedRW)
				want := fill(n, 3)
				for i := range int64(n) {
					extend(w, begin+i)
					store(t, v, want[i:i+1], begin+i)
				}
				equal(t, "read", w.mustRead(begin, n), want)
				equal(t, "view", load(t, v, begin, n), want)
				w.sync()
				d, _ := w.device(0)
				equal(t, "medium", w.dev.Durable()[d*pageSize+begin:][:40], want[:40])
			})
		})
	}
}
