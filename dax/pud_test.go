package dax_test

import (
	"testing"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// Pages of three sizes: the PMD order is 1, the PUD order 3.

const (
	pud      = 3
	pudPages = 1 << pud
	pudRun   = pudPages * pageSize
)

func newPUD(t testing.TB) *world { return newWorld(t, 1, 32, dax.Config{PUDOrder: pud}) }

func pudSpace() *sim.Space { return sim.New(sim.Config{PMDOrder: 1, PUDOrder: pud, TryAll: true}) }

// TestSE1_ThreeOrders is the model test with three orders, over both carriers.
//
// Guards I1, I2, I18, I19, I24.
func TestSE1_ThreeOrders(t *testing.T) {
	ops := thin(1500)
	for _, iomap := range []bool{false, true} {
		for seed := range uint64(3) {
			f := newFile(t, 256, dax.Config{PMDOrder: 1, PUDOrder: pud})
			f.iomap = iomap
			m := newModel(t, f, seed)
			m.space = pudSpace()
			m.run(ops)
			if n := m.space.Stats().Installs; n[pud] == 0 || n[1] == 0 || n[0] == 0 {
				t.Errorf("translations by order: %v", n)
			}
		}
	}
}

// TestSB9_ThreeOrders: a fault gets the largest translation that there can be.
//
// Guards I18, I52, T51.
func TestSB9_ThreeOrders(t *testing.T) {
	for _, tt := range []struct {
		name   string
		reason int // of the fallback from the PUD order; 0 is none
		order  uint
		setup  func(w *world)
		view   func(w *world, s *sim.Space) (*sim.View, error)
		access func(t testing.TB, v *sim.View)
	}{
		{"hole", 0, pud, nil, nil, nil},
		{"data", 0, pud, func(w *world) { w.lay(8, 8, 8) }, nil, nil},
		{"unwritten", 0, pud, func(w *world) { w.prealloc(8, 8) }, nil, nil},
		{"store to a hole", 0, pud, nil, nil, storeAt9},
		{"store to data", 0, pud, func(w *world) { w.lay(8, 8, 16) }, nil, storeAt9},
		{"store to unwritten", 0, pud, func(w *world) { w.prealloc(8, 8) }, nil, storeAt9},
		{"colour", 1, 1, nil, func(w *world, s *sim.Space) (*sim.View, error) { return s.MapAt(w, 0, 24, sharedRW, 102) }, nil},
		{"colour of neither", 1, 0, nil, func(w *world, s *sim.Space) (*sim.View, error) { return s.MapAt(w, 0, 24, sharedRW, 101) }, nil},
		{"view", 3, 1, nil, func(w *world, s *sim.Space) (*sim.View, error) { return s.Map(w, 8, 6, sharedRW) }, nil},
		{"end of file", 4, 1, func(w *world) { w.sized(pudRun + 2*pageSize) }, nil, nil},
		{"small entry", 5, 1, func(w *world) { w.onePage = true; w.mustRead(14*pageSize, 1); w.onePage = false }, nil, nil},
		{"middle entry", 5, 1, func(w *world) { w.onePage = true; w.mustRead(15*pageSize, 1); w.onePage = false }, nil, storeAt9},
		{"extent", 6, 1, func(w *world) { w.lay(8, 2, 8) }, nil, nil},
		{"device", 7, 1, func(w *world) { w.lay(8, 8, 8); w.dev.SetMaxRun(2) }, nil, nil},
		{"frames", 8, 1, func(w *world) { w.lay(8, 8, 18) }, nil, nil},
		{"frames of neither", 8, 0, func(w *world) { w.lay(8, 8, 19) }, nil, nil},
		{"store, frames", 8, 1, func(w *world) { w.lay(8, 8, 18) }, nil, storeAt9},
		{"no order of its own", 14, 1, func(w *world) {
			m := dax.NewMapping(dax.Config{PMDOrder: 1})
			m.SetSize(w.m.Size())
			w.m = m
		}, nil, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newPUD(t)
			w.t = t
			w.iomap = true
			w.sized(3 * pudRun)
			if tt.setup != nil {
				tt.setup(w)
			}
			s := pudSpace()
			v, err := s.Map(w, 0, 24, sharedRW)
			if tt.view != nil {
				v.Close()
				v, err = tt.view(w, s)
			}
			if err == nil {
				err = w.m.Attach(ctx, v, w)
			}
			if err != nil {
				t.Fatal(err)
			}
			before := fallbackCounts(w.m)
			access := tt.access
			if access == nil {
				access = func(t testing.TB, v *sim.View) { load(t, v, 9*pageSize, 1) }
			}
			access(t, v)
			after := fallbackCounts(w.m)
			for i := range after {
				if n := after[i] - before[i]; i > 0 && i == tt.reason && n == 0 || tt.order > 0 && n > 1 || i != tt.reason && n > 0 && tt.order > 0 {
					t.Errorf("F%d is counted %d times", i, n)
				}
			}
			if l := translation(t, v, 9); l.Order != tt.order {
				t.Errorf("%+v, want order %d", l, tt.order)
			}
			if err := s.Check(); err != nil {
				t.Error(err)
			}
			w.check()
		})
	}
}

func storeAt9(t testing.TB, v *sim.View) {
	store(t, v, []byte{1}, 9*pageSize)
	if got := load(t, v, 9*pageSize, 1)[0]; got != 1 {
		t.Errorf("load after the store: %d", got)
	}
}

// TestSB7_ThreeOrders: an entry of the largest order that three views map with pages of
// three sizes is dirty as a whole, flushed as a whole, and write-protected in all of them.
//
// Guards I30, I31, T25, T26, T27, T54.
func TestSB7_ThreeOrders(t *testing.T) {
	w := newPUD(t)
	data := fill(2*pudRun, 1)
	w.lay(0, 16, 16)
	w.mustWrite(data, 0)
	w.sync()
	w.forget()
	s := pudSpace()
	large := w.mapView(s, 0, 16, sharedRW)
	load(t, large, 0, 1) // makes the entry
	middle, small := w.mapView(s, 2, 4, sharedRW), w.mapView(s, 5, 1, sharedRW)
	views := []*sim.View{large, middle, small}
	for i, order := range []uint{pud, 1, 0} {
		w.dev.ResetCounts()
		storeByte(t, views[i], byte(0x50+i), int64(5*pageSize+i))
		data[5*pageSize+i] = byte(0x50 + i)
		if l := translation(t, views[i], 5); l.Order != order || !l.Write {
			t.Errorf("view %d: %+v, want a writable one of order %d", i, l, order)
		}
		if got, _, dirty := dax.Dirty(w.m, 0); got != pud || !dirty {
			t.Errorf("view %d: entry of order %d, dirty %t", i, got, dirty)
		}
		for _, v := range views {
			equal(t, "view", load(t, v, 5*pageSize, pageSize), data[5*pageSize:6*pageSize])
		}
		if st := w.sync(); st.Entries != 1 || st.Pages != pudPages {
			t.Errorf("view %d: %+v", i, st)
		}
		for p := range uint64(16) {
			want := int64(0)
			if p < pudPages {
				want = pageSize
			}
			if got := w.dev.FlushedBytes(16 + p); got != want {
				t.Errorf("view %d: %d bytes of page %d flushed, want %d", i, got, p, want)
			}
		}
		for j, v := range views {
			if l := translation(t, v, 5); l.Write || l.Dirty {
				t.Errorf("view %d after the flush of a store through view %d: %+v", j, i, l)
			}
		}
		w.check()
	}
	equal(t, "medium", w.dev.Durable()[16*pageSize:][:2*pudRun], data)
}

// TestSB6_ThreeOrders: a store to a part of the largest zero page gets storage for that
// part; the rest stays a hole.
//
// Guards I22, T21, T29.
func TestSB6_ThreeOrders(t *testing.T) {
	for _, tt := range []struct {
		page, n uint64 // of the view that stores
		blocks  int
	}{{2, 1, 1}, {2, 4, 2}, {0, 8, 8}} {
		w := newPUD(t)
		w.sized(2 * pudRun)
		s := pudSpace()
		v := w.mapView(s, 0, 16, sharedRO)
		load(t, v, 0, 1)
		if l := translation(t, v, 0); l != (vm.Leaf{Page: 0, Order: pud, Kind: vm.Zero}) {
			t.Fatalf("%+v", l)
		}
		storeByte(t, w.mapView(s, tt.page, tt.n, sharedRW), 9, 3*pageSize-1)
		if n := w.used(); n != tt.blocks {
			t.Errorf("view of %d pages: %d blocks, want %d", tt.n, n, tt.blocks)
		}
		want := make([]byte, pudRun)
		want[3*pageSize-1] = 9
		equal(t, "the other view", load(t, v, 0, pudRun), want)
		equal(t, "read", w.mustRead(0, pudRun), want)
		w.end()
	}
}
