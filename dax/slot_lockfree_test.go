package dax

import "testing"

// Entry locks that are taken and given back without Mapping.mu, beside those who hold it.

// asleepOn starts a goroutine that locks page 8 and hands the slot out.
func asleepOn(t *testing.T, m *Mapping, n int) chan slot {
	t.Helper()
	got := make(chan slot, 1)
	go func() {
		s, err := m.grab(nil, 8, 0)
		if err != nil {
			t.Error(err)
		}
		got <- s
	}()
	m.asleep(t, n)
	return got
}

// TestWaitersSeen: every holder wakes those who sleep on its entry, whether they came before
// or after it, and whatever the entry says by then.
//
// Guards I6, I7, T45.
func TestWaitersSeen(t *testing.T) {
	t.Run("in turn", func(t *testing.T) {
		m := newSlots()
		m.put(8, 0, frameOf(0))
		s := mustGrab(t, m, 8, 0)
		a := asleepOn(t, m, 1)
		b := asleepOn(t, m, 2)
		m.mu.Lock()
		m.setLocked(&s, frameOf(0)&^wWrite)
		m.mu.Unlock()
		m.ungrab(s)
		s = <-a
		if s.word != frameOf(0)&^wWrite|wLocked {
			t.Errorf("the word of the slot is %#x", s.word)
		}
		m.ungrab(s)
		m.asleep(t, 0)
		m.ungrab(<-b)
		quiet(t, m)
	})
	t.Run("handed on to a new holder", func(t *testing.T) {
		m := newSlots()
		m.put(8, 0, frameOf(0))
		s := mustGrab(t, m, 8, 0)
		woken := make(chan struct{})
		go func() {
			m.mu.Lock()
			defer m.mu.Unlock()
			if err := m.waitLocked(nil, 8, true); err != nil {
				t.Error(err)
			}
			close(woken)
		}()
		m.asleep(t, 1)
		b := asleepOn(t, m, 2)
		m.ungrab(s)
		<-woken
		s = mustGrab(t, m, 8, 0) // overtakes b, and knows nothing of it
		m.mu.Lock()
		m.handOnLocked(wakeup{8, true})
		m.mu.Unlock()
		m.ungrab(s)
		m.asleep(t, 0)
		m.ungrab(<-b)
		quiet(t, m)
	})
	t.Run("unlocked before the sleep", func(t *testing.T) {
		m := newSlots()
		m.put(8, 0, frameOf(0))
		m.mu.Lock()
		defer m.mu.Unlock()
		if err := m.waitLocked(nil, 8, true); err != nil {
			t.Error(err)
		}
	})
}

// TestClaimAgainstGrab: what was seen unlocked may have been locked since: then it is neither
// locked again nor removed.
//
// Guards I6.
func TestClaimAgainstGrab(t *testing.T) {
	for _, order := range []uint{0, smallPMD} {
		m := newSlots()
		m.put(8, order, frame4)
		s := mustGrab(t, m, 8, order)
		m.mu.Lock()
		if _, ok := m.claimLocked(8, order, frame4); ok {
			t.Errorf("order %d: claimed while it is locked", order)
		}
		if m.claimToRemoveLocked(8, order, frame4) {
			t.Errorf("order %d: claimed for removal while it is locked", order)
		}
		m.mu.Unlock()
		m.ungrab(s)
		m.mu.Lock()
		if !m.claimToRemoveLocked(8, order, frame4) {
			t.Errorf("order %d: not claimed when it is free", order)
		}
		m.eraseLocked(8)
		m.mu.Unlock()
		quiet(t, m)
	}
}
