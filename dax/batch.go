package dax

import (
	"context"
	"errors"
	"fmt"

	"godax/internal/hook"
	"godax/pmem"
	"godax/xarray"
)

// batchEntries bounds how many entries are locked for one writeback at a time, and so how long a
// fault of one of their pages has to wait.
const batchEntries = 32

// batch is what a writeback cleans together: a large entry by itself, or entries of one page each,
// in the order of their pages.
type batch struct {
	entries [batchEntries]taken
	n       int
}

// taken is an entry that a writeback has locked and taken the tag of.
type taken struct {
	slot
	at     xarray.Cursor
	pinned bool        // there was a pin to store through when it was locked
	dev    pmem.Device // what it was flushed to, unless it is cached
	err    error       // why it was not flushed
}

// taken is the entries.
func (b *batch) taken() []taken { return b.entries[:b.n] }

// end is the page behind the last entry.
func (b *batch) end() uint64 { return b.entries[b.n-1].end() }

// takeTagged locks the first entries in [next, last] that are still tagged, and takes their
// tags off. It waits for the first one only, while it holds none; after a wait it looks at the
// same page again (L9). The batch is empty if there are none.
func (m *Mapping) takeTagged(ctx context.Context, next, last uint64, b *batch) error {
	b.n = 0
	m.mu.Lock()
	defer m.mu.Unlock()
	var woken wakeup
	defer func() { m.handOnLocked(woken) }()
	for {
		if err := canceled(ctx); err != nil {
			return err
		}
		found := m.findTaggedLocked(next, last, b)
		if len(found) == 0 {
			return nil
		}
		if first := found[0].slot; first.word.is(wLocked) {
			m.handOnLocked(woken)
			woken = wakeup{}
			if err := m.waitLocked(ctx, first.page, true); err != nil {
				return err
			}
			woken = wakeup{first.page, true}
			continue
		}
		for i := range found {
			e := &found[i]
			s, ok := claimAt(&e.at, e.slot)
			if e.word.is(wLocked) || !ok {
				break
			}
			acquiredAfter(ctx, m, s, i)
			e.slot = s
			e.at.ClearMark(markToWrite)
			delete(m.stored, s.page) // of a holder before: those stores come before the flush
			e.pinned = m.pins.written(s.page, pages(s.order))
			b.n++
		}
		if b.n > 0 {
			return nil
		}
	}
}

// findTaggedLocked finds the first entries in [next, last] that are tagged, as many as a batch may have.
// To look at all before the first is locked lets the processor fetch them side by side.
func (m *Mapping) findTaggedLocked(next, last uint64, b *batch) []taken {
	n := 0
	for n < batchEntries {
		e := &b.entries[n]
		first, order, val, ok := e.at.NextMarked(&m.index, next, last, markToWrite)
		if !ok || n > 0 && order > 0 {
			break
		}
		e.slot, e.dev, e.err = slot{first, order, word(val)}, nil, nil
		n++
		if next = e.end(); order > 0 || next > last || next == 0 {
			break
		}
	}
	return b.entries[:n]
}

// clean write-protects and flushes the whole of each locked entry, wherever in it the
// request began, clears DIRTY, and unlocks. DIRTY goes last: a second writeback
// that starts meanwhile still sees it, and waits for the lock. It stays if there was
// a pin to store through before the flush, or somebody has stored since the entry was
// locked: those stores may come after the flush.
func (m *Mapping) clean(b *batch) {
	entries := b.taken()
	for i := range entries {
		hook.At(hook.TowriteCleared, m, entries[i].page)
	}
	for from := 0; from < len(entries); {
		to := runEnd(entries, from, func(a, b *taken) bool { return a.end() == b.page })
		first := entries[from].page
		m.views.Protect(first, entries[to-1].end()-first)
		from = to
	}
	for i := range entries {
		hook.At(hook.Protected, m, entries[i].page)
	}
	for from := 0; from < len(entries); {
		to := runEnd(entries, from, adjacentFrames)
		m.flush(entries[from:to])
		from = to
	}
	for i := range entries {
		hook.At(hook.Flushed, m, entries[i].page)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range entries {
		m.cleanedLocked(&entries[i])
	}
}

// runEnd is the index behind the entries that follow the one at from without a gap.
func runEnd(entries []taken, from int, follows func(a, b *taken) bool) int {
	to := from + 1
	for to < len(entries) && follows(&entries[to-1], &entries[to]) {
		to++
	}
	return to
}

// adjacentFrames reports whether b's frames on the device follow a's.
func adjacentFrames(a, b *taken) bool {
	x, y := a.word.pfn(), b.word.pfn()
	return !a.word.is(wCached) && !b.word.is(wCached) && x.Device() == y.Device() && x.Page()+pages(a.order) == y.Page()
}

// cleanedLocked ends the writeback of an entry.
func (m *Mapping) cleanedLocked(e *taken) {
	if e.err != nil {
		m.wbErr.set(e.err) // before the unlock: see awaitOthers
	}
	e.at.Again()
	if e.err == nil {
		// A pin through a translation that could be stored to came before Protect.
		if _, stored := m.stored[e.page]; !e.pinned && !stored && !m.pins.written(e.page, pages(e.order)) {
			e.at.ClearMark(markDirty)
		}
		if e.dev != nil {
			m.noteFlushLocked(e.dev)
		}
	}
	hook.Release(hook.Entry, m, e.page)
	m.unlockAtLocked(&e.at, e.slot)
}

// flush pushes the bytes of a run of entries to the device that owns their frames, which
// lie side by side, or those of one entry to the blocks behind a cached page.
func (m *Mapping) flush(entries []taken) {
	e := &entries[0]
	if e.word.is(wCached) {
		e.err = m.flushCached(e.slot)
		return
	}
	last := &entries[len(entries)-1]
	pfn := e.word.pfn()
	n := last.word.pfn().Page() + pages(last.order) - pfn.Page()
	dev, err := flushFrames(pfn, n)
	if err != nil && len(entries) > 1 {
		// Each for itself then: the others go on.
		for i := range entries {
			m.flush(entries[i : i+1])
		}
		return
	}
	for i := range entries {
		entries[i].dev, entries[i].err = dev, err
	}
}

// flushCached writes a cached page to its blocks.
func (m *Mapping) flushCached(s slot) error {
	b, err := frameBytes(s.word.pfn(), 1, pmem.Normal)
	if err != nil {
		return err
	}
	left := m.size.Load() - int64(s.page)*pmem.PageSize
	if left <= 0 {
		return nil
	}
	return m.cfg.Host.WriteCached(s.page, b.Bytes[:min(left, pmem.PageSize)])
}

// flushFrames flushes the n frames at pfn, which are of one device.
func flushFrames(pfn pmem.PFN, n uint64) (pmem.Device, error) {
	dev, ok := pmem.Lookup(pfn)
	if !ok {
		return nil, fmt.Errorf("dax: flush of frame %#x: %w", uint64(pfn), pmem.ErrRemoved)
	}
	if err := dev.Flush(int64(pfn.Page())*pmem.PageSize, int64(n)*pmem.PageSize); err != nil {
		return nil, err
	}
	return dev, lostFrames(dev, pfn, n)
}

// lostFrames returns an error if one of the frames, which hold dirty pages, is bad: what
// was stored there is lost, and nobody may be told that it is durable (I30).
func lostFrames(dev pmem.Device, pfn pmem.PFN, n uint64) error {
	for i := uint64(0); i < n; {
		run, err := dev.DirectAccess(pfn.Page()+i, n-i, pmem.Normal)
		if errors.Is(err, pmem.ErrPoisoned) {
			return fmt.Errorf("dax: flush of frame %#x: %w", uint64(pfn), err)
		}
		if err != nil || run.Pages() == 0 {
			return nil // of no interest here: it was flushed
		}
		i += run.Pages()
	}
	return nil
}
