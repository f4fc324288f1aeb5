package dax_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"testing"

	"godax/dax"
	"godax/pmem"
	"godax/vm"
	"godax/vm/sim"
)

// Scenarios of one goroutine, named after the list in the documentation of the
// semantics. The PMD order is 2: four pages.

var ctx = context.Background()

const run = pmdPages * pageSize // bytes of a huge page

// eachCarrier runs a test over both carriers.
func eachCarrier(t *testing.T, test func(t *testing.T, f *file)) {
	for _, iomap := range []bool{false, true} {
		t.Run(map[bool]string{false: "bh", true: "iomap"}[iomap], func(t *testing.T) {
			f := newFile(t, 256, dax.Config{})
			f.iomap = iomap
			test(t, f)
			f.check()
		})
	}
}

func isBus(t testing.TB, what string, err, want error) {
	t.Helper()
	var bus *vm.BusError
	if !errors.As(err, &bus) || !errors.Is(err, want) {
		t.Fatalf("%s: %v, want a bus error of %v", what, err, want)
	}
}

func translation(t testing.TB, v *sim.View, page uint64) vm.Leaf {
	t.Helper()
	l, ok := v.Lookup(page)
	if !ok {
		t.Fatalf("page %d has no translation", page)
	}
	return l
}

// TestSB1_KindsAndAlignments: reads, writes and views of holes, unwritten and mapped pages
// and mixtures, from any byte to any byte of two pages, agree with a shadow.
//
// Guards I22, I23, I24, T8.
func TestSB1_KindsAndAlignments(t *testing.T) {
	kinds := map[string]func(w *world){
		"hole":      func(w *world) {},
		"unwritten": func(w *world) { w.prealloc(0, 16) },
		"mapped":    func(w *world) { w.mustWrite(fill(8*pageSize, 1), 0) },
		"mixed": func(w *world) {
			w.mustWrite(fill(pageSize+100, 2), 50)
			w.prealloc(2, 1)
			w.mustWrite(fill(pageSize, 3), 4*pageSize)
			w.prealloc(5, 3)
		},
	}
	edges := []int{0, 1, 100, pageSize - 1, pageSize, pageSize + 1, 2*pageSize - 1, 2 * pageSize}
	for name, setup := range kinds {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
				w.sized(8 * pageSize)
				setup(w)
				shadow := w.mustRead(0, 8*pageSize)
				if bytes.IndexByte(shadow, 0xee) >= 0 && name == "unwritten" {
					t.Fatal("bytes from before the allocation are seen")
				}
				s := w.space()
				rw, ro := w.mapView(s, 0, 8, sharedRW), w.mapView(s, 1, 6, sharedRO)
				seed := uint64(10)
				for _, from := range edges {
					for _, to := range edges {
						if to <= from {
							continue
						}
						seed++
						b := fill(to-from, seed)
						off := int64(from) + pageSize
						if seed%2 == 0 {
							w.mustWrite(b, off)
						} else {
							store(t, rw, b, off)
						}
						copy(shadow[off:], b)
						equal(t, "read", w.mustRead(off-1, len(b)+2), shadow[off-1:off+int64(len(b))+1])
						equal(t, "shared view", load(t, rw, off-1, len(b)+2), shadow[off-1:off+int64(len(b))+1])
						equal(t, "read-only view", load(t, ro, off, len(b)), b)
					}
				}
				equal(t, "all", w.mustRead(0, 8*pageSize), shadow)
				w.sync()
				equal(t, "all, flushed", w.mustRead(0, 8*pageSize), shadow)
			})
		})
	}
}

// TestSB4_SB5_WriteUnderZeroPages: a write into a hole that views have zero pages of is seen
// in all of them, small ones and huge ones; no zero page and no small entry is left where
// it allocated a huge page.
//
// Guards I1, I11, I14, T9, T21, T79.
func TestSB4_SB5_WriteUnderZeroPages(t *testing.T) {
	for _, tt := range []struct {
		name  string
		small bool // the zero pages that are there
		write func(w *world) (off, n int)
	}{
		{"huge zero, small write", false, func(w *world) (int, int) { return pageSize, 10 }},
		{"huge zero, huge write", false, func(w *world) (int, int) { return 0, int(w.run) }},
		{"huge zeros, two huge writes", false, func(w *world) (int, int) { return 0, int(2 * w.run) }},
		{"small zeros, huge write", true, func(w *world) (int, int) { return 0, int(w.run) }},
		{"small zeros, small write", true, func(w *world) (int, int) { return pageSize, pageSize }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			eachWorld(t, realOrders, dax.Config{}, func(t *testing.T, w *world) {
				w.onePage = tt.small
				w.sized(2 * w.run)
				first := uint64(0)
				if tt.small {
					first = 1
				}
				v, other := w.view(0, 2*w.pages, sharedRO), w.view(first, 2*w.pages-first, sharedRW)
				for _, off := range []int64{0, pageSize, w.run - pageSize} {
					equal(t, "hole", load(t, v, off, pageSize), make([]byte, pageSize))
					if off >= pageSize {
						load(t, other, off, 1)
					}
				}
				w.onePage = false
				off, n := tt.write(w)
				b := fill(n, 5)
				w.mustWrite(b, int64(off))
				for _, v := range []*sim.View{v, other} {
					for _, l := range v.Translations() {
						if l.Kind == vm.Zero && vm.Overlap(l.Page*pageSize, pageSize<<l.Order, uint64(off), uint64(n)) {
							t.Errorf("after the write: %+v", l)
						}
					}
				}
				want := make([]byte, 2*w.run)
				copy(want[off:], b)
				equal(t, "view", load(t, v, 0, int(2*w.run)), want)
				equal(t, "other view", load(t, other, pageSize, int(2*w.run)-pageSize), want[pageSize:])
				if order, _, _ := dax.Dirty(w.m, 0); !tt.small && n >= int(w.run) && order != w.pmd {
					t.Errorf("entry of order %d after a huge write", order)
				}
			})
		})
	}
}

// TestSB6_StoreIntoHugeHole: a store to a page under a huge zero page allocates what the file
// system gives for it; all other bytes stay zero.
//
// Guards I22, I23, T21, T55.
func TestSB6_StoreIntoHugeHole(t *testing.T) {
	for _, raw := range []bool{false, true} {
		for _, small := range []bool{false, true} {
			t.Run(fmt.Sprintf("unwritten %t/small %t", raw, small), func(t *testing.T) {
				eachWorld(t, realOrders, dax.Config{}, func(t *testing.T, w *world) {
					w.sized(2 * w.run)
					if raw {
						w.prealloc(0, 2*w.pages)
					}
					v, ro := w.view(0, 2*w.pages, sharedRW), w.view(0, 2*w.pages, sharedRO)
					load(t, v, 0, 1)
					load(t, ro, 0, 1)
					if l := translation(t, ro, 0); l.Kind != vm.Zero || l.Order != w.pmd {
						t.Fatalf("%+v, want a huge zero page", l)
					}
					w.scatter = small
					at := w.run - pageSize + 5
					storeByte(t, v, 9, at)
					want := make([]byte, w.run)
					want[at] = 9
					equal(t, "run", load(t, v, 0, int(w.run)), want)
					equal(t, "read-only view", load(t, ro, 0, int(w.run)), want)
					equal(t, "read", w.mustRead(0, int(w.run)), want)
					order, _, dirty := dax.Dirty(w.m, w.pages-1)
					if !dirty || !small && order != w.pmd {
						t.Errorf("entry of order %d, dirty %t", order, dirty)
					}
					if l := translation(t, v, w.pages-1); l.Order != order {
						t.Errorf("%+v for an entry of order %d", l, order)
					}
				})
			})
		}
	}
}

// A small fault inside a huge zero entry takes that apart: also the other views lose their
// huge zero pages, and see what is stored then.
//
// Guards I11, I12, I14, T21, T29.
func TestSB6_SmallFaultInHugeHole(t *testing.T) {
	for name, access := range map[string]func(w *world, v *sim.View, off int64){
		"load":  func(w *world, v *sim.View, off int64) { load(w.t, v, off, 1) },
		"store": func(w *world, v *sim.View, off int64) { storeByte(w.t, v, 9, off) },
	} {
		for _, flags := range []vm.Flags{sharedRW, private} {
			t.Run(fmt.Sprintf("%s/flags %b", name, flags), func(t *testing.T) {
				eachWorld(t, realOrders, dax.Config{}, func(t *testing.T, w *world) {
					w.sized(w.run)
					huge := w.view(0, w.pages, sharedRO)
					load(t, huge, 0, 1)
					page := w.pages / 2
					one := w.view(page, 1, flags)
					w.onePage = true
					access(w, one, int64(page)*pageSize)
					w.check()
					if l, ok := huge.Lookup(0); ok && l.Order > 0 {
						t.Errorf("the other view still has %+v", l)
					}
					want := make([]byte, w.run)
					if name == "store" && flags == sharedRW {
						want[page*pageSize] = 9
					}
					equal(t, "the other view", load(t, huge, 0, int(w.run)), want)
					equal(t, "read", w.mustRead(0, int(w.run)), want)
				})
			})
		}
	}
}

// TestSB7_SmallViewInHugeEntry: a view of one page inside a huge entry maps a part of it; a
// store makes the whole entry dirty, and cleaning it takes the permission from both views.
//
// Guards I11, I12, I19, I24, I31, T26, T46, T54, T55.
func TestSB7_SmallViewInHugeEntry(t *testing.T) {
	eachWorld(t, realOrders, dax.Config{}, func(t *testing.T, w *world) {
		w.mustWrite(fill(int(2*w.run), 1), 0)
		w.sync()
		s := w.space()
		at := w.pages / 2 // not the first one
		huge, one := w.mapView(s, 0, 2*w.pages, sharedRW), w.mapView(s, at, 1, sharedRW)
		load(t, huge, 0, 1)
		load(t, one, int64(at)*pageSize, 1)
		if a, b := translation(t, huge, at), translation(t, one, at); a.PFN+pmem.PFN(at) != b.PFN || a.Order != w.pmd || b.Order != 0 {
			t.Errorf("%+v and %+v", a, b)
		}
		for i := range byte(3) {
			off := int64(at)*pageSize + 7
			if i == 1 {
				storeByte(t, huge, 0x55+i, off)
			} else {
				storeByte(t, one, 0x55+i, off)
			}
			if order, _, dirty := dax.Dirty(w.m, 0); order != w.pmd || !dirty {
				t.Errorf("order %d, dirty %t; want the whole huge entry dirty", order, dirty)
			}
			for _, v := range []*sim.View{huge, one} {
				if got := load(t, v, off, 1)[0]; got != 0x55+i {
					t.Errorf("store %d: a view has %#x", i, got)
				}
			}
			if st := w.sync(); st.Pages != w.pages {
				t.Errorf("store %d: %d pages flushed, want %d", i, st.Pages, w.pages)
			}
			for _, v := range []*sim.View{huge, one} {
				if l := translation(t, v, at); l.Write || l.Dirty {
					t.Errorf("store %d: after the flush %+v", i, l)
				}
			}
			w.check()
		}
	})
}

// TestSB9_Huge: where nothing speaks against it there is a huge translation, of a hole, of
// data, and after a store.
//
// Guards I52, T44, T51.
func TestSB9_Huge(t *testing.T) {
	eachWorld(t, realOrders, dax.Config{}, func(t *testing.T, w *world) {
		w.sized(4 * w.run)
		w.mustWrite(fill(int(w.run), 1), w.run)
		w.prealloc(3*w.pages, w.pages)
		v := w.view(0, 4*w.pages, sharedRW)
		load(t, v, pageSize, 1)
		load(t, v, 2*w.run-pageSize, 1)
		storeByte(t, v, 1, 2*w.run+pageSize)
		load(t, v, 3*w.run+pageSize, 1)
		p := w.pages
		for page, want := range map[uint64]vm.Leaf{
			0:       {Page: 0, Order: w.pmd, Kind: vm.Zero},
			p:       {Page: p, Order: w.pmd, Kind: vm.Frames},
			2*p + 1: {Page: 2 * p, Order: w.pmd, Kind: vm.Frames, Write: true, Dirty: true},
			3 * p:   {Page: 3 * p, Order: w.pmd, Kind: vm.Zero},
		} {
			got := translation(t, v, page)
			got.PFN = 0
			if got != want {
				t.Errorf("page %d: %+v, want %+v", page, got, want)
			}
		}
		storeByte(t, v, 1, 3*w.run)
		if l := translation(t, v, 3*p); l.Order != w.pmd || !l.Write {
			t.Errorf("after a store to unwritten: %+v", l)
		}
		if n := fallbackCounts(w.m); n != [15]uint64{} {
			t.Errorf("fallbacks %v", n)
		}
		if n := w.m.Stats().Faults[w.pmd].Load(); n < 5 {
			t.Errorf("%d huge faults", n)
		}
	})
}

// TestSB10_SB11_SB12_PrivateCopies: a store to a private view gets a copy of one page, of
// data or of a hole; the file does not change, nothing is allocated or dirty; the copy
// survives whatever is done to the file but a cut below it.
//
// Guards I20, I21, T52, T81.
func TestSB10_SB11_SB12_PrivateCopies(t *testing.T) {
	for name, disturb := range map[string]func(w *world) error{
		"nothing":         func(w *world) error { return nil },
		"punch":           func(w *world) error { return w.punch(ctx, pageSize, pageSize) },
		"zero":            func(w *world) error { return w.zero(pageSize, pageSize) },
		"truncate behind": func(w *world) error { return w.truncate(ctx, 2*pageSize) },
		"layout":          func(w *world) error { w.forget(); return nil },
		"invalidate":      func(w *world) error { w.sync(); return w.m.Invalidate(0, dax.ToEnd) },
		"write":           func(w *world) error { w.mustWrite(fill(pageSize, 8), pageSize); return nil },
		"store": func(w *world) error {
			store(w.t, w.view(0, 2*w.pages, sharedRW), fill(pageSize, 8), pageSize)
			return nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
				w.sized(2 * w.run)
				data := fill(int(w.run), 1)
				w.mustWrite(data, 0)
				blocks := w.used()
				v := w.view(0, 2*w.pages, private)
				load(t, v, 0, int(w.run))
				if l := translation(t, v, 0); l.Order != w.pmd {
					t.Errorf("%+v before, want a huge translation", l)
				}
				storeByte(t, v, 0x42, pageSize+1)
				storeByte(t, v, 0x43, w.run+5) // a hole
				if l := translation(t, v, 1); l.Kind != vm.Private || l.Order != 0 {
					t.Errorf("after the store: %+v", l)
				}
				if l, ok := v.Lookup(0); ok && l.Order != 0 {
					t.Errorf("beside the copy: %+v", l)
				}
				if w.used() != blocks {
					t.Error("a private store allocated")
				}
				want := bytes.Clone(data[pageSize : 2*pageSize])
				want[1] = 0x42
				equal(t, "file", w.mustRead(0, int(w.run)), data)
				w.check()
				if _, _, dirty := dax.Dirty(w.m, w.pages); dirty {
					t.Error("a private store made the page dirty")
				}
				if err := disturb(w); err != nil {
					t.Fatal(err)
				}
				equal(t, "copy", load(t, v, pageSize, pageSize), want)
				equal(t, "neighbour", load(t, v, 0, pageSize), data[:pageSize])
				if name != "truncate behind" {
					if got := load(t, v, w.run+4, 3); !bytes.Equal(got, []byte{0, 0x43, 0}) {
						t.Errorf("copy of a hole: %v", got)
					}
				}
			})
		})
	}
	t.Run("truncated away", func(t *testing.T) {
		eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
			w.sized(w.run)
			v := w.view(0, w.pages, private)
			storeByte(t, v, 1, pageSize)
			w.sized(pageSize)
			isBus(t, "load", v.Load(ctx, make([]byte, 1), pageSize), dax.ErrBeyondEnd)
		})
	})
}

// TestSB29_Evict: an eviction flushes what is dirty, removes entries of all kinds, and
// leaves nothing that can be used.
//
// Guards I5, I9, I33, I41.
func TestSB29_Evict(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	f.sized(4 * run)
	f.mustWrite(fill(run, 1), 0)
	v := f.mapView(newSpace(), 0, 16, sharedRW)
	load(t, v, 2*run, 1)
	store(t, v, []byte{5}, run+5)
	if err := f.m.Evict(ctx, false); !errors.Is(err, dax.ErrBusy) {
		t.Fatalf("evict with a view: %v", err)
	}
	f.m.Detach(v)
	v.Close()
	if err := f.m.Evict(ctx, false); err != nil {
		t.Fatal(err)
	}
	if pages, entries := f.m.Pages(); pages != 0 || entries != 0 {
		t.Errorf("%d pages, %d entries left", pages, entries)
	}
	d, _ := f.device(5 - 1)
	if got := dev.Durable()[d*pageSize+5]; got != 5 {
		t.Errorf("%d is durable, want 5", got)
	}
	f.check()
	if _, err := f.read(make([]byte, 1), 0); !errors.Is(err, dax.ErrGone) {
		t.Errorf("read afterwards: %v", err)
	}
	if err := f.m.Attach(ctx, v, f); !errors.Is(err, dax.ErrGone) {
		t.Errorf("attach afterwards: %v", err)
	}
	if _, err := f.m.Pin(ctx, 0, 1, 0, f); !errors.Is(err, dax.ErrGone) {
		t.Errorf("pin afterwards: %v", err)
	}
}

// Row 7: a store to shared storage gets storage of its own, and every view follows.
// Buffer heads have no word for shared storage.
func TestCopyOnWrite(t *testing.T) {
	eachCarrier(t, func(t *testing.T, f *file) {
		if !f.iomap {
			return
		}
		data := fill(2*run, 1)
		f.mustWrite(data, 0)
		f.sync()
		f.share(0, 8)
		if err := f.m.Invalidate(0, dax.ToEnd); err != nil {
			t.Fatal(err)
		}
		old, _ := f.device(2)
		s := newSpace()
		a, b, ro := f.mapView(s, 0, 8, sharedRW), f.mapView(s, 1, 2, sharedRW), f.mapView(s, 0, 8, sharedRO)
		for _, v := range []*sim.View{a, ro} {
			equal(t, "before", load(t, v, 0, 2*run), data)
		}
		store(t, b, []byte{0x99}, 2*pageSize+3)
		f.mustWrite([]byte{0x98}, run+1)
		data[2*pageSize+3], data[run+1] = 0x99, 0x98
		for _, v := range []*sim.View{a, ro} {
			equal(t, "after", load(t, v, 0, 2*run), data)
		}
		oldBytes, _ := f.dev.Bytes(int64(old)*pageSize, pageSize)
		equal(t, "the other file's block", oldBytes, fill(2*run, 1)[2*pageSize:3*pageSize])
	})
}
