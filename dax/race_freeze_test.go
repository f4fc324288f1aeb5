package dax_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	"godax/internal/rwsem"
	"godax/pmem"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

// What is the file system's duty around DAX: the freeze gate, and the change of a file's
// mode. The file systems here do it as the semantics say.

// frozenStage is a stage whose file system can be frozen: faults that store to shared
// views take part, others do not.
type frozenStage struct {
	*stage
	faults rwsem.RW // held shared by such faults, exclusively while frozen
	frozen atomic.Bool
	thaw   chan struct{}
}

func newFrozenStage(s *stage) *frozenStage {
	f := &frozenStage{stage: s, thaw: make(chan struct{})}
	f.faults.SetRank(hook.FaultFreeze)
	return f
}

func (s *frozenStage) Fault(f *vm.Fault) error {
	if f.Access != vm.Load && f.View.Flags().SharedWrite() {
		if err := s.faults.RLock(f.Ctx); err != nil {
			return err
		}
		defer s.faults.RUnlock()
	}
	return s.m.Fault(f, s.file)
}

// freezes starts a freeze: it stops stores, makes what was stored durable, which takes the
// permission to store away, so that the next store meets the gate, and lasts until thaw is
// closed.
func (s *frozenStage) freezes() *sched.Op {
	s.t.Helper()
	return s.op("freeze", func() error {
		if err := s.faults.Lock(ctx); err != nil {
			return err
		}
		defer s.faults.Unlock()
		_, err := s.m.Writeback(ctx, 0, 1<<62)
		s.frozen.Store(err == nil)
		sched.Sleep(s.thaw)
		return err
	})
}

func (s *frozenStage) view(flags vm.Flags) *sim.View {
	s.t.Helper()
	if s.small {
		flags |= vm.NoHuge
	}
	space := sim.New(sim.Config{PMDOrder: s.order})
	v, err := space.Map(s, 0, 2*s.n, flags)
	if err != nil {
		s.t.Fatal(err)
	}
	if err := s.m.Attach(ctx, v, s.file); err != nil {
		s.t.Fatal(err)
	}
	s.views, s.space = append(s.views, v), append(s.space, space)
	return v
}

// still verifies that what is durable is all there is (I38).
func (s *frozenStage) still(what string) {
	s.t.Helper()
	medium := s.dev.Durable()
	for page := range 2 * s.n {
		if d, ok := s.device(page); ok {
			equal(s.t, fmt.Sprintf("%s: page %d", what, page), medium[d*pageSize:][:pageSize], s.mustRead(int64(page)*pageSize, pageSize))
		}
	}
}

// The file system is frozen, and a store comes to a page that was mapped for stores: it
// waits at the gate until the thaw. Loads, reads and private stores go on. An interrupted
// store has changed nothing.
//
// Guards I38, I51, T11, T31.
func TestSC32_FreezeThenStore(t *testing.T) {
	eachStage(t, func(st *stage) {
		s := newFrozenStage(st)
		data := s.written()
		v, w, private := s.view(sharedRW), s.view(sharedRW), s.view(private)
		store(s.t, v, []byte{1}, pageSize)
		load(s.t, w, pageSize, 1)
		freeze := s.freezes()
		if s.waits(freeze); !s.frozen.Load() {
			s.t.Fatal("not frozen")
		}
		s.still("frozen")
		short, cancel := context.WithCancel(ctx)
		mapped, unseen := s.stores("mapped", v, []byte{2}, pageSize+1), s.stores("read before", w, []byte{3}, pageSize+2)
		gone := s.op("interrupted", func() error { return w.Store(short, []byte{4}, pageSize+3) })
		s.waits(mapped, unseen, gone)
		got := make([]byte, 1)
		s.done(s.loads("load", v, got, pageSize), s.stores("private", private, []byte{9}, pageSize))
		equal(s.t, "the load", got, []byte{1})
		s.still("with stores at the gate")
		cancel()
		if err := gone.Err(); !errors.Is(err, context.Canceled) {
			s.t.Errorf("interrupted: %v", err)
		}
		close(s.thaw)
		s.done(freeze, mapped, unseen)
		equal(s.t, "after the thaw", s.mustRead(pageSize, 4), []byte{1, 2, 3, data[pageSize+3]})
		equal(s.t, "the copy", load(s.t, private, pageSize, 1), []byte{9})
	})
}

// A store's fault is under way when the file system is frozen: the freeze waits for it,
// and its store is durable, or waits at the gate.
//
// Guards I38, I51, I31.
func TestSC32_FreezeAgainstFault(t *testing.T) {
	eachPoint(t, append([]hook.Point{hook.FaultChecked}, duringFault...), func(st *stage, p hook.Point) {
		s := newFrozenStage(st)
		v := s.view(sharedRW)
		g := s.hold(p, "store")
		fault := s.stores("store", v, []byte{1}, pageSize)
		g.Wait()
		freeze := s.freezes()
		if s.waits(freeze); s.frozen.Load() {
			s.t.Error("frozen under a fault")
		}
		g.Open()
		if s.waits(freeze); !s.frozen.Load() {
			s.t.Fatal("not frozen")
		}
		if !fault.Done() {
			s.waits(fault)
		}
		s.still("frozen")
		s.check()
		close(s.thaw)
		s.done(freeze, fault)
		equal(s.t, "after the thaw", s.mustRead(pageSize, 2), []byte{1, 0})
	})
}

// modalFile is a file of whole blocks on a device that is served either from its own
// frames or from cached pages. The mode is that of the mapping: it changes only when the
// inode leaves memory.
type modalFile struct {
	dev    *psim.Device
	frames *dax.Frames

	mu     sync.Mutex
	m      *dax.Mapping
	cached bool
	wish   bool // what cached becomes
}

func (f *modalFile) PopulatePFNs(r *dax.Request) error {
	f.mu.Lock()
	cached := f.cached
	f.mu.Unlock()
	if !cached {
		return r.Insert(r.Page, pmem.MakePFN(f.dev.ID(), r.Page), 1, dax.Writable)
	}
	return r.InsertCached(r.Page, func(b []byte) error {
		block, err := f.dev.Bytes(int64(r.Page)*pageSize, pageSize)
		copy(b, block)
		return err
	})
}

// WriteCached implements [dax.Host].
func (f *modalFile) WriteCached(page uint64, b []byte) error {
	block, err := f.dev.Bytes(int64(page)*pageSize, pageSize)
	if err != nil {
		return err
	}
	copy(block, b)
	return f.dev.Flush(int64(page)*pageSize, int64(len(b)))
}

// open makes the mapping of an inode that is read in, in the mode that was wished for.
func (f *modalFile) open() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.cached = f.wish
	f.m = dax.NewMapping(dax.Config{PMDOrder: pmdOrder, Frames: f.frames, Host: f})
	f.m.SetSize(f.dev.Size())
}

// change asks for a mode, and carries it out if nobody uses the file.
func (f *modalFile) change(ctx context.Context, cached bool) error {
	f.mu.Lock()
	f.wish = cached
	f.mu.Unlock()
	if err := f.m.Evict(ctx, false); err != nil {
		return err
	}
	f.open()
	return nil
}

// modeIs fails the test unless all entries are of the file's mode.
func (f *modalFile) modeIs(t *testing.T, what string, cached bool) {
	t.Helper()
	want := dax.Direct
	if cached {
		want = dax.Cached
	}
	if f.cached != cached {
		t.Errorf("%s: cached %t", what, f.cached)
	}
	for e, err := range f.m.Entries(ctx, 0, dax.ToEnd, f) {
		if err != nil || e.Kind != want {
			t.Errorf("%s: pages %d+%d are %v, want %v; %v", what, e.Page, e.N, e.Kind, want, err)
		}
	}
}

// The mode of a file is to change, to and fro, while faults, reads and writes run: it
// stays until the last view and the last pin are gone, nothing is served in two modes at
// once, and nothing is lost.
//
// Guards I49, I33, T36, T37, T38, T39, T40.
func TestSC33_SI3_ModeChange(t *testing.T) {
	for _, p := range duringFault {
		for _, cached := range []bool{true, false} {
			t.Run(fmt.Sprintf("HP%d/from cached %t", p, cached), func(t *testing.T) { modeChange(t, p, cached) })
		}
	}
}

func modeChange(t *testing.T, p hook.Point, cached bool) {
	sched.Enabled(t)
	dev, err := psim.New(4 * pageSize)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	frames, err := dax.NewFrames(4*pageSize, 8*pageSize)
	if err != nil {
		t.Fatal(err)
	}
	f := &modalFile{dev: dev, frames: frames, wish: cached}
	f.open()
	want := pattern(4*pageSize, 1)
	if _, err := f.m.WriteAt(ctx, want[:pageSize], 0, f); err != nil {
		t.Fatal(err)
	}
	v, err := newSpace().Map(vm.HandlerFunc(func(ft *vm.Fault) error { return f.m.Fault(ft, f) }), 0, 4, sharedRW)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.m.Attach(ctx, v, f); err != nil {
		t.Fatal(err)
	}
	run := func(name string, op func() error) *sched.Op { return sched.Go(t, name, op) }
	ok := func(ops ...*sched.Op) {
		t.Helper()
		for _, o := range ops {
			if err := o.Err(); err != nil {
				t.Fatalf("%s: %v", o.Name(), err)
			}
		}
	}
	g := sched.Hold(t, p, sched.By("fault"))
	fault := run("fault", func() error { return v.Store(ctx, want[pageSize:2*pageSize], pageSize) })
	g.Wait()
	isErr(t, run("change", func() error { return f.change(ctx, !cached) }).Err(), dax.ErrBusy)
	ok(run("write", func() error { _, err := f.m.WriteAt(ctx, want[2*pageSize:3*pageSize], 2*pageSize, f); return err }),
		run("read", func() error { _, err := f.m.ReadAt(ctx, make([]byte, pageSize), 0, f); return err }))
	g.Open()
	ok(fault)
	f.modeIs(t, "after the wish", cached)
	pin, err := f.m.Pin(ctx, 3*pageSize, pageSize, dax.PinWrite, f)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.m.Detach(v); err != nil {
		t.Fatal(err)
	}
	v.Close()
	change := run("change at last", func() error { return f.change(ctx, !cached) })
	if !change.Blocked() {
		t.Fatalf("must wait for the pin: %v", change)
	}
	copy(pin.Slices()[0], want[3*pageSize:])
	pin.Release()
	ok(change)
	f.modeIs(t, "when nobody uses it any more", !cached)
	got := make([]byte, len(want))
	if _, err := f.m.ReadAt(ctx, got, 0, f); err != nil {
		t.Fatal(err)
	}
	equal(t, "the file", got, want)
	if err := errors.Join(f.m.CheckInvariants(true), f.m.Evict(ctx, false), frames.Close()); err != nil {
		t.Fatal(err)
	}
	if err := dev.Barrier(); err != nil {
		t.Fatal(err)
	}
	equal(t, "the medium", dev.Durable(), want)
}
