package dax

import (
	"context"
	"fmt"

	"godax/internal/hook"
	"godax/vm"
	"godax/xarray"
)

// slot is an entry that the holder has locked.
type slot struct {
	page  uint64 // first page
	order uint
	word  word // as stored, the lock bit set
}

func (s slot) end() uint64 { return s.page + pages(s.order) }

// grab locks the slot around page for a request of the given order, making a
// placeholder where the index has nothing (semantics 3.2, rows 1 to 4).
//
// A smaller entry anywhere in an aligned run of order > 0 is a conflict:
// vm.ErrFallback, at once. An order-0 request inside a larger zero entry or
// placeholder removes that first; inside a larger mapped entry it gets the whole
// entry.
//
// ctx bounds the wait for a locked entry and may be nil.
func (m *Mapping) grab(ctx context.Context, page uint64, order uint) (slot, error) {
	if s, ok := m.tryGrab(page, order); ok {
		acquired(ctx, m, s)
		return s, nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	// Whoever is woken may find another entry, or a conflict, and leave without locking
	// the one it slept on: then the next in that queue must run (L5), and must not wait
	// until this goroutine has slept on another.
	var woken wakeup
	defer func() { m.handOnLocked(woken) }()
	for {
		if m.dead {
			return slot{}, ErrGone
		}
		first, have, val, ok := m.index.Next(base(page, order), base(page, order)+pages(order)-1)
		if !ok {
			s := slot{page: base(page, order), order: order, word: wLocked}
			m.index.Store(s.page, order, uint64(s.word))
			acquired(ctx, m, s)
			return s, nil
		}
		if have < order {
			return slot{}, vm.ErrFallback
		}
		if word(val).is(wLocked) {
			m.handOnLocked(woken)
			woken = wakeup{}
			if err := m.waitLocked(ctx, first, true); err != nil {
				return slot{}, err
			}
			woken = wakeup{first, true}
			continue
		}
		s, ok := m.claimLocked(first, have, word(val))
		if !ok {
			continue
		}
		acquired(ctx, m, s)
		if order == 0 && have > 0 && !s.word.is(wMapped) {
			m.downgradeLocked(s)
			continue
		}
		return s, nil
	}
}

// tryGrab locks the slot around page without mu, if that is one change of one word: the entry is there, free, and
// answers something.
func (m *Mapping) tryGrab(page uint64, order uint) (slot, bool) {
	val, have, ok := m.index.Load(page)
	w := word(val)
	switch {
	case !ok, have < order, !xarray.SingleSlot(have), w.is(wLocked), !w.is(wMapped | wZero):
		return slot{}, false
	case order == 0 && have > 0 && !w.is(wMapped):
		return slot{}, false
	}
	s := slot{base(page, have), have, w | wLocked}
	return s, m.index.CompareAndSwap(s.page, have, val, uint64(s.word))
}

// claimLocked locks the entry at page first, which was seen with the word w, unlocked. False if somebody has locked it
// without mu since. It need not know of those who sleep on the entry already: one of them has been woken, and hands on.
func (m *Mapping) claimLocked(first uint64, order uint, w word) (slot, bool) {
	var c xarray.Cursor
	if !c.Seek(&m.index, first) {
		return slot{}, false
	}
	return claimAt(&c, slot{first, order, w})
}

// claimAt is claimLocked with a cursor at the entry.
func claimAt(c *xarray.Cursor, seen slot) (slot, bool) {
	s := slot{seen.page, seen.order, seen.word | wLocked}
	return s, c.CompareAndSwap(uint64(seen.word), uint64(s.word))
}

// claimToRemoveLocked is claimLocked for a caller that is about to remove the entry.
func (m *Mapping) claimToRemoveLocked(first uint64, order uint, w word) bool {
	_, ok := m.claimLocked(first, order, w)
	if ok {
		hook.Acquire(hook.Entry, m, first, true)
	}
	return ok
}

// acquired reports that the slot is locked. ctx is that of who might have waited for it.
func acquired(ctx context.Context, m *Mapping, s slot) {
	if hook.Enabled {
		hook.Acquire(hook.Entry, m, s.page, !mayWait(ctx))
	}
}

// acquiredAfter is acquired for one more slot of somebody who holds n of them already, and so
// did not wait for it.
func acquiredAfter(ctx context.Context, m *Mapping, s slot, n int) {
	if hook.Enabled {
		hook.Acquire(hook.Entry, m, s.page, n > 0 || !mayWait(ctx))
	}
}

// wakeup is a wake that a goroutine got as an exclusive waiter of key, if ok is set.
type wakeup struct {
	key uint64
	ok  bool
}

// handOnLocked wakes the next waiter of the key unless somebody holds the entry
// there, who will do it.
func (m *Mapping) handOnLocked(w wakeup) {
	if w.ok && len(m.waiters[w.key]) > 0 && !m.askWakeLocked(w.key) {
		m.wakeOneLocked(w.key)
	}
}

// askWakeLocked tells the holder of the entry at page key to wake who sleeps on it. False if there is none.
func (m *Mapping) askWakeLocked(key uint64) bool {
	for {
		first, order, val, ok := m.index.Next(key, key)
		switch {
		case !ok || first != key || !word(val).is(wLocked):
			return false
		case word(val).is(wWaiters) || m.index.CompareAndSwap(key, order, val, val|uint64(wWaiters)):
			return true
		}
	}
}

// downgradeLocked removes a locked zero entry or placeholder of a larger order, so
// that its pages can have entries of their own (row 3). Zero translations go
// first, without mu.
func (m *Mapping) downgradeLocked(s slot) {
	if s.word.is(wZero) {
		m.mu.Unlock()
		m.unmap(s.page, pages(s.order), false)
		m.mu.Lock()
	}
	m.eraseLocked(s.page)
}

// eraseLocked removes the entry that covers page, which the caller has locked, and wakes all
// its waiters.
func (m *Mapping) eraseLocked(page uint64) {
	first, _, val, ok := m.index.Next(page, page)
	if !ok || !word(val).is(wLocked) {
		panic(fmt.Sprintf("dax: no locked entry at page %d to remove", page))
	}
	hook.Release(hook.Entry, m, first)
	if word(val).is(wMapped) {
		m.moved.Add(1)
	}
	m.index.Erase(page)
	delete(m.stored, first)
	m.wakeAllLocked(first)
}

// ungrab unlocks the slot and wakes one waiter: without mu if nobody waits.
func (m *Mapping) ungrab(s slot) {
	hook.Release(hook.Entry, m, s.page)
	if xarray.SingleSlot(s.order) && s.word.is(wLocked) && m.index.CompareAndSwap(s.page, s.order, uint64(s.word), uint64(s.word&^wLocked)) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unlockLocked(s)
}

// ungrabLocked is ungrab with mu.
func (m *Mapping) ungrabLocked(s slot) {
	hook.Release(hook.Entry, m, s.page)
	m.unlockLocked(s)
}

// unlockLocked checks that the entry is the one that was locked (L10).
func (m *Mapping) unlockLocked(s slot) {
	var c xarray.Cursor
	c.Seek(&m.index, s.page)
	m.unlockAtLocked(&c, s)
}

// unlockAtLocked is unlockLocked with a cursor at the entry.
func (m *Mapping) unlockAtLocked(c *xarray.Cursor, s slot) {
	val, order := c.Entry()
	if order != s.order || word(val)&^wWaiters != s.word || !s.word.is(wLocked) {
		panic(fmt.Sprintf("dax: unlock of page %d order %d: index has %#x order %d", s.page, s.order, val, order))
	}
	c.CompareAndSwap(val, uint64(s.word&^wLocked)) // nobody else changes it now
	delete(m.stored, s.page)
	m.debugCheckLocked()
	m.wakeOneLocked(s.page)
}

// setLocked gives the locked slot another word, keeping lock, order and marks.
func (m *Mapping) setLocked(s *slot, w word) {
	if s.word.is(wMapped) && s.word.pfn() != w.pfn() {
		m.moved.Add(1)
	}
	s.word = w | wLocked
	val, _, _ := m.index.Load(s.page)
	m.index.Store(s.page, s.order, uint64(s.word|word(val)&wWaiters))
}
