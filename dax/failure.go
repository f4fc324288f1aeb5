package dax

import (
	"godax/internal/hook"
	"godax/pmem"
	"godax/vm"
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
	total := 0
	for _, r := range m.pagesOf(pfn, n) {
		total += int(r.n)
		hook.At(hook.PoisonFound, m, r.page)
		for page, end := r.page, r.page+r.n; page < end; {
			page += m.failPages(run{page, end - page}, pfn, n)
		}
	}
	return total
}

// pagesOf returns the pages of the file that lie in the frames, those of one entry as one
// run: a view that has them in one translation is to be told of all before that is gone.
func (m *Mapping) pagesOf(pfn pmem.PFN, n uint64) (found []run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for next := uint64(0); ; {
		first, order, val, ok := m.index.Next(next, ToEnd)
		if !ok {
			return found
		}
		if r := word(val).inFrames(first, order, pfn, n); r.n > 0 {
			found = append(found, r)
		}
		if next = first + pages(order); next == 0 {
			return found
		}
	}
}

// inFrames is the pages of an entry that lie in the n frames from pfn on.
func (w word) inFrames(first uint64, order uint, pfn pmem.PFN, n uint64) run {
	if !w.is(wMapped) || !vm.Overlap(uint64(w.pfn()), pages(order), uint64(pfn), n) {
		return run{}
	}
	from := max(w.pfn(), pfn)
	end := min(w.pfn()+pmem.PFN(pages(order)), pfn+pmem.PFN(n))
	return run{first + uint64(from-w.pfn()), uint64(end - from)}
}

// failPages takes the first pages of r from the views, those of one entry, if they still
// lie in the frames, and returns how many it has looked at. The wait is not exclusive: it
// must not swallow a wake (L7).
func (m *Mapping) failPages(r run, pfn pmem.PFN, n uint64) uint64 {
	m.mu.Lock()
	defer m.mu.Unlock()
	for {
		first, order, val, ok := m.index.Next(r.page, r.page)
		w := word(val)
		if !ok {
			return 1 // gone
		}
		seen := min(r.n, first+pages(order)-r.page)
		bad := w.inFrames(first, order, pfn, n)
		if !vm.Overlap(bad.page, bad.n, r.page, seen) {
			return seen // they have moved
		}
		if w.is(wLocked) {
			_ = m.waitLocked(nil, first, false) // cannot fail without a context
			continue
		}
		s := slot{first, order, w | wLocked}
		m.index.Store(s.page, s.order, uint64(s.word))
		hook.Acquire(hook.Entry, m, s.page, true)
		m.mu.Unlock()
		m.views.NotifyFailure(bad.page, bad.n)
		m.stale.Store(true)
		m.mu.Lock()
		m.ungrabLocked(s)
		return seen
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
