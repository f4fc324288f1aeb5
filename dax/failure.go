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
	total := uint64(0)
	for _, r := range m.pagesOf(pfn, n) {
		hook.At(hook.PoisonFound, m, r.page)
		m.failPages(r, pfn, n)
		total += r.n
	}
	return int(total)
}

// pagesOf returns the pages of the file that lie in the frames: at most one run of each
// entry, since its frames are consecutive.
func (m *Mapping) pagesOf(pfn pmem.PFN, n uint64) (found []run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for next := uint64(0); ; {
		first, order, val, ok := m.index.Next(next, ToEnd)
		if !ok {
			return found
		}
		if r := badPart(word(val), first, order, pfn, n); r.n > 0 {
			found = append(found, r)
		}
		if next = first + pages(order); next == 0 {
			return found
		}
	}
}

// badPart is the pages of an entry that lie in the n frames from pfn on.
func badPart(w word, first uint64, order uint, pfn pmem.PFN, n uint64) run {
	if !w.is(wMapped) {
		return run{}
	}
	from := max(w.pfn(), pfn)
	end := min(w.pfn()+pmem.PFN(pages(order)), pfn+pmem.PFN(n))
	if from >= end {
		return run{}
	}
	return run{first + uint64(from-w.pfn()), uint64(end - from)}
}

// failPages takes what still lies in the frames of a run of pages from the views, entry
// by entry: each view is told once of all the bad pages that it mapped as one. The wait
// is not exclusive: it must not swallow a wake (L7).
func (m *Mapping) failPages(r run, pfn pmem.PFN, n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	last := r.page + r.n - 1
	for next := r.page; next <= last; {
		first, order, val, ok := m.index.Next(next, last)
		if !ok {
			return // gone
		}
		w := word(val)
		if w.is(wLocked) {
			_ = m.waitLocked(nil, first, false) // cannot fail without a context
			continue
		}
		next = first + pages(order)
		bad := badPart(w, first, order, pfn, n)
		if bad.n == 0 {
			continue // it has moved
		}
		s, ok := m.claimLocked(first, order, w)
		if !ok {
			next = first
			continue
		}
		hook.Acquire(hook.Entry, m, s.page, true)
		m.mu.Unlock()
		m.views.NotifyFailure(bad.page, bad.n)
		m.stale.Store(true)
		m.mu.Lock()
		m.ungrabLocked(s)
	}
}

// Revoke takes everything that refers to frames of a device away, which is gone: from the
// views and from the index, dirty or not. What was dirty is lost, and what views that are
// not write-protected may have stored; that is reported as a writeback error. Pins cannot
// be waited for: their holders have bytes without a device behind them until they release.
//
// Locks: takes the invalidate lock exclusive.
func (m *Mapping) Revoke(dev pmem.Device) {
	defer m.settle()
	_ = m.inval.Lock(nil) // cannot fail without a context
	defer m.inval.Unlock()
	unseen := m.storesUnseen(0, ToEnd)
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
			if !m.claimToRemoveLocked(first, order, w) {
				continue
			}
			lost = lost || m.index.Marked(first, markDirty) || unseen && w.is(wWrite)
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
