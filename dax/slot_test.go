package dax

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"godax/vm"
)

// Entries and their locks by themselves. The PMD order is 2.

const smallPMD = 2

func newSlots() *Mapping { return NewMapping(Config{PMDOrder: smallPMD}) }

// put stores an unlocked entry.
func (m *Mapping) put(page uint64, order uint, w word) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index.Store(page, order, uint64(w))
}

func (m *Mapping) has(page uint64) (order uint, w word, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	val, order, ok := m.index.Load(page)
	return order, word(val), ok
}

func (m *Mapping) asleep(t *testing.T, n int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); Sleepers(m) != n; runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("%d asleep, want %d", Sleepers(m), n)
		}
	}
}

func mustGrab(t *testing.T, m *Mapping, page uint64, order uint) slot {
	t.Helper()
	s, err := m.grab(NoWait(nil), page, order)
	if err != nil {
		t.Fatalf("grab %d order %d: %v", page, order, err)
	}
	return s
}

func quiet(t *testing.T, m *Mapping) {
	t.Helper()
	if err := m.CheckInvariants(true); err != nil {
		t.Fatal(err)
	}
}

const frame4 = word(1<<36|4) | wMapped | wWrite // a frame aligned to order 2

func TestSA4_HugeMeetsSmall(t *testing.T) {
	for pos := range uint64(4) {
		for _, locked := range []word{0, wLocked} {
			m := newSlots()
			m.put(8+pos, 0, wZero|locked)
			if _, err := m.grab(nil, 10, smallPMD); !errors.Is(err, vm.ErrFallback) {
				t.Errorf("small entry at %d, locked %t: %v, want a fallback at once", pos, locked != 0, err)
			}
			if order, w, ok := m.has(8 + pos); !ok || order != 0 || w != wZero|locked {
				t.Errorf("small entry at %d is order %d %#x now", pos, order, w)
			}
		}
	}
}

func TestSA5_HugeMeetsNothing(t *testing.T) {
	m := newSlots()
	m.put(7, 0, wZero)
	m.put(12, 0, wZero)
	if s := mustGrab(t, m, 11, smallPMD); s.page != 8 || s.order != smallPMD {
		t.Errorf("got %+v, want a placeholder of order 2 at 8", s)
	}
}

func TestSA6_SmallInsideHuge(t *testing.T) {
	for _, tt := range []struct {
		name  string
		w     word
		order uint
	}{{"placeholder", 0, 0}, {"zero", wZero, 0}, {"mapped", frame4, smallPMD}} {
		m := newSlots()
		m.put(8, smallPMD, tt.w)
		s := mustGrab(t, m, 9, 0)
		if s.order != tt.order || s.page != base(9, tt.order) {
			t.Errorf("%s: got %+v, want order %d", tt.name, s, tt.order)
		}
		if _, _, ok := m.has(10); ok != (tt.order > 0) {
			t.Errorf("%s: neighbour present %t", tt.name, ok)
		}
		m.ungrab(s)
		quiet(t, m)
	}
}

func TestSA7_OneQueueForHuge(t *testing.T) {
	m := newSlots()
	m.put(8, smallPMD, frame4)
	s := mustGrab(t, m, 8, smallPMD)
	got := make(chan slot)
	for i := range uint64(4) {
		go func() {
			s, err := m.grab(nil, 8+i, 0)
			if err != nil {
				t.Error(err)
			}
			got <- s
		}()
	}
	for n := 4; n > 0; n-- {
		m.asleep(t, n)
		m.ungrab(s)
		s = <-got
		if n > 1 {
			m.asleep(t, n-1) // exactly one was woken
		}
	}
	m.ungrab(s)
	quiet(t, m)
}

// Waiters of an entry that goes, or becomes another one.
func TestSA8_SA9_WakeAll(t *testing.T) {
	for _, rekey := range []bool{false, true} {
		t.Run(fmt.Sprintf("rekey %t", rekey), func(t *testing.T) {
			m := newSlots()
			s := mustGrab(t, m, 8, smallPMD)
			const n = 8
			got := make(chan uint64, n)
			for i := range uint64(n) {
				go func() {
					s, err := m.grab(nil, 8+i%4, 0)
					if err != nil {
						t.Error(err)
						got <- 0
						return
					}
					runtime.Gosched()
					m.ungrab(s)
					got <- s.page
				}()
			}
			m.asleep(t, n)
			if rekey {
				// The huge placeholder becomes small zero entries, one of them locked.
				r := &Request{Mapping: m, Page: 9, N: 3, Order: smallPMD, answers: []answer{{page: 9, n: 1, word: wZero}}}
				m.ungrab(m.apply(s, r))
			} else {
				m.giveUp(s)
			}
			seen := map[uint64]int{}
			for range n {
				select {
				case p := <-got:
					seen[p]++
				case <-time.After(20 * time.Second):
					t.Fatalf("woken: %v of %d; %d asleep", seen, n, Sleepers(m))
				}
			}
			for p := uint64(8); p < 12; p++ {
				if seen[p] != 2 {
					t.Errorf("page %d was locked %d times, want 2", p, seen[p])
				}
			}
			quiet(t, m)
		})
	}
}

// The woken waiter leaves without locking: the next one must run.
func TestSA10_WakeHandedOn(t *testing.T) {
	t.Run("conflict", func(t *testing.T) {
		m := newSlots()
		m.put(8, smallPMD, wZero)
		s := mustGrab(t, m, 8, smallPMD)
		fallback := make(chan error, 1)
		go func() {
			_, err := m.grab(nil, 8, smallPMD) // the huge entry it waits for becomes a small one
			fallback <- err
		}()
		m.asleep(t, 1)
		r := &Request{Mapping: m, Page: 8, N: 1, Order: smallPMD, answers: []answer{{page: 8, n: 1, word: wZero}}}
		out := m.apply(s, r)
		if err := <-fallback; !errors.Is(err, vm.ErrFallback) {
			t.Errorf("got %v, want a fallback", err)
		}
		m.ungrab(out)
		quiet(t, m)
	})
	t.Run("canceled", func(t *testing.T) {
		for range 200 { // the cancellation and the wake race
			m := newSlots()
			s := mustGrab(t, m, 5, 0)
			ctx, cancel := context.WithCancel(context.Background())
			first, second := make(chan error, 1), make(chan error, 1)
			try := func(ctx context.Context, done chan error) {
				s, err := m.grab(ctx, 5, 0)
				if err == nil {
					m.ungrab(s)
				}
				done <- err
			}
			go try(ctx, first)
			m.asleep(t, 1)
			go try(nil, second)
			m.asleep(t, 2)
			m.mu.Lock()
			cancel() // before the wake, which then comes too late to be used
			m.ungrabLocked(s)
			m.mu.Unlock()
			<-first
			select {
			case err := <-second:
				if err != nil {
					t.Fatal(err)
				}
			case <-time.After(20 * time.Second):
				t.Fatal("the second waiter was never woken")
			}
			quiet(t, m)
		}
	})
	// A goroutine that was woken for one page and now has to sleep on another lets the
	// next waiter of the first run before.
	t.Run("moves on", func(t *testing.T) {
		m := newSlots()
		m.put(4, 0, frame4)
		m.put(5, 0, frame4+1)
		m.mu.Lock()
		m.index.SetMark(5, markToWrite)
		m.mu.Unlock()
		four, five := mustGrab(t, m, 4, 0), mustGrab(t, m, 5, 0)
		m.mu.Lock()
		m.index.SetMark(4, markToWrite)
		m.mu.Unlock()
		tagged := make(chan slot, 1)
		go func() {
			s, _, _, err := m.takeTagged(nil, 4, 5)
			if err != nil {
				t.Error(err)
			}
			tagged <- s
		}()
		m.asleep(t, 1) // on 4
		next := make(chan slot, 1)
		go func() {
			s, err := m.grab(nil, 4, 0)
			if err != nil {
				t.Error(err)
			}
			next <- s
		}()
		m.asleep(t, 2)
		m.mu.Lock()
		m.index.ClearMark(4, markToWrite)
		m.ungrabLocked(four)
		m.mu.Unlock()
		select {
		case s := <-next:
			m.ungrab(s)
		case <-time.After(20 * time.Second):
			t.Fatal("the waiter of page 4 sleeps although nobody holds it")
		}
		m.asleep(t, 1)
		m.ungrab(five)
		if s := <-tagged; s.page != 5 {
			t.Errorf("tagged page %d, want 5", s.page)
		} else {
			m.ungrab(s)
		}
		quiet(t, m)
	})
}

func TestSA11_NonExclusiveWaiter(t *testing.T) {
	m := newSlots()
	s := mustGrab(t, m, 5, 0)
	woken := make(chan error, 3)
	look := func() {
		m.mu.Lock()
		woken <- m.waitLocked(nil, 5, false)
		m.mu.Unlock() // and does not lock
	}
	go look()
	m.asleep(t, 1)
	got := make(chan slot, 1)
	go func() {
		s, err := m.grab(nil, 5, 0)
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	m.asleep(t, 2)
	go look()
	m.asleep(t, 3)
	m.ungrab(s)
	select {
	case s = <-got:
	case <-time.After(20 * time.Second):
		t.Fatal("the wake was lost to one that does not lock")
	}
	m.ungrab(s)
	<-woken
	<-woken
	quiet(t, m)
}

// A removal that waits for a page acts on what is there when it wakes.
func TestSA13_WalkComesBack(t *testing.T) {
	run := func(name string, change func(m *Mapping, s slot)) *Mapping {
		m := newSlots()
		m.put(8, 0, wZero)
		m.put(10, 0, wZero)
		s := mustGrab(t, m, 8, 0)
		done := make(chan struct{})
		go func() {
			m.remove(8, 4)
			close(done)
		}()
		m.asleep(t, 1)
		change(m, s)
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatalf("%s: the walk hangs", name)
		}
		if pages, _ := m.Pages(); pages != 0 {
			t.Errorf("%s: %d pages left", name, pages)
		}
		quiet(t, m)
		return m
	}
	run("unlocked", func(m *Mapping, s slot) { m.ungrab(s) })
	run("removed", func(m *Mapping, s slot) { m.giveUp(slot{s.page, 0, wLocked}) })
	run("replaced by huge", func(m *Mapping, s slot) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.eraseLocked(10)
		m.eraseLocked(8)
		m.index.Store(8, smallPMD, uint64(wZero))
	})
}

func TestSA14_BadUnlock(t *testing.T) {
	for name, break1 := range map[string]func(m *Mapping, s *slot){
		"unlocked value": func(m *Mapping, s *slot) { s.word &^= wLocked },
		"twice":          func(m *Mapping, s *slot) { m.ungrab(*s) },
		"other order":    func(m *Mapping, s *slot) { s.order = 0 },
		"part of huge":   func(m *Mapping, s *slot) { s.page, s.word = s.page+1, s.word+1 },
		"removed":        func(m *Mapping, s *slot) { m.remove0(s.page) },
	} {
		m := newSlots()
		m.put(8, smallPMD, frame4)
		s := mustGrab(t, m, 8, smallPMD)
		break1(m, &s)
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: not detected", name)
				}
			}()
			m.ungrab(s)
		}()
	}
}

func (m *Mapping) remove0(page uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.eraseLocked(page)
}

func TestSA16_MarksSurvive(t *testing.T) {
	m := newSlots()
	m.put(8, smallPMD, frame4)
	m.mu.Lock()
	m.index.SetMark(9, markDirty)
	m.index.SetMark(9, markToWrite)
	m.mu.Unlock()
	want := marks{true, true}
	check := func(what string, page uint64) {
		m.mu.Lock()
		defer m.mu.Unlock()
		if got := m.marksLocked(page); got != want {
			t.Errorf("%s: %+v, want %+v", what, got, want)
		}
	}
	s := mustGrab(t, m, 11, 0)
	check("locked", 8)
	m.mu.Lock()
	m.setLocked(&s, s.word&^wWrite|wShared)
	m.mu.Unlock()
	check("stored again", 8)
	m.ungrab(s)
	check("unlocked", 8)
	m.remove(9, 1) // both parts that stay
	check("cut, below", 8)
	check("cut, above", 10)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.index.Marked(9, markDirty) {
		t.Error("the removed page is dirty")
	}
}

func TestRuns(t *testing.T) {
	for _, tt := range []struct{ page, n, want uint64 }{
		{0, 1, 0}, {5, 3, 7}, {1, ToEnd, ToEnd}, {7, ToEnd, ToEnd}, {ToEnd, 1, ToEnd}, {ToEnd - 1, 9, ToEnd},
	} {
		if got := lastPage(tt.page, tt.n); got != tt.want {
			t.Errorf("last of %d+%#x: %#x, want %#x", tt.page, tt.n, got, tt.want)
		}
	}
	var got []string
	m := newSlots()
	m.pieces(3, 14, word(1<<36|7)|wMapped, func(at uint64, order uint, w word) {
		got = append(got, fmt.Sprintf("%d/%d=%d", at, order, w.pfn().Page()))
	})
	want := []string{"3/0=7", "4/2=8", "8/2=12", "12/2=16", "16/0=20"}
	if !slices.Equal(got, want) {
		t.Errorf("pieces %v, want %v", got, want)
	}
}
