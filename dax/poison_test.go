package dax_test

import (
	"fmt"
	"testing"

	"godax/dax"
	"godax/pmem"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

// Memory that goes bad.

// TestSG7_PoisonWhileDirty: a bad page whose last bytes were never flushed makes every
// writeback fail until it is overwritten, or punched: what was stored there is lost. The other
// pages are flushed.
//
// Guards I30, I35, I43, I45, T41, T88.
func TestSG7_PoisonWhileDirty(t *testing.T) {
	for _, punch := range []bool{false, true} {
		for _, onePage := range []bool{false, true} {
			f, dev := newSimFile(t, 64, dax.Config{})
			f.onePage = onePage
			data := fill(2*run, 1)
			f.mustWrite(data, 0)
			at, _ := f.device(1)
			must(t, dev.Poison(at, 1))
			for range 2 {
				_, err := f.m.Writeback(ctx, 0, 2*run)
				isErr(t, err, pmem.ErrPoisoned)
				if _, _, dirty := dax.Dirty(f.m, 1); !dirty {
					t.Fatal("the page counts as clean")
				}
			}
			d, _ := f.device(3)
			equal(t, "a good page on the medium", dev.Durable()[d*pageSize:][:pageSize], data[3*pageSize:][:pageSize])
			isErr(t, f.m.Evict(ctx, false), pmem.ErrPoisoned)
			if punch {
				must(t, f.punch(ctx, pageSize, pageSize))
				equal(t, "hole", f.mustRead(pageSize, pageSize), make([]byte, pageSize))
				must(t, dev.ClearPoison(at, 1)) // it is somebody else's now
			}
			copy(data[pageSize:], fill(pageSize, 2))
			f.mustWrite(data[pageSize:2*pageSize], pageSize)
			f.sync()
			equal(t, "read", f.mustRead(0, 2*run), data)
			d, _ = f.device(1)
			equal(t, "medium", dev.Durable()[d*pageSize:][:pageSize], data[pageSize:2*pageSize])
			f.check()
		}
	}
}

// TestSG7_PoisonedSource: copy on write of a bad page, and a comparison with one, fail and
// leave nothing behind.
//
// Guards I43, I56, H2, T41.
func TestSG7_PoisonedSource(t *testing.T) {
	f, dev := newSimFile(t, 64, dax.Config{})
	must(t, dev.Poison(9, 1))
	good := func(page uint64) pmem.PFN { return pmem.MakePFN(dev.ID(), page) }
	p := dax.PopulateFunc(func(r *dax.Request) error {
		switch {
		case r.Intent == dax.IntentWrite || r.Intent == dax.IntentUnshare:
			return r.InsertCopy(r.Page, good(20+r.Page), 1, dax.Writable, dax.Source{PFN: good(8 + r.Page)})
		default:
			return r.Insert(r.Page, good(8+r.Page), 1, dax.SharedPFN)
		}
	})
	f.m.SetSize(4 * pageSize)
	v, err := newSpace().Map(vm.HandlerFunc(func(ft *vm.Fault) error { return f.m.Fault(ft, p) }), 0, 4, sharedRW)
	must(t, err)
	must(t, f.m.Attach(ctx, v, p))
	for range 2 {
		isBus(t, "store", v.Store(ctx, []byte{1}, pageSize), pmem.ErrPoisoned)
		_, err = f.m.WriteAt(ctx, []byte{1}, pageSize, p)
		isErr(t, err, pmem.ErrPoisoned)
		isErr(t, f.m.Unshare(ctx, pageSize, 1, p), pmem.ErrPoisoned)
		if l, ok := v.Lookup(1); ok {
			t.Errorf("mapped: %+v", l)
		}
	}
	if order, ok, dirty := dax.Dirty(f.m, 1); ok {
		t.Errorf("an entry of order %d, dirty %t", order, dirty)
	}
	other, _ := newSimFile(t, 16, dax.Config{})
	other.sized(4 * pageSize)
	_, err = dax.Dedupe(ctx, dax.Range{Mapping: f.m, Page: 1, N: 1}, dax.Range{Mapping: other.m, Page: 1, N: 1}, p, other,
		func() error { t.Error("changed"); return nil })
	isErr(t, err, pmem.ErrPoisoned)
	store(t, v, []byte{1}, 2*pageSize)
	f.check()
}

// holderOf passes what happens to the device on to the files.
type holderOf []*file

func (h holderOf) NotifyFailure(pfn pmem.PFN, n uint64) {
	for _, f := range h {
		f.m.MemoryFailure(pfn, n)
	}
}

func (h holderOf) NotifyRemoval(dev pmem.Device) {
	for _, f := range h {
		f.m.Revoke(dev)
	}
}

// hold makes the files hold their device.
func hold(t *testing.T, dev *psim.Device, files ...*file) {
	h := holderOf(files)
	t.Cleanup(pmem.Hold(dev, &h))
}

// TestSG8_PoisonInAHugeEntry: every view that maps one of the bad pages is told once of each
// translation that it had, with the bad pages in it and its size; the others keep theirs.
//
// Guards I3, I43, I44, T42, T43.
func TestSG8_PoisonInAHugeEntry(t *testing.T) {
	for _, order := range []uint{1, 2, 3} {
		f, dev := newSimFile(t, 64, dax.Config{PMDOrder: order})
		hold(t, dev, f)
		n := uint64(1) << order
		data := fill(int(2*n*pageSize), 1)
		f.mustWrite(data, 0)
		f.sync()
		space := func() *sim.Space { return sim.New(sim.Config{PMDOrder: order}) }
		wide, ro := f.mapView(space(), 0, 2*n, sharedRW), f.mapView(space(), 0, 2*n, sharedRO)
		small, apart := f.mapView(space(), n-1, 1, private), f.mapView(space(), n, n, sharedRO)
		load(t, wide, 0, len(data))
		load(t, ro, 0, pageSize)
		load(t, small, int64(n-1)*pageSize, 1)
		load(t, apart, int64(2*n-1)*pageSize, 1)
		at, _ := f.device(n - 2)
		must(t, dev.Poison(at, 2)) // the last two pages of the first run
		for i, v := range []*sim.View{wide, ro, small} {
			want := []vm.Failure{{Page: n - 2, N: 2, Order: order}}
			if v == small {
				want = []vm.Failure{{Page: n - 1, N: 1}}
			}
			first, _ := v.Bounds()
			want[0].Addr = (v.Addr() + want[0].Page - first) * pageSize
			if got := v.Failures(); len(got) != 1 || got[0] != want[0] {
				t.Errorf("order %d, view %d: told %+v, want %+v", order, i, got, want)
			}
			isBus(t, "load", v.Load(ctx, make([]byte, 1), int64(n-1)*pageSize), pmem.ErrPoisoned)
		}
		if got := apart.Failures(); len(got) != 0 {
			t.Errorf("a view of other pages was told %+v", got)
		}
		if l, ok := apart.Lookup(n); !ok || l.Order != order {
			t.Errorf("a view of other pages lost its translation")
		}
		equal(t, "the other run", load(t, wide, int64(n)*pageSize, int(n)*pageSize), data[n*pageSize:])
		if n > 2 {
			equal(t, "good pages of the run", load(t, wide, 0, int(n-2)*pageSize), data[:(n-2)*pageSize])
		}
		f.mustWrite(data[(n-2)*pageSize:n*pageSize], int64(n-2)*pageSize)
		equal(t, "after an overwrite", load(t, wide, 0, len(data)), data)
		f.check()
	}
}

// TestSG9_PoisonInSharedFrames: the users of every file, and every page, that has the frame
// are told, also where a file shares only a part.
//
// Guards I44, T80.
func TestSG9_PoisonInSharedFrames(t *testing.T) {
	a, dev := newSimFile(t, 64, dax.Config{})
	b, c := newFileOn(t, dev, dax.Config{}), newFileOn(t, dev, dax.Config{})
	hold(t, dev, a, b, c)
	a.iomap, b.iomap, c.iomap = true, true, true // buffer heads cannot say "shared"
	a.mustWrite(fill(2*run, 1), 0)
	a.sync()
	// b has the second page of a twice, c shares only pages that stay good.
	shares := func(f *file, from map[uint64]uint64) *sim.View {
		f.sized(2 * run)
		for p, q := range from {
			f.blocks[p] = q
			f.shared[q] = true
			delete(f.free, q)
		}
		f.onePage = true
		v := f.mapView(newSpace(), 0, 8, sharedRO)
		load(t, v, 0, 2*run)
		return v
	}
	must(t, a.m.Invalidate(0, dax.ToEnd))
	at := func(p uint64) uint64 { d, _ := a.device(p); return d }
	a.share(0, 8)
	va := a.mapView(newSpace(), 0, 8, sharedRO)
	load(t, va, 0, 2*run)
	vb := shares(b, map[uint64]uint64{3: at(1), 6: at(1), 0: at(0)})
	vc := shares(c, map[uint64]uint64{1: at(2)})
	must(t, dev.Poison(at(1), 1))
	for name, x := range map[string]struct {
		v     *sim.View
		pages []uint64
	}{"a": {va, []uint64{1}}, "b": {vb, []uint64{3, 6}}, "c": {vc, nil}} {
		var got []uint64
		for _, f := range x.v.Failures() {
			got = append(got, f.Page)
		}
		if fmt.Sprint(got) != fmt.Sprint(x.pages) {
			t.Errorf("file %s: told of pages %v, want %v", name, got, x.pages)
		}
	}
	for _, f := range []*file{a, b, c} {
		f.check()
	}
}
