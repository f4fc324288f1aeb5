package dax_test

import (
	"errors"
	"slices"
	"syscall"
	"testing"

	"godax/dax"
	"godax/vm"
	"godax/vm/sim"
)

// duties is a file with what a file system has to do around a call of DAX (4.6): freeze
// protection, times, transactions, and commits of metadata for sync views.
type duties struct {
	*world
	readOnly  bool
	freezes   int // freeze protection taken
	times     int // updates of times
	commits   int
	commitErr error
	onCommit  func()
	pending   map[uint64]bool // file pages whose storage is not durable yet
	asked     []dax.Intent
}

func newDuties(w *world) *duties {
	return &duties{world: w, pending: map[uint64]bool{}}
}

// Fault does the file system's duties for a store to a shared view, and none for others.
func (d *duties) Fault(ft *vm.Fault) error {
	if ft.Access != vm.Load && ft.View.Flags().SharedWrite() {
		if d.readOnly {
			return syscall.EROFS
		}
		d.freezes++
		d.times++
	}
	err := d.m.Fault(ft, d)
	if errors.Is(err, dax.ErrMetadataPending) {
		if err := d.commit(); err != nil {
			return err
		}
		return d.m.FinishSync(ft)
	}
	return err
}

// commit makes metadata durable.
func (d *duties) commit() error {
	d.commits++
	if d.onCommit != nil {
		d.onCommit()
	}
	if d.commitErr != nil {
		return d.commitErr
	}
	clear(d.pending)
	return nil
}

// PopulatePFNs notes which pages get storage, and says so if asked.
func (d *duties) PopulatePFNs(r *dax.Request) error {
	d.asked = append(d.asked, r.Intent)
	var fresh []uint64
	for p := r.First(); p < r.End(); p++ {
		if _, ok := d.device(p); !ok || d.is(d.raw, p) {
			fresh = append(fresh, p)
		}
	}
	err := d.file.PopulatePFNs(r)
	for _, p := range fresh {
		if _, ok := d.device(p); ok && !d.is(d.raw, p) {
			d.pending[p] = true
		}
	}
	for p := r.First(); r.Sync && p < r.End(); p++ {
		if d.pending[p] {
			r.MetadataPending()
		}
	}
	return err
}

// open attaches a view of the whole file, of 4 huge pages.
func (d *duties) open(flags vm.Flags) *sim.View {
	d.t.Helper()
	s := d.space()
	v, err := s.Map(d, 0, 4*d.pages, flags)
	if err == nil {
		err = d.m.Attach(ctx, v, d)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return v
}

// TestSB13_ReadOnlyMount: on a read-only mount loads and private stores work, as running a
// program takes, with no duty done and nothing asked for but reading; shared stores do not.
//
// Guards I3, I51, T31.
func TestSB13_ReadOnlyMount(t *testing.T) {
	eachWorld(t, smallOrders, dax.Config{ReadOnly: true}, func(t *testing.T, w *world) {
		d := newDuties(w)
		d.readOnly = true
		w.m.SetSize(4 * w.run)
		w.lay(0, w.pages, 0)
		text := fill(int(w.run), 3)
		b, err := w.dev.Bytes(0, w.run)
		if err != nil {
			t.Fatal(err)
		}
		copy(b, text)
		v := d.open(private)
		equal(t, "text", load(t, v, 0, int(w.run)), text)
		store(t, v, []byte{1, 2}, pageSize-1) // relocations
		store(t, v, []byte{3}, w.run+5)       // in a hole
		text[pageSize-1], text[pageSize] = 1, 2
		equal(t, "text with private stores", load(t, v, 0, int(w.run)), text)
		equal(t, "hole with a private store", load(t, v, w.run+4, 3), []byte{0, 3, 0})
		ro := d.open(sharedRO)
		load(t, ro, 0, int(2*w.run))
		if d.freezes+d.times+d.commits > 0 {
			t.Errorf("%d freezes, %d times, %d commits", d.freezes, d.times, d.commits)
		}
		for _, i := range d.asked {
			if i != dax.IntentRead && i != dax.IntentSource {
				t.Errorf("asked to %v", i)
			}
		}
		_, err = sim.New(sim.Config{}).Map(d, 0, 4, sharedRW)
		if err != nil {
			t.Fatal(err)
		}
		if st := w.sync(); st.Entries > 0 {
			t.Errorf("something is dirty: %+v", st)
		}
	})
}

// TestSB14_Times: a store to a shared view updates times, once for each fault; loads,
// private stores and faults that find the page mapped do not.
//
// Guards I51.
func TestSB14_Times(t *testing.T) {
	eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
		d := newDuties(w)
		w.sized(4 * w.run)
		v, p := d.open(sharedRW), d.open(private)
		for _, step := range []struct {
			name  string
			do    func()
			times int
		}{
			{"load of a hole", func() { load(t, v, 0, 1) }, 0},
			{"private load", func() { load(t, p, 0, 1) }, 0},
			{"private store", func() { storeByte(t, p, 1, 0) }, 0},
			{"private store, data", func() { w.mustWrite([]byte{9}, 3*w.run); storeByte(t, p, 1, 3*w.run) }, 0},
			{"store", func() { storeByte(t, v, 1, 0) }, 1},
			{"store to the same page", func() { storeByte(t, v, 2, 1) }, 0},
			{"load after it", func() { load(t, v, 0, 1) }, 0},
			{"store after a flush", func() { w.sync(); storeByte(t, v, 3, 0) }, 1},
			{"load elsewhere", func() { load(t, v, 2*w.run, 1) }, 0},
			{"store elsewhere", func() { storeByte(t, v, 1, 2*w.run) }, 1},
		} {
			before := d.times
			step.do()
			if got := d.times - before; got < step.times || got > 2*step.times { // a fallback faults again
				t.Errorf("%s: times updated %d times, want %d", step.name, got, step.times)
			}
		}
		if d.commits > 0 {
			t.Errorf("%d commits without a sync view", d.commits)
		}
	})
}

// TestSB23_SyncView: loads through a sync view never commit; stores do exactly when metadata
// is pending, and can be made only when the commit is over: before it there is no
// permission, and no DIRTY.
//
// Guards I36, T85.
func TestSB23_SyncView(t *testing.T) {
	eachWorld(t, realOrders, dax.Config{}, func(t *testing.T, w *world) {
		d := newDuties(w)
		w.sized(4 * w.run)
		w.prealloc(w.pages, w.pages)
		v := d.open(sharedRW | vm.Sync)
		other, p := d.open(sharedRW), d.open(private|vm.Sync)
		d.onCommit = func() {
			for _, l := range v.Translations() {
				if l.Write && d.pending[l.Page] {
					t.Errorf("during the commit: %+v", l)
				}
			}
			for page := range d.pending {
				if _, ok, dirty := dax.Dirty(w.m, page); ok && dirty && d.commits != 6 {
					t.Errorf("during the commit: page %d is dirty", page)
				}
			}
		}
		at := 2*w.run + pageSize
		for _, step := range []struct {
			name    string
			do      func()
			commits int
		}{
			{"load of a hole", func() { load(t, v, 0, 1) }, 0},
			{"load of unwritten", func() { load(t, v, w.run, 1) }, 0},
			{"store to a hole", func() { storeByte(t, v, 1, 5) }, 1},
			{"again", func() { storeByte(t, v, 2, 6) }, 0},
			{"store to unwritten", func() { storeByte(t, v, 1, w.run+5) }, 1},
			{"store after a flush", func() { w.sync(); storeByte(t, v, 3, 5) }, 0},
			{"a store through another view", func() { storeByte(t, other, 4, at) }, 0},
			{"load of it", func() { load(t, v, at, 1) }, 0},
			{"private store", func() { storeByte(t, p, 1, at); storeByte(t, p, 1, 3*w.run) }, 0},
			{"load of a private copy", func() { load(t, p, 3*w.run, 1) }, 0},
		} {
			before := d.commits
			step.do()
			if got := d.commits - before; got != step.commits {
				t.Errorf("%s: %d commits, want %d", step.name, got, step.commits)
			}
			w.check()
		}
		if !d.pending[2*w.pages+1] {
			t.Fatal("the ordinary store's metadata is not pending")
		}
		before := d.commits
		d.onCommit = nil
		storeByte(t, v, 5, at)
		storeByte(t, v, 6, at)
		if got := d.commits - before; got != 1 || len(d.pending) > 0 {
			t.Errorf("store to pending metadata of another view: %d commits, %d pages pending", got, len(d.pending))
		}
		equal(t, "data", w.mustRead(at, 1), []byte{6})
		if loads := slices.Contains(d.asked, dax.IntentSource); !loads {
			t.Error("private stores did not ask")
		}
	})
}

// A commit that fails is a SIGBUS; no translation is left, and the next store commits.
//
// Guards I36.
func TestSB23_CommitFails(t *testing.T) {
	eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
		d := newDuties(w)
		w.sized(4 * w.run)
		v := d.open(sharedRW | vm.Sync)
		d.commitErr = syscall.EIO
		isBus(t, "store", v.Store(ctx, []byte{1}, 5), syscall.EIO)
		if l, ok := v.Lookup(0); ok && l.Write {
			t.Errorf("%+v", l)
		}
		if _, _, dirty := dax.Dirty(w.m, 0); dirty {
			t.Error("dirty")
		}
		d.commitErr = nil
		before := d.commits
		storeByte(t, v, 1, 5)
		if d.commits != before+1 {
			t.Errorf("%d commits", d.commits-before)
		}
	})
}

// TestSB24_SyncViewRefused: a file whose bytes a user cannot flush to the medium himself
// refuses a sync view when it is made.
//
// Guards I36, I50.
func TestSB24_SyncViewRefused(t *testing.T) {
	frames, err := dax.NewFrames(1<<20, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	defer frames.Close()
	m := dax.NewMapping(dax.Config{PMDOrder: 1, Frames: frames})
	m.SetSize(4 * pageSize)
	p := dax.PopulateFunc(func(r *dax.Request) error {
		return r.InsertCached(r.Page, func(b []byte) error { return nil })
	})
	h := vm.HandlerFunc(func(ft *vm.Fault) error { return m.Fault(ft, p) })
	for _, flags := range []vm.Flags{sharedRW, sharedRW | vm.Sync, private, sharedRO | vm.Sync} {
		v, err := sim.New(sim.Config{PMDOrder: 1}).Map(h, 0, 4, flags)
		if err != nil {
			t.Fatal(err)
		}
		err = m.Attach(ctx, v, p)
		if sync := flags&vm.Sync != 0; sync != errors.Is(err, syscall.EOPNOTSUPP) || !sync && err != nil {
			t.Errorf("flags %b: %v", flags, err)
		}
		if err == nil {
			load(t, v, 0, 1)
			m.Detach(v)
		}
		if views, _ := m.Busy(); views != 0 {
			t.Errorf("flags %b: %d views", flags, views)
		}
		v.Close()
	}
	if err := m.Evict(ctx, false); err != nil {
		t.Fatal(err)
	}
}

// TestSI9_LongTermPin: a pin that may be held for ever is refused, for loads and stores; a
// short one is granted.
//
// Guards I42, T75.
func TestSI9_LongTermPin(t *testing.T) {
	eachWorld(t, smallOrders, dax.Config{}, func(t *testing.T, w *world) {
		w.mustWrite(fill(int(w.run), 1), 0)
		calls := w.populates()
		for _, flags := range []dax.PinFlags{dax.PinLongTerm, dax.PinLongTerm | dax.PinWrite} {
			pin, err := w.m.Pin(ctx, 0, 5, flags, w)
			isErr(t, err, syscall.EOPNOTSUPP)
			if _, pins := w.m.Busy(); pin != nil || pins != 0 {
				t.Errorf("flags %b: %d pins", flags, pins)
			}
		}
		if w.populates() != calls {
			t.Error("the file system was asked")
		}
		pin, err := w.m.Pin(ctx, pageSize-5, 10, dax.PinWrite, w)
		if err != nil {
			t.Fatal(err)
		}
		isErr(t, w.m.BreakLayout(dax.NoWait(ctx), 0, 1, nil), dax.ErrWouldBlock)
		pin.Release()
		if _, err := w.m.Writeback(ctx, 0, w.m.Size()); err != nil {
			t.Fatal(err)
		}
		if err := w.m.BreakLayout(dax.NoWait(ctx), 0, 1, func() error { return nil }); err != nil {
			t.Error(err)
		}
	})
}

// TestSI7_Alignment: where the file system gives the file storage of the same colour as the
// file, faults are huge; where it begins one page later, none is (generic/223).
//
// Guards I18.
func TestSI7_Alignment(t *testing.T) {
	for _, pmd := range realOrders {
		for _, by := range []uint64{0, 1, 1 << (pmd - 1), 1 << pmd} {
			w := newWorld(t, pmd, 8, dax.Config{})
			w.iomap = true
			w.lay(0, 4*w.pages, 2*w.pages+by)
			w.sized(4 * w.run)
			v := w.view(0, 4*w.pages, sharedRO)
			load(t, v, 0, int(4*w.run))
			huge := w.m.Stats().Faults[pmd].Load()
			if want := map[bool]uint64{false: 0, true: 4}[by%w.pages == 0]; huge != want {
				t.Errorf("order %d, storage %d pages off: %d huge faults, want %d", pmd, by, huge, want)
			}
			for e := range w.m.Entries(ctx, 0, dax.ToEnd, w) {
				if got := e.HugePages(pmd); got != huge*w.pages {
					t.Errorf("order %d, storage %d pages off: %d pages can be huge", pmd, by, got)
				}
			}
			w.end()
		}
	}
}
