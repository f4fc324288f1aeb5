package sim

import (
	"maps"
	"slices"

	"godax/pmem"
	"godax/vm"
)

// slot is one place in a page table: empty, a leaf, or the way to a table of the
// level below.
type slot struct {
	state slotState
	kind  vm.Kind
	write bool
	dirty bool
	pfn   pmem.PFN // Frames: of the first page
	copy  []byte   // Private
	table *table
}

type slotState uint8

const (
	empty slotState = iota
	leaf
	branch
)

// table is the slots that one slot of the level above leads to.
type table struct {
	slots []slot
	used  int // slots that are not empty
}

// order returns the order of a leaf at a level.
func (v *View) order(level int) uint { return v.space.levels[level] }

// alive are the parts of page tables that exist.
type alive struct{ tables, deposits, copies int64 }

// countLocked adds d of a leaf at a level. With every huge one a table is laid by
// (deposited), so that it can be split when there is no memory.
func (v *View) countLocked(l *slot, level int, d int64) {
	if level > 0 {
		v.alive.deposits += d
		v.space.stats.deposits.Add(d)
	}
	if l.kind == vm.Private {
		v.alive.copies += d
		v.space.stats.copies.Add(d)
	}
}

func (v *View) countTableLocked(d int64) {
	v.alive.tables += d
	v.space.stats.tables.Add(d)
}

// top is the level of the root slots.
func (v *View) top() int { return len(v.space.levels) - 1 }

// walkLocked returns the slot that decides about addr, and its level: the leaf, or
// the empty slot at the highest level. The slot is nil if not even the root exists.
func (v *View) walkLocked(addr uint64) (*slot, int) {
	level := v.top()
	s := v.roots[addr>>v.order(level)]
	for s != nil && s.state == branch {
		s = &s.table.slots[v.indexLocked(addr, level-1)]
		level--
	}
	return s, level
}

// indexLocked returns the place of addr in a table whose slots are of the level.
func (v *View) indexLocked(addr uint64, level int) uint64 {
	return addr >> v.order(level) & (1<<(v.order(level+1)-v.order(level)) - 1)
}

// putLocked stores a leaf at the level, and makes the tables on the way. walkLocked has
// found an empty place at that level or above, or a single page that is shared, which
// counts as nothing.
func (v *View) putLocked(addr uint64, level int, l slot) {
	at := v.top()
	s := v.roots[addr>>v.order(at)]
	if s == nil {
		s = new(slot)
		v.roots[addr>>v.order(at)] = s
	}
	var in *table // that s lies in
	for ; at > level; at-- {
		if s.state == empty {
			s.state = branch
			s.table = &table{slots: make([]slot, 1<<(v.order(at)-v.order(at-1)))}
			v.countTableLocked(1)
			if in != nil {
				in.used++
			}
		}
		in = s.table
		s = &in.slots[v.indexLocked(addr, at-1)]
	}
	if in != nil && s.state == empty {
		in.used++
	}
	l.state = leaf
	v.countLocked(&l, level, 1)
	*s = l
}

// eachLocked calls f for every leaf that overlaps the n pages at the address, in
// ascending order, and takes the leaf away if f returns true.
func (v *View) eachLocked(addr, n uint64, f func(base uint64, level int, s *slot) (remove bool)) {
	if n == 0 {
		return
	}
	order := v.order(v.top())
	first, last := addr>>order, (addr+n-1)>>order
	visit := func(key uint64) {
		if s := v.roots[key]; s != nil && v.eachBelowLocked(s, key<<order, v.top(), addr, n, f) {
			delete(v.roots, key)
		}
	}
	if last-first < uint64(len(v.roots)) {
		for key := first; key <= last; key++ {
			visit(key)
		}
		return
	}
	for _, key := range slices.Sorted(maps.Keys(v.roots)) {
		if first <= key && key <= last {
			visit(key)
		}
	}
}

// eachBelowLocked does eachLocked's work for the slot s at address base, and
// reports whether the slot is empty afterwards.
func (v *View) eachBelowLocked(s *slot, base uint64, level int, addr, n uint64, f func(uint64, int, *slot) bool) bool {
	switch s.state {
	case leaf:
		if f(base, level, s) {
			v.countLocked(s, level, -1)
			*s = slot{}
		}
	case branch:
		size := uint64(1) << v.order(level-1)
		for i := range s.table.slots {
			below := &s.table.slots[i]
			at := base + uint64(i)*size
			if below.state == empty || !vm.Overlap(at, size, addr, n) {
				continue
			}
			if v.eachBelowLocked(below, at, level-1, addr, n, f) {
				s.table.used--
			}
		}
		if s.table.used == 0 {
			*s = slot{}
			v.countTableLocked(-1)
		}
	}
	return s.state == empty
}
