package dax_test

import (
	"bytes"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"godax/block"
	"godax/dax"
	"godax/pmem"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

// fallback is a reason why a huge fault is not served, and nothing else that would be one.
// The access is to the second page of the file's third huge page, a hole of 8 huge pages.
type fallback struct {
	name   string
	reason int
	stores bool // there is the reason for stores
	loads  bool // there is the reason for loads

	config   dax.Config
	pud      bool             // the view has a larger order, which the mapping has not
	setup    func(w *world)   // before there is a view
	view     fallbackView     // instead of one of the whole file
	present  func(w *world)   // after a load, which made a huge translation of a hole or of data
	data     bool             // the huge page has data, as a huge page can have it
	populate fallbackPopulate // before the file is asked
	page     func(w *world) uint64
	err      error // of the small fault
}

type (
	fallbackView     func(w *world, s *sim.Space) (*sim.View, error)
	fallbackPopulate func(w *world, r *dax.Request) (done bool, err error)
)

// at is where the access is.
func (w *world) at() uint64 { return 2*w.pages + 1 }

// hugeOnly makes huge requests, of the huge page that is accessed, be answered with an
// extent of a kind.
func hugeOnly(kind block.Kind) fallbackPopulate {
	return func(w *world, r *dax.Request) (bool, error) {
		if r.Order == 0 {
			return false, nil
		}
		return true, block.CreatePFNs(r, block.Extent{Off: 0, Len: 8 * w.run, Kind: kind})
	}
}

// hugeFails makes huge requests fail.
func hugeFails(err error) fallbackPopulate {
	return func(w *world, r *dax.Request) (bool, error) {
		return r.Order > 0, err
	}
}

func window(page, n func(w *world) uint64, flags vm.Flags) fallbackView {
	return func(w *world, s *sim.Space) (*sim.View, error) { return s.Map(w, page(w), n(w), flags) }
}

func ignorePages(n uint64) func(w *world) uint64 { return func(*world) uint64 { return n } }

// askew gives the huge page blocks in a row that are not aligned.
func askew(w *world) {
	if _, ok := w.device(2 * w.pages); !ok {
		w.lay(2*w.pages, w.pages, 10*w.pages+1)
	}
}

var fallbacks = []fallback{
	{name: "colour", reason: 1, loads: true, stores: true, view: func(w *world, s *sim.Space) (*sim.View, error) {
		return s.MapAt(w, 0, 8*w.pages, sharedRW, 16*w.pages+1)
	}},
	{name: "private store", reason: 2, stores: true, data: true, view: func(w *world, s *sim.Space) (*sim.View, error) {
		return s.Map(w, 0, 8*w.pages, private)
	}},
	{name: "the view begins inside", reason: 3, loads: true, stores: true,
		view: window((*world).at, func(w *world) uint64 { return 2 * w.pages }, sharedRW)},
	{name: "the view ends inside", reason: 3, loads: true, stores: true,
		view: window(ignorePages(0), func(w *world) uint64 { return 3*w.pages - 1 }, sharedRW),
		page: func(w *world) uint64 { return 2 * w.pages }},
	{name: "the file ends inside", reason: 4, loads: true, stores: true,
		setup: func(w *world) { w.sized(2*w.run + 1) }, page: func(w *world) uint64 { return 2 * w.pages }},
	{name: "the file ends before the last page", reason: 4, loads: true, stores: true,
		setup: func(w *world) { w.sized(3*w.run - pageSize) }, page: func(w *world) uint64 { return 2 * w.pages }},
	{name: "a small entry", reason: 5, loads: true, stores: true, setup: func(w *world) {
		w.onePage = true
		w.mustRead(int64(3*w.pages-1)*pageSize, 1)
		w.onePage = false
	}, page: func(w *world) uint64 { return 2 * w.pages }},
	{name: "a short hole", reason: 6, loads: true, setup: func(w *world) { w.onePage = true }},
	{name: "a short unwritten extent", reason: 6, loads: true, setup: func(w *world) { w.prealloc(2*w.pages, 2); w.onePage = true }},
	{name: "a short extent", reason: 6, loads: true, setup: func(w *world) { w.lay(w.at(), 1, w.at()) }},
	{name: "scattered blocks", reason: 6, stores: true, setup: func(w *world) { w.scatter = true }},
	{name: "scattered blocks under a huge zero page", reason: 6, stores: true, present: func(w *world) { w.scatter = true }},
	{name: "no space for all", reason: 6, stores: true, setup: func(w *world) { w.keep(1) }},
	{name: "no quota for all", reason: 6, stores: true, populate: hugeFails(syscall.EDQUOT)},
	{name: "the device in pieces", reason: 7, loads: true, stores: true, data: true, setup: func(w *world) { w.dev.SetMaxRun(1) }},
	{name: "the device in pieces under a huge zero page", reason: 7, stores: true, present: func(w *world) { w.dev.SetMaxRun(1) }},
	{name: "frames not aligned", reason: 8, loads: true, stores: true, setup: askew},
	{name: "frames not aligned under a huge zero page", reason: 8, stores: true, present: func(*world) {},
		populate: func(w *world, r *dax.Request) (bool, error) {
			if r.Intent == dax.IntentWrite {
				askew(w)
			}
			return false, nil
		}},
	{name: "bad media", reason: 9, loads: true, stores: true, data: true, err: pmem.ErrPoisoned, setup: func(w *world) {
		w.poison(w.at())
	}},
	{name: "bad media under a huge page", reason: 9, stores: true, data: true, present: func(w *world) { w.poison(3*w.pages - 1) },
		page: func(w *world) uint64 { return 2 * w.pages }},
	{name: "a device error", reason: 9, loads: true, stores: true, populate: hugeFails(syscall.ENXIO)},
	{name: "a device error under a huge zero page", reason: 9, stores: true, present: func(*world) {},
		populate: func(w *world, r *dax.Request) (bool, error) {
			return r.Intent == dax.IntentWrite && r.Order > 0, syscall.ENXIO
		}},
	{name: "a device error behind the page", reason: 6, loads: true, stores: true, data: true, setup: func(w *world) {
		w.dev.Inject(psim.Fault{Op: psim.OpDirectAccess, Off: (3*w.run - pageSize), N: pageSize, Err: syscall.ENXIO})
	}, page: func(w *world) uint64 { return 2 * w.pages }},
	{name: "delayed allocation", reason: 10, loads: true, stores: true, populate: hugeOnly(block.Delalloc)},
	{name: "inline data", reason: 10, loads: true, stores: true, populate: hugeOnly(block.Inline)},
	{name: "never mappable", reason: 10, loads: true, stores: true, err: dax.ErrNotMappable,
		populate: func(w *world, r *dax.Request) (bool, error) { return true, dax.ErrNotMappable }},
	{name: "a hole for a store", reason: 10, stores: true, populate: hugeOnly(block.Hole)},
	{name: "a hole for a store to a huge zero page", reason: 10, stores: true, present: func(*world) {}, populate: hugeOnly(block.Hole)},
	{name: "no huge zero page", reason: 11, loads: true, config: dax.Config{NoHugeZero: true}},
	{name: "the place is taken", reason: 12, loads: true, setup: func(w *world) {
		taken := false
		w.wrap = func(v vm.View) vm.View {
			return &hooked{View: v.(*sim.View), before: func() {
				if taken {
					return
				}
				taken = true
				pfn := pmem.MakePFN(w.dev.ID(), 4*w.pages)
				if err := v.Install(vm.Translation{Page: 2 * w.pages, N: w.pages, Kind: vm.Frames, PFN: pfn}); err != nil {
					w.t.Error(err)
				}
			}}
		}
	}},
	{name: "a mapping without huge pages", reason: 13, loads: true, stores: true, config: dax.Config{NoHuge: true}},
	{name: "a view without huge pages", reason: 13, loads: true, stores: true,
		view: window(ignorePages(0), func(w *world) uint64 { return 8 * w.pages }, sharedRW|vm.NoHuge)},
	{name: "an order of its own", reason: 14, loads: true, stores: true, pud: true},
}

// poison makes a page of the file bad.
func (w *world) poison(page uint64) {
	w.t.Helper()
	d, ok := w.device(page)
	if !ok {
		w.t.Fatalf("page %d has no block", page)
	}
	if err := w.dev.Poison(d, 1); err != nil {
		w.t.Fatal(err)
	}
}

// fallbackCounts are the mapping's, by reason.
func fallbackCounts(m *dax.Mapping) (n [15]uint64) {
	for i := range n {
		n[i] = m.Stats().Fallbacks[i].Load()
	}
	return n
}

// TestSB8_EachReason: with one reason for a fallback and no other, it is counted once and
// no other is; the small fault serves the access or says exactly why not; and no huge
// translation is left at the address, where there was one before as well.
//
// Guards I18, I52, I53, T21, T56, T74.
func TestSB8_EachReason(t *testing.T) {
	for _, pmd := range smallOrders {
		for _, way := range ways {
			for _, tt := range fallbacks {
				tt.config.AlwaysAsk = way.ask
				for _, store := range []bool{false, true} {
					if store && !tt.stores || !store && !tt.loads {
						continue
					}
					t.Run(fmt.Sprintf("order %d/%s/F%d %s/store %t", pmd, way.name, tt.reason, tt.name, store), func(t *testing.T) {
						w := newWorld(t, pmd, 16, tt.config)
						w.iomap = way.iomap
						tt.run(w, store)
						w.end()
					})
				}
			}
		}
	}
}

func (tt *fallback) run(w *world, store bool) {
	t := w.t
	t.Helper()
	page := w.at()
	if tt.page != nil {
		page = tt.page(w)
	}
	w.sized(8 * w.run)
	want := make([]byte, w.run)
	if tt.data {
		w.lay(2*w.pages, w.pages, 2*w.pages)
		want = fill(len(want), 1)
		w.mustWrite(want, 2*w.run)
		w.sync()
		if err := w.m.Invalidate(0, dax.ToEnd); err != nil { // so that the answer is asked for anew
			t.Fatal(err)
		}
	}
	if tt.setup != nil {
		tt.setup(w)
	}
	if tt.populate != nil {
		w.populate = func(r *dax.Request) (bool, error) { return tt.populate(w, r) }
	}
	c := sim.Config{PMDOrder: w.pmd, TryAll: true}
	if tt.pud {
		c.PUDOrder = w.pmd + 1
	}
	s := sim.New(c)
	v := tt.mapView(w, s)
	off := int64(page) * pageSize
	if tt.present != nil {
		load(t, v, off, 1)
		if l := translation(t, v, page); l.Order != w.pmd {
			t.Fatalf("%+v before, want a huge one", l)
		}
		tt.present(w)
	}
	before := fallbackCounts(w.m)
	var err error
	if store {
		err = v.Store(ctx, []byte{0x77}, off+5)
	} else {
		err = v.Load(ctx, make([]byte, 1), off+5)
	}
	got := fallbackCounts(w.m)
	for i := range got {
		if n := got[i] - before[i]; i == tt.reason && n != 1 || i != tt.reason && n != 0 {
			t.Errorf("F%d is counted %d times", i, n)
		}
	}
	if tt.err != nil {
		isBus(t, "the small fault", err, tt.err)
		if l, ok := v.Lookup(page); ok {
			t.Errorf("mapped all the same: %+v", l)
		}
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	order := uint(0)
	if tt.pud {
		order = w.pmd
	}
	if l := translation(t, v, page); l.Order != order {
		t.Errorf("%+v at the address, want order %d", l, order)
	}
	if err := s.Check(); err != nil {
		t.Error(err)
	}
	tt.checkData(w, v, page, want, store)
}

func (tt *fallback) mapView(w *world, s *sim.Space) *sim.View {
	w.t.Helper()
	make := tt.view
	if make == nil {
		make = window(ignorePages(0), func(w *world) uint64 { return 8 * w.pages }, sharedRW)
	}
	v, err := make(w, s)
	if err == nil {
		err = w.m.Attach(ctx, v, w)
	}
	if err != nil {
		w.t.Fatal(err)
	}
	return v
}

// checkData verifies what is in the huge page after the access.
func (tt *fallback) checkData(w *world, v *sim.View, page uint64, want []byte, store bool) {
	w.t.Helper()
	want = bytes.Clone(want)
	seen := bytes.Clone(want)
	at := int64(page-2*w.pages)*pageSize + 5
	if store {
		seen[at] = 0x77
		if v.Flags()&vm.Shared != 0 {
			want[at] = 0x77
		}
	}
	equal(w.t, "the page through the view", load(w.t, v, 2*w.run+at-at%pageSize, pageSize), seen[at-at%pageSize:][:pageSize])
	b := make([]byte, w.run)
	n, err := w.read(b, 2*w.run)
	if n < int(min(w.run, w.m.Size()-2*w.run)) && !errors.Is(err, pmem.ErrPoisoned) && !errors.Is(err, syscall.ENXIO) {
		w.t.Fatalf("read: %d, %v", n, err)
	}
	equal(w.t, "read", b[:n], want[:n])
}
