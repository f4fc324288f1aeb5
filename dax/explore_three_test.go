package dax_test

import (
	"errors"
	"fmt"
	"testing"

	"godax/dax"
	"godax/internal/daxtest/sched"
)

// Explorations of three operations. There are too many schedules to try all of most: those of
// one preemption are, and of the others as many as the budget allows. A soak has a large one.

// exploreThree runs the scenario for small and huge pages.
func exploreThree(t *testing.T, fill func(s *sched.Scenario, w *tiny)) {
	seed := firstSeed(t)
	for _, huge := range []bool{false, true} {
		for _, c := range []sched.Config{
			{Strategy: sched.Bounded(1), Budget: 3000},
			{Strategy: sched.All(), Coarse: true, Budget: thin(soaked(1000))},
			{Strategy: sched.PCT(seed, 4), Budget: thin(soaked(100))},
		} {
			if testing.Short() {
				c.Budget = 60
			}
			t.Run(fmt.Sprintf("huge=%t/%v/coarse=%t", huge, c.Strategy, c.Coarse), func(t *testing.T) {
				t.Log(sched.Explore(t, c, func(s *sched.Scenario) { fill(s, newTiny(s, huge)) }))
			})
		}
	}
}

// durable writes the page back and checks that the medium has the byte at its beginning then.
func (w *tiny) durable(page uint64, want byte) error {
	if _, err := w.m.Writeback(ctx, int64(page)*pageSize, pageSize); err != nil {
		return err
	}
	d, ok := w.device(page)
	if got := w.dev.Durable()[d*pageSize]; ok && got != want || !ok && want != 0 {
		return fmt.Errorf("page %d: the medium has %d, want %d (a block: %t)", page, got, want, ok)
	}
	return nil
}

// firstByte is the byte at the beginning of the page as the view shows it, which the medium
// has after a writeback too.
func (w *tiny) firstByte(page uint64, want ...byte) error {
	b, err := w.load(int64(page) * pageSize)
	return errors.Join(err, w.same(int64(page)*pageSize, want...), w.durable(page, b))
}

func (w *tiny) writeback() error {
	_, err := w.m.Writeback(ctx, 0, tinyRun)
	return err
}

// A store, a writeback and a hole that is made of the page before, in all orders.
//
// Guards I16, I17, I30, I31, I33, T5, T14, T24.
func TestExploreStorePunchWriteback(t *testing.T) {
	exploreThree(t, func(s *sched.Scenario, w *tiny) {
		w.ones()
		s.Op("store", w.store(pageSize, 2))
		s.Op("punch", func() error { return w.punch(ctx, 0, pageSize) })
		s.Op("writeback", w.writeback)
		s.Final(func() error { return errors.Join(w.firstByte(0, 0), w.firstByte(1, 2)) })
	})
}

// A load, a write and a store at one hole: one block, and both bytes.
//
// Guards I14, I24, I25, I57, T1, T9, T19.
func TestExploreLoadWriteStore(t *testing.T) {
	exploreThree(t, func(s *sched.Scenario, w *tiny) {
		s.Op("load", func() error {
			b, err := w.load(pageSize)
			if b != 0 && b != 7 {
				err = errors.Join(err, fmt.Errorf("loaded %d", b))
			}
			return err
		})
		s.Op("write", func() error { _, err := w.write([]byte{7}, pageSize); return err })
		s.Op("store", w.store(pageSize+1, 8))
		s.Final(func() error { return errors.Join(w.firstByte(1, 7), w.same(pageSize+1, 8), w.same(0, 0)) })
	})
}

// Two stores to one huge page, through one view, and a writeback that one of them is followed
// by: what was stored before is durable after it.
//
// Guards I13, I25, I30, I31, I32, T24, T25.
func TestExploreTwoStoresWriteback(t *testing.T) {
	exploreThree(t, func(s *sched.Scenario, w *tiny) {
		w.ones()
		if err := w.writeback(); err != nil {
			s.Fatal(err)
		}
		s.Op("store", w.store(0, 2))
		s.Op("other store", w.store(pageSize, 3))
		s.Op("writeback", w.writeback)
		s.Final(func() error {
			for page := range uint64(2) {
				d, _ := w.device(page)
				_, _, dirty := dax.Dirty(w.m, page)
				if got := w.dev.Durable()[d*pageSize]; got != byte(2+page) && !dirty {
					return fmt.Errorf("page %d: the medium has %d, and the entry is clean", page, got)
				}
			}
			return errors.Join(w.firstByte(0, 2), w.firstByte(1, 3))
		})
	})
}

// Two writebacks and a store between: neither returns before what was stored when it began is
// durable.
//
// Guards I30, I31, I32, T23, T24.
func TestExploreStoreTwoWritebacks(t *testing.T) {
	exploreThree(t, func(s *sched.Scenario, w *tiny) {
		w.ones()
		durable := func() error {
			if err := w.writeback(); err != nil {
				return err
			}
			d, _ := w.device(0)
			if got := w.dev.Durable()[d*pageSize]; got == 0 {
				return errors.New("what was written before the writeback is not durable")
			}
			return nil
		}
		s.Op("writeback", durable)
		s.Op("other writeback", durable)
		s.Op("store", w.store(0, 2))
		s.Final(func() error { return w.firstByte(0, 2) })
	})
}

// A truncation of all, an extension, and a store that comes before, between or after.
//
// Guards I15, I16, I17, I22, T6, T77.
func TestExploreTruncateExtendStore(t *testing.T) {
	exploreThree(t, func(s *sched.Scenario, w *tiny) {
		w.mustWrite([]byte{1, 1}, pageSize)
		s.Op("truncate", func() error { return w.truncate(ctx, pageSize) })
		s.Op("extend", func() error { return w.truncate(ctx, 2*tinyRun) })
		s.Op("store", func() error {
			if err := w.store(pageSize, 5)(); err != nil && !errors.Is(err, dax.ErrBeyondEnd) {
				return err
			}
			return nil
		})
		s.Final(func() error {
			if w.m.Size() == pageSize {
				if _, err := w.load(pageSize); !errors.Is(err, dax.ErrBeyondEnd) {
					return fmt.Errorf("load past the end: %v", err)
				}
				return w.firstByte(0, 0)
			}
			// Cut away before the extension, or extended to what it had already.
			return w.firstByte(1, 0, 5)
		})
	})
}
