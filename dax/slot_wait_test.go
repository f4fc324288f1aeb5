package dax

import (
	"errors"
	"fmt"
	"runtime"
	"testing"

	"godax/internal/daxtest/sched"
	"godax/internal/hook"
	"godax/vm"
)

// Conflicts and sleepers of entry locks, at several PMD orders.

var slotOrders = []uint{1, 2, 3, 9}

func newSlotsOf(pmd uint) *Mapping { return NewMapping(Config{PMDOrder: pmd}) }

// frameOf is an entry's word with frames aligned to the order.
func frameOf(order uint) word { return word(1<<36|1<<order) | wMapped | wWrite }

// grabbing is an operation that locks the slot around a page, notes it, and unlocks.
func grabbing(m *Mapping, page uint64, order uint, note func(s slot)) func() error {
	return func() error {
		s, err := m.grab(nil, page, order)
		if err != nil {
			return err
		}
		note(s)
		m.ungrab(s)
		return nil
	}
}

// watched has the lock order recorded from the start; skipped where it cannot be.
func watched(t *testing.T) {
	t.Helper()
	sched.Enabled(t)
	sched.Record(t)
}

// TestSA4_HugeMeetsSmall: a claim of a huge run that has one small entry, at whichever place,
// locked or not, is a conflict: at once, and nothing changes.
//
// Guards I1, I7, T44, T50.
func TestSA4_HugeMeetsSmall(t *testing.T) {
	for _, pmd := range slotOrders {
		n := pages(pmd)
		for pos := range n {
			for _, locked := range []word{0, wLocked} {
				m := newSlotsOf(pmd)
				m.put(2*n+pos, 0, wZero|locked)
				for _, page := range []uint64{2 * n, 2*n + pos, 3*n - 1} {
					if _, err := m.grab(NoWait(nil), page, pmd); !errors.Is(err, vm.ErrFallback) {
						t.Errorf("order %d, small entry at %d, locked %t, page %d: %v, want a fallback at once", pmd, pos, locked != 0, page, err)
					}
				}
				if order, w, ok := m.has(2*n + pos); !ok || order != 0 || w != wZero|locked {
					t.Errorf("order %d, small entry at %d is order %d %#x now", pmd, pos, order, w)
				}
				if pages, entries := m.Pages(); pages != 1 || entries != 1 {
					t.Errorf("order %d: %d pages in %d entries", pmd, pages, entries)
				}
			}
		}
	}
}

// TestSA5_HugeMeetsNothing: a claim of a huge run without entries, its neighbours being
// there or not, is no conflict.
//
// Guards I52, T51.
func TestSA5_HugeMeetsNothing(t *testing.T) {
	for _, pmd := range slotOrders {
		n := pages(pmd)
		for neighbours := range 4 {
			m := newSlotsOf(pmd)
			if neighbours&1 != 0 {
				m.put(2*n-1, 0, wZero)
			}
			if neighbours&2 != 0 {
				m.put(3*n, 0, wZero)
			}
			for _, page := range []uint64{2 * n, 2*n + n/2, 3*n - 1} {
				s := mustGrab(t, m, page, pmd)
				if s.page != 2*n || s.order != pmd || s.word != wLocked {
					t.Errorf("order %d: got %+v, want a placeholder at %d", pmd, s, 2*n)
				}
				m.giveUp(s)
			}
			quiet(t, m)
		}
	}
}

// TestSA6_SmallInsideHuge: a small claim inside a huge placeholder or zero entry removes it
// and has a small placeholder; inside a huge mapped one it has that.
//
// Guards I1, I8, T29.
func TestSA6_SmallInsideHuge(t *testing.T) {
	for _, pmd := range slotOrders {
		for _, tt := range []struct {
			name  string
			w     word
			order uint
		}{{"placeholder", 0, 0}, {"zero", wZero, 0}, {"mapped", frameOf(pmd), pmd}} {
			for _, in := range []uint64{0, pages(pmd) / 2, pages(pmd) - 1} {
				m := newSlotsOf(pmd)
				page := 2*pages(pmd) + in
				m.put(2*pages(pmd), pmd, tt.w)
				s := mustGrab(t, m, page, 0)
				if s.order != tt.order || s.page != base(page, tt.order) || tt.order > 0 && s.word != tt.w|wLocked {
					t.Errorf("order %d, %s: got %+v, want order %d", pmd, tt.name, s, tt.order)
				}
				if n, _ := m.Pages(); n != pages(tt.order) {
					t.Errorf("order %d, %s: %d pages have entries", pmd, tt.name, n)
				}
				m.ungrab(s)
				quiet(t, m)
			}
		}
	}
}

// TestSA7_OneQueueForHuge: waiters for every page of a huge entry stand in one queue; an
// unlock wakes one, and all get it in turn.
//
// Guards I6, I7, T12.
func TestSA7_OneQueueForHuge(t *testing.T) {
	for _, pmd := range smallSlotOrders {
		t.Run(fmt.Sprint("order ", pmd), func(t *testing.T) {
			watched(t)
			m, n := newSlotsOf(pmd), pages(pmd)
			m.put(2*n, pmd, frameOf(pmd))
			s := mustGrab(t, m, 2*n, pmd)
			gates, ops := make([]*sched.Gate, n), make([]*sched.Op, n)
			for i := range n {
				name := fmt.Sprint("page ", i)
				gates[i] = sched.Hold(t, hook.DirtySet, sched.By(name))
				ops[i] = sched.Go(t, name, grabbing(m, 2*n+i, uint(i%2)*pmd, func(s slot) {
					hook.At(hook.DirtySet, m, s.page) // it has the entry here
				}))
				if !ops[i].Blocked() {
					t.Fatalf("page %d does not wait", i)
				}
			}
			m.ungrab(s)
			for i := range n { // in the order in which they came
				gates[i].Wait()
				for j := i + 1; j < n; j++ {
					if !ops[j].Blocked() {
						t.Errorf("page %d has the entry: page %d is %v", i, j, ops[j])
					}
				}
				gates[i].Open()
			}
			for _, op := range ops {
				if err := op.Err(); err != nil {
					t.Error(err)
				}
			}
			quiet(t, m)
		})
	}
}

var smallSlotOrders = []uint{1, 2, 3}

// TestSA8_SA9_WakeAll: waiters of a huge placeholder that is removed, or becomes small
// zero entries, all wake, look again, and get what is there then.
//
// Guards I7, I8, T29, T57.
func TestSA8_SA9_WakeAll(t *testing.T) {
	for _, pmd := range smallSlotOrders {
		for _, rekey := range []bool{false, true} {
			t.Run(fmt.Sprintf("order %d/rekey %t", pmd, rekey), func(t *testing.T) {
				watched(t)
				m, n := newSlotsOf(pmd), pages(pmd)
				s := mustGrab(t, m, 2*n, pmd)
				seen := make([]slot, 2*n)
				var ops []*sched.Op
				for i := range 2 * n {
					ops = append(ops, sched.Go(t, fmt.Sprint(i), grabbing(m, 2*n+i%n, 0, func(s slot) {
						seen[i] = s
						runtime.Gosched()
					})))
				}
				for _, op := range ops {
					if !op.Blocked() {
						t.Fatalf("%v does not wait", op)
					}
				}
				if rekey {
					r := &Request{Mapping: m, Page: 2*n + 1, N: n - 1, Order: pmd, answers: []answer{{page: 2*n + 1, n: 1, word: wZero}}}
					m.ungrab(m.apply(s, r))
				} else {
					m.giveUp(s)
				}
				for i, op := range ops {
					if err := op.Err(); err != nil {
						t.Error(err)
					}
					if got := seen[i]; got.page != 2*n+uint64(i)%n || got.order != 0 {
						t.Errorf("waiter %d locked %+v", i, got)
					}
				}
				quiet(t, m)
			})
		}
	}
}

// TestSA11_NonExclusiveWaiter: waiters that never lock do not keep the wake from those that
// mean to, before them and behind them in the queue.
//
// Guards I7, T48.
func TestSA11_NonExclusiveWaiter(t *testing.T) {
	watched(t)
	for looks := range 4 { // how many that only look, before the one that locks
		m := newSlots()
		s := mustGrab(t, m, 5, 0)
		look := func() error {
			m.mu.Lock()
			defer m.mu.Unlock() // and does not lock the entry
			return m.waitLocked(nil, 5, false)
		}
		var ops []*sched.Op
		start := func(f func() error) {
			op := sched.Go(t, fmt.Sprint(len(ops)), f)
			if !op.Blocked() {
				t.Fatalf("%v does not wait", op)
			}
			ops = append(ops, op)
		}
		for range looks {
			start(look)
		}
		got := false
		start(grabbing(m, 5, 0, func(slot) { got = true }))
		start(look)
		start(grabbing(m, 5, 0, func(slot) {}))
		m.ungrab(s)
		for _, op := range ops {
			if err := op.Err(); err != nil {
				t.Error(err)
			}
		}
		if !got {
			t.Error("the wake was lost to one that does not lock")
		}
		quiet(t, m)
	}
}

// A memory failure that waited for an entry, and then finds that its frame has moved, has
// not swallowed the wake.
//
// Guards I7, T48.
func TestSA11_PoisonDoesNotTakeTheWake(t *testing.T) {
	watched(t)
	m := newSlots()
	m.put(5, 0, frameOf(0))
	s := mustGrab(t, m, 5, 0)
	bad := sched.Go(t, "bad memory", func() error {
		m.MemoryFailure(frameOf(0).pfn(), 1)
		return nil
	})
	if !bad.Blocked() {
		t.Fatal("does not wait")
	}
	next := sched.Go(t, "next", grabbing(m, 5, 0, func(slot) {}))
	if !next.Blocked() {
		t.Fatal("does not wait")
	}
	m.mu.Lock()
	m.setLocked(&s, frameOf(0)+1)
	m.mu.Unlock()
	m.ungrab(s)
	if err := errors.Join(bad.Err(), next.Err()); err != nil {
		t.Error(err)
	}
	quiet(t, m)
}

// TestSA12_WaiterOfEvictedInode: a waiter that is queued and not yet asleep while the mapping
// is evicted finds that it is gone, and hands on what it was woken for.
//
// Guards I7, I9, T47.
func TestSA12_WaiterOfEvictedInode(t *testing.T) {
	for _, pmd := range smallSlotOrders {
		for _, order := range []uint{0, pmd} {
			for _, w := range []word{0, wZero, frameOf(pmd)} {
				t.Run(fmt.Sprintf("order %d of %d/%#x", order, pmd, uint64(w)), func(t *testing.T) {
					watched(t)
					m, n := newSlotsOf(pmd), pages(pmd)
					if w != 0 {
						m.put(2*n, pmd, w)
					}
					s := mustGrab(t, m, 2*n, pmd)
					g := sched.Hold(t, hook.WaiterQueued, sched.By("waiter"))
					waiter := sched.Go(t, "waiter", grabbing(m, 3*n-1, order, func(s slot) { t.Errorf("locked %+v", s) }))
					g.Wait()
					behind := sched.Go(t, "behind", grabbing(m, 2*n, order, func(s slot) { t.Errorf("locked %+v", s) }))
					if !behind.Blocked() {
						t.Fatal("does not wait")
					}
					evict := sched.Go(t, "evict", func() error { return m.Evict(nil, true) })
					if !evict.Blocked() {
						t.Fatal("the eviction does not wait for the entry")
					}
					if w == 0 { // the entry goes, so that the eviction ends before the waiter sleeps
						m.giveUp(s)
						if err := evict.Err(); err != nil {
							t.Fatal(err)
						}
					} else {
						m.ungrab(s)
					}
					g.Open()
					if err := evict.Err(); err != nil {
						t.Fatal(err)
					}
					if err := waiter.Err(); !errors.Is(err, ErrGone) {
						t.Errorf("waiter: %v, want %v", err, ErrGone)
					}
					if err := behind.Err(); !errors.Is(err, ErrGone) {
						t.Errorf("the one behind it: %v, want %v", err, ErrGone)
					}
					if n, _ := m.Pages(); n != 0 {
						t.Errorf("%d pages left", n)
					}
					quiet(t, m)
				})
			}
		}
	}
}

// TestSA13_WalkComesBack: a walk over a range that waits for a page acts on what is there
// when it wakes: the same entry, none, or a huge one, once.
//
// Guards I10, T64, T65.
func TestSA13_WalkComesBack(t *testing.T) {
	for name, change := range map[string]func(m *Mapping, s slot){
		"unlocked": func(m *Mapping, s slot) { m.ungrab(s) },
		"removed":  func(m *Mapping, s slot) { m.giveUp(slot{s.page, 0, wLocked}) },
		"replaced by huge": func(m *Mapping, s slot) {
			m.mu.Lock()
			defer m.mu.Unlock()
			if !m.claimToRemoveLocked(10, 0, frameOf(0)+10) {
				panic("page 10 is locked")
			}
			m.eraseLocked(10)
			m.eraseLocked(8)
			m.index.Store(8, smallPMD, uint64(frame4))
			m.index.SetMark(8, markDirty)
			m.index.SetMark(8, markToWrite)
		},
	} {
		t.Run(name, func(t *testing.T) {
			watched(t)
			want := map[string][]uint64{"unlocked": {8, 10}, "removed": {10}, "replaced by huge": {8}}[name]
			start := func() (*Mapping, slot) {
				m := newSlots()
				for _, page := range []uint64{8, 10} {
					m.put(page, 0, frameOf(0)+word(page))
					m.mu.Lock()
					m.index.SetMark(page, markDirty)
					m.index.SetMark(page, markToWrite)
					m.mu.Unlock()
				}
				return m, mustGrab(t, m, 8, 0)
			}
			walk := func(m *Mapping, s slot, f func() error) {
				t.Helper()
				op := sched.Go(t, "walk", f)
				if !op.Blocked() {
					t.Fatal("the walk does not wait")
				}
				change(m, s)
				if err := op.Err(); err != nil {
					t.Fatal(err)
				}
				quiet(t, m)
			}

			m, s := start()
			walk(m, s, func() error { m.remove(8, 4); return nil })
			if pages, _ := m.Pages(); pages != 0 {
				t.Errorf("removal: %d pages left", pages)
			}

			m, s = start()
			var tagged []uint64
			walk(m, s, func() error {
				for next := uint64(8); next < 12; {
					var b batch
					if err := m.takeTagged(nil, next, 11, &b); err != nil || b.n == 0 {
						return err
					}
					for _, e := range b.taken() {
						tagged = append(tagged, e.page)
						m.ungrab(e.slot)
					}
					next = b.end()
				}
				return nil
			})
			if fmt.Sprint(tagged) != fmt.Sprint(want) {
				t.Errorf("writeback: took %v, want %v", tagged, want)
			}

			// What was collected does not wait for who has locked the entry: that is noted.
			m, s = start()
			m.mu.Lock()
			m.index.ClearMark(8, markDirty)
			m.index.ClearMark(10, markDirty)
			m.mu.Unlock()
			m.markCollected([]run{{8, 4}})
			for _, page := range []uint64{8, 10} {
				m.mu.Lock()
				if !m.index.Marked(page, markDirty) {
					t.Errorf("collection: page %d is not dirty", page)
				}
				m.mu.Unlock()
			}
			m.ungrab(s)
			quiet(t, m)
		})
	}
}
