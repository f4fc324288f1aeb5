package dax

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"testing"
	"time"

	"godax/internal/daxtest/sched"
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
	for end := time.Now().Add(sched.Patience); Sleepers(m) != n; runtime.Gosched() {
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

// TestSA10_WakeHandedOn: the woken waiter leaves without locking, because of a conflict, a
// signal, or another entry that it has to sleep on: the next one must run.
//
// Guards I7, T45, T83.
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
			case <-time.After(sched.Patience):
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
			var b batch
			if err := m.takeTagged(nil, 4, 5, &b); err != nil || b.n != 1 {
				t.Errorf("%d entries, %v", b.n, err)
			}
			tagged <- b.entries[0].slot
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
		case <-time.After(sched.Patience):
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

// TestSA14_BadUnlock: an unlock of what is not locked, or is not what was locked, is fatal.
// (That it is another goroutine's is found by the recorder of the lock order.)
//
// Guards I6, T46.
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

// TestSA16_MarksSurvive: marks outlive lock, unlock and another word; and a cut, in both
// parts that stay.
//
// Guards I33, T14.
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

// TestSA16_MarksOfFramesOnly: an entry without frames gets no marks with a store.
//
// Guards I3, I4.
func TestSA16_MarksOfFramesOnly(t *testing.T) {
	for name, tt := range map[string]struct {
		word word
		want marks
	}{
		"placeholder": {0, marks{}},
		"zero":        {wZero, marks{}},
		"mapped":      {frame4, marks{true, true}},
	} {
		m := newSlots()
		m.mu.Lock()
		m.storeLocked(8, smallPMD, tt.word, marks{dirty: true, toWrite: true})
		if got := m.marksLocked(9); got != tt.want {
			t.Errorf("%s: %+v, want %+v", name, got, tt.want)
		}
		m.mu.Unlock()
	}
}
