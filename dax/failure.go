package dax

import (
	"godax/internal/hook"
	"godax/pmem"
)

// MemoryFailure takes the n frames from pfn on, which have gone bad, from every view of
// the file (5.14): each view that has one of them mapped is told, with the size of the
// translation it had ([vm.FailureNotifier]). It returns how many pages of the file lie in
// these frames. The device fails every later access; an overwrite of the whole page makes
// it good again.
//
// Frames may be used by several pages and several files: whoever holds the device (see
// [pmem.Hold]) calls it for all files in memory.
//
// Locks: waits for entry locks, without ever standing in the way of others that do.
func (m *Mapping) MemoryFailure(pfn pmem.PFN, n uint64) int {
	defer m.settle()
	found := m.pagesOf(pfn, n)
	for _, page := range found {
		hook.At(hook.PoisonFound, m, page)
		m.failPage(page, pfn, n)
	}
	return len(found)
}

// pagesOf returns the pages of the file that lie in the frames.
func (m *Mapping) pagesOf(pfn pmem.PFN, n uint64) (found []uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for next := uint64(0); ; {
		first, order, val, ok := m.index.Next(next, ToEnd)
		if !ok {
			return found
		}
		w := word(val)
		for i := uint64(0); i < n && w.is(wMapped); i++ {
			if at := uint64(pfn) + i - uint64(w.pfn()); at < pages(order) {
				found = append(found, first+at)
			}
		}
		if next = first + pages(order); next == 0 {
			return found
		}
	}
}

// failPage takes one page from the views if it still lies in one of the frames. The wait
// is not exclusive: it must not swallow a wake (L7).
func (m *Mapping) failPage(page uint64, pfn pmem.PFN, n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		first, order, val, ok := m.index.Next(page, page)
		w := word(val)
		if !ok || !w.is(wMapped) || uint64(w.at(page-first).pfn()-pfn) >= n {
			return // it has moved, or is gone
		}
		if w.is(wLocked) {
			_ = m.waitLocked(nil, first, false) // cannot fail without a context
			continue
		}
		s := slot{first, order, w | wLocked}
		m.index.Store(s.page, s.order, uint64(s.word))
		hook.Acquire(hook.Entry, m, s.page, true)
		m.mu.Unlock()
		m.views.NotifyFailure(page, 1)
		m.stale.Store(true)
		m.mu.Lock()
		m.ungrabLocked(s)
		return
	}
}

// Revoke takes everything that refers to frames of a device away, which is gone: from the
// views and from the index, dirty or not. What was dirty is lost; that is reported as a
// writeback error. Pins cannot be waited for: their holders have bytes without a device
// behind them until they release.
//
// Locks: takes the invalidate lock exclusive.
func (m *Mapping) Revoke(dev pmem.Device) {
	defer m.settle()
	_ = m.inval.Lock(nil) // cannot fail without a context
	defer m.inval.Unlock()
	m.unmap(0, ToEnd, false)
	lost := false
	m.mu.Lock()
	for next := uint64(0); ; {
		first, order, val, ok := m.index.Next(next, ToEnd)
		if !ok {
			break
		}
		w := word(val)
		if w.is(wLocked) {
			_ = m.waitLocked(nil, first, false)
			continue
		}
		if w.is(wMapped) && w.pfn().Device() == dev.ID() {
			lost = lost || m.index.Marked(first, markDirty)
			m.eraseLocked(first)
		}
		if next = first + pages(order); next == 0 {
			break
		}
	}
	m.mu.Unlock()
	if lost {
		m.wbErr.set(pmem.ErrRemoved)
	}
}
