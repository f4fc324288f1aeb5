package dax

import (
	"sync/atomic"

	"godax/internal/spread"
	"godax/pmem"
	"godax/vm"
)

// Stats counts what a mapping did since it was made. All counters only grow.
type Stats struct {
	Populates atomic.Uint64 // PopulatePFNs calls

	Faults    [PMDOrder + 1]spread.Counter   // served faults by order; larger ones in the last
	Accesses  [vm.MkWrite + 1]spread.Counter // served faults by kind of access
	Fallbacks [15]atomic.Uint64              // by reason, F1..F14 of the semantics; [0] is unused

	Collected atomic.Uint64 // pages found written by a view's collector
	Cleaned   atomic.Uint64 // pages flushed by Writeback
	Evicted   atomic.Uint64 // cached pages given up
	Stale     atomic.Uint64 // answers that differed from the entry, with Config.AlwaysAsk
}

// DirtyPages is how many pages lie in entries that are DIRTY now. It takes as long as there
// are such entries.
func (m *Mapping) DirtyPages() (n uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for from := uint64(0); ; {
		first, order, _, ok := m.index.NextMarked(from, ToEnd, markDirty)
		if !ok {
			return n
		}
		n += pages(order)
		if from = first + pages(order); from == 0 {
			return n
		}
	}
}

// CachedBytes is what the store of cached pages that the file uses holds for all its
// files, in bytes; 0 if it has none. The store is the second result, to tell it from others.
func (m *Mapping) CachedBytes() (uint64, *Frames) {
	if m.cfg.Frames == nil {
		return 0, nil
	}
	return m.cfg.Frames.InUse() * pmem.PageSize, m.cfg.Frames
}

// Stats returns the mapping's counters; they may be read at any time.
func (m *Mapping) Stats() *Stats { return &m.stats }
