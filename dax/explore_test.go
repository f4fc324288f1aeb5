package dax_test

import (
	"bytes"
	"errors"
	"fmt"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	psim "godax/pmem/sim"
	"godax/vm/sim"
)

// Explorations: all schedules of two operations on a file of two huge pages, where a
// huge page is two small ones.

const (
	tinyOrder = 1
	tinyRun   = pageSize << tinyOrder
)

// tiny is the world of one schedule.
type tiny struct {
	*file
	dev  *psim.Device
	view *sim.View
}

// newTiny makes a file of two huge pages, all hole, and a view of it. huge is false for a
// file system that answers one page at a time.
func newTiny(s *sched.Scenario, huge bool) *tiny {
	f, dev := newSimFile(s, 8, dax.Config{PMDOrder: tinyOrder})
	f.onePage = !huge
	f.sized(2 * tinyRun)
	w := &tiny{f, dev, f.mapView(sim.New(sim.Config{PMDOrder: tinyOrder, MaxRetries: 100}), 0, 4, sharedRW)}
	s.State(w.fingerprint)
	s.Check(func() error { return w.m.CheckInvariants(false) })
	s.Final(func() error { return errors.Join(w.m.CheckInvariants(true), w.view.Check()) })
	return w
}

// fingerprint is of what operations see of each other. Of each page the first bytes
// stand for the rest.
func (w *tiny) fingerprint() uint64 {
	var h sched.Hash
	dax.Fingerprint(w.m, h.Add)
	for p := range uint64(4) {
		d, ok := w.device(p)
		h.Add(d)
		h.AddBool(ok)
	}
	medium := w.dev.Durable()
	for off := int64(0); off < w.dev.Size(); off += pageSize {
		b, err := w.dev.Bytes(off, 2)
		if err != nil {
			panic(err)
		}
		h.AddBytes(b)
		h.AddBytes(medium[off : off+2])
	}
	return uint64(h)
}

// ones writes the first huge page: one entry, unless the file system answers in small ones.
func (w *tiny) ones() { w.mustWrite(bytes.Repeat([]byte{1}, tinyRun), 0) }

func (w *tiny) store(off int64, b byte) func() error {
	return func() error { return w.view.Store(ctx, []byte{b}, off) }
}

func (w *tiny) load(off int64) (byte, error) {
	b := make([]byte, 1)
	err := w.view.Load(ctx, b, off)
	return b[0], err
}

// same checks that the byte at off is one of want, through the view and through the file.
func (w *tiny) same(off int64, want ...byte) error {
	b, err := w.load(off)
	if got := w.mustRead(off, 1)[0]; err == nil && got != b {
		return fmt.Errorf("byte %d: %d through the view, %d through the file", off, b, got)
	}
	for _, x := range want {
		if b == x {
			return err
		}
	}
	return errors.Join(err, fmt.Errorf("byte %d is %d, want one of %d", off, b, want))
}

// exploreTiny runs the scenario for small and huge pages.
func exploreTiny(t *testing.T, fill func(s *sched.Scenario, w *tiny)) {
	for _, huge := range []bool{false, true} {
		for _, c := range []sched.Config{
			{Strategy: sched.Bounded(2), Budget: 5000},
			{Strategy: sched.All(), Coarse: true, Budget: 5000},
			{Strategy: sched.PCT(1, 3), Budget: 200},
		} {
			if testing.Short() {
				c.Budget = 100
			}
			t.Run(fmt.Sprintf("huge=%t/%v/coarse=%t", huge, c.Strategy, c.Coarse), func(t *testing.T) {
				t.Log(sched.Explore(t, c, func(s *sched.Scenario) { fill(s, newTiny(s, huge)) }))
			})
		}
	}
}

func TestExploreStoreAndPunch(t *testing.T) {
	exploreTiny(t, func(s *sched.Scenario, w *tiny) {
		w.ones()
		s.Op("store", w.store(pageSize, 2))
		s.Op("punch", func() error { return w.punch(ctx, 0, tinyRun) })
		s.Final(func() error { return errors.Join(w.same(0, 0), w.same(pageSize, 0, 2)) })
	})
}

func TestExploreStoreAndWriteback(t *testing.T) {
	exploreTiny(t, func(s *sched.Scenario, w *tiny) {
		w.ones()
		if err := w.store(0, 2)(); err != nil {
			s.Fatal(err)
		}
		s.Op("store", w.store(0, 3))
		s.Op("writeback", func() error { _, err := w.m.Writeback(ctx, 0, tinyRun); return err })
		s.Final(func() error {
			d, _ := w.file.device(0)
			_, _, dirty := dax.Dirty(w.m, 0)
			if got := w.dev.Durable()[d*pageSize]; got != 3 && !dirty {
				return fmt.Errorf("the medium has %d, and the entry is clean", got)
			}
			if _, err := w.m.Writeback(ctx, 0, tinyRun); err != nil {
				return err
			}
			if got := w.dev.Durable()[d*pageSize]; got != 3 {
				return fmt.Errorf("the medium has %d after another writeback", got)
			}
			return w.same(0, 3)
		})
	})
}

// I30, I13: a store that a writeback follows is on the medium then, whatever another
// fault of the same page does meanwhile, which makes the translation for both.
func TestExploreStoreAndDurableStore(t *testing.T) {
	exploreTiny(t, func(s *sched.Scenario, w *tiny) {
		w.ones()
		w.sync()
		s.Op("store", w.store(1, 2))
		s.Op("store and writeback", func() error {
			if err := w.store(0, 3)(); err != nil {
				return err
			}
			if _, err := w.m.Writeback(ctx, 0, tinyRun); err != nil {
				return err
			}
			d, _ := w.file.device(0)
			if got := w.dev.Durable()[d*pageSize]; got != 3 {
				return fmt.Errorf("the medium has %d", got)
			}
			return nil
		})
		s.Final(func() error { return errors.Join(w.same(0, 3), w.same(1, 2)) })
	})
}

func TestExploreLoadAndWrite(t *testing.T) {
	exploreTiny(t, func(s *sched.Scenario, w *tiny) {
		s.Op("load", func() error {
			b, err := w.load(pageSize)
			if b != 0 && b != 7 {
				err = errors.Join(err, fmt.Errorf("loaded %d", b))
			}
			return err
		})
		s.Op("write", func() error { _, err := w.write([]byte{7}, pageSize); return err })
		s.Final(func() error { return errors.Join(w.same(pageSize, 7), w.same(0, 0)) })
	})
}

// T5, S-H18: a file system that takes the entries back and then frees the blocks, with
// nothing to keep faults out. One after the other both are right, in either order; the
// checks must find the schedule in which the store comes between.
func TestExploreFindsLateFree(t *testing.T) {
	fill := func(s *sched.Scenario) {
		w := newTiny(s, true)
		w.mustWrite([]byte{1}, 0)
		w.sync()
		s.Op("store", w.store(0, 2))
		s.Op("free", func() error {
			if err := w.m.Invalidate(0, 1); err != nil {
				if errors.Is(err, dax.ErrBusy) {
					return nil // it was stored to
				}
				return err
			}
			hook.At(hook.LayoutRemoved, w.m, 0)
			w.mu.Lock()
			defer w.mu.Unlock()
			w.dropLocked(0, 1)
			return nil
		})
		s.Final(func() error {
			_, entry, _ := dax.Dirty(w.m, 0)
			if _, block := w.device(0); entry && !block {
				return errors.New("an entry for a page that has no block")
			}
			return nil
		})
	}
	if rep := sched.Explore(t, sched.Config{Strategy: sched.Bounded(0)}, fill); !rep.Exhausted {
		t.Error(rep)
	}
	rep, err := sched.Find(t, sched.Config{Strategy: sched.Bounded(1)}, fill)
	t.Log(rep, err)
	sched.Find(t, sched.Config{Strategy: sched.Replay(rep.Script)}, fill)
}
