package dax

import (
	"context"
	"fmt"

	"godax/internal/hook"
	"godax/vm"
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
			hook.Acquire(hook.Entry, m, s.page, !mayWait(ctx))
			return s, nil
		}
		if have < order {
			return slot{}, vm.ErrFallback
		}
		s := slot{page: first, order: have, word: word(val)}
		if s.word.is(wLocked) {
			m.handOnLocked(woken)
			woken = wakeup{}
			if err := m.waitLocked(ctx, first, true); err != nil {
				return slot{}, err
			}
			woken = wakeup{first, true}
			continue
		}
		s.word |= wLocked
		m.index.Store(s.page, s.order, uint64(s.word))
		hook.Acquire(hook.Entry, m, s.page, !mayWait(ctx))
		if order == 0 && have > 0 && !s.word.is(wMapped) {
			m.downgradeLocked(s)
			continue
		}
		return s, nil
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
	if !w.ok {
		return
	}
	if first, _, val, ok := m.index.Next(w.key, w.key); ok && first == w.key && word(val).is(wLocked) {
		return
	}
	m.wakeOneLocked(w.key)
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

// eraseLocked removes the entry that covers page and wakes all its waiters. If the
// entry is locked it is the caller who locked it.
func (m *Mapping) eraseLocked(page uint64) {
	first, _, val, ok := m.index.Next(page, page)
	if !ok {
		panic(fmt.Sprintf("dax: no entry at page %d to remove", page))
	}
	if word(val).is(wLocked) {
		hook.Release(hook.Entry, m, first)
	}
	if word(val).is(wMapped) {
		m.moved.Add(1)
	}
	m.index.Erase(page)
	delete(m.stored, first)
	m.wakeAllLocked(first)
}

// ungrab unlocks the slot and wakes one waiter.
func (m *Mapping) ungrab(s slot) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ungrabLocked(s)
}

// ungrabLocked checks that the entry is the one that was locked (L10).
func (m *Mapping) ungrabLocked(s slot) {
	val, order, ok := m.index.Load(s.page)
	if !ok || order != s.order || word(val) != s.word || !s.word.is(wLocked) {
		panic(fmt.Sprintf("dax: unlock of page %d order %d: index has %#x order %d", s.page, s.order, val, order))
	}
	hook.Release(hook.Entry, m, s.page)
	m.index.Store(s.page, s.order, uint64(s.word&^wLocked))
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
	m.index.Store(s.page, s.order, uint64(s.word))
}
