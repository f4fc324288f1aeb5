package dax

import (
	"sync/atomic"

	"godax/internal/spread"
)

// Stats counts what a mapping did since it was made. All counters only grow.
type Stats struct {
	Populates atomic.Uint64 // PopulatePFNs calls

	Faults    [PMDOrder + 1]spread.Counter // served faults by order; larger ones in the last
	Fallbacks [15]atomic.Uint64            // by reason, F1..F14 of the semantics; [0] is unused

	Collected atomic.Uint64 // pages found written by a view's collector
	Cleaned   atomic.Uint64 // pages flushed by Writeback
	Evicted   atomic.Uint64 // cached pages given up
	Stale     atomic.Uint64 // answers that differed from the entry, with Config.AlwaysAsk
}

// Stats returns the mapping's counters; they may be read at any time.
func (m *Mapping) Stats() *Stats { return &m.stats }
