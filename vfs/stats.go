package vfs

import "godax/dax"

// Stats sums up what DAX did for all files of a [Mount] since it was made, and what there is
// now.
type Stats struct {
	Populates uint64
	Faults    [dax.PMDOrder + 1]uint64 // as dax.Stats has them
	Accesses  [3]uint64
	Fallbacks [15]uint64
	Collected uint64
	Cleaned   uint64
	Evicted   uint64

	Inodes, Handles int    // in memory; open
	Views, Pins     int    // of files
	Pages, Entries  uint64 // of indexes
	Dirty           uint64 // pages
	CachedBytes     uint64 // copies of what cannot be mapped
}

// add adds the counters of one file.
func (s *Stats) add(d *dax.Stats) {
	s.Populates += d.Populates.Load()
	for i := range d.Faults {
		s.Faults[i] += d.Faults[i].Load()
	}
	for i := range d.Accesses {
		s.Accesses[i] += d.Accesses[i].Load()
	}
	for i := range d.Fallbacks {
		s.Fallbacks[i] += d.Fallbacks[i].Load()
	}
	s.Collected += d.Collected.Load()
	s.Cleaned += d.Cleaned.Load()
	s.Evicted += d.Evicted.Load()
}

// Stats looks at every file in memory that was ever opened.
func (m *Mount) Stats() Stats {
	m.mu.Lock()
	s := m.past
	s.Inodes, s.Handles = len(m.nodes), len(m.handles)
	files := m.filesLocked()
	m.mu.Unlock()
	stores := make(map[*dax.Frames]bool)
	for _, n := range files {
		index := n.openedIndex()
		if index == nil {
			n.Put()
			continue
		}
		s.add(index.Stats())
		views, pins := index.Busy()
		pages, entries := index.Pages()
		s.Views, s.Pins = s.Views+views, s.Pins+pins
		s.Pages, s.Entries = s.Pages+pages, s.Entries+entries
		s.Dirty += index.DirtyPages()
		if n, store := index.CachedBytes(); store != nil && !stores[store] {
			stores[store] = true
			s.CachedBytes += n
		}
		n.Put()
	}
	return s
}
