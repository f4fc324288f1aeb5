package xarray

import (
	"fmt"
	"math/bits"
)

// check panics if m is no mark.
func (m Mark) check() {
	if m >= nmarks {
		panic(fmt.Sprintf("xarray: mark %d of %d", m, nmarks))
	}
}

// SetMark marks the entry that covers index. Without one it does nothing. Needs the caller's lock.
func (a *Array) SetMark(index uint64, m Mark) {
	m.check()
	var p place
	if !a.find(index, &p) || p.maps().has(uint(m), p.slot) {
		return
	}
	p.maps().set(uint(m), 1<<p.slot)
	for level := max(p.level+1, 1); level <= p.root; level++ {
		n := p.path[level]
		i := n.slot(index)
		if n.has(uint(m), i) {
			return
		}
		n.set(uint(m), 1<<i)
	}
}

// ClearMark takes the mark from the entry that covers index. Without one it does nothing. Needs the caller's lock.
func (a *Array) ClearMark(index uint64, m Mark) {
	m.check()
	var p place
	if a.find(index, &p) {
		a.unmark(&p, index, m)
	}
}

// unmark takes a mark from the entry at p, and from the nodes above if nothing below them has it any more.
func (a *Array) unmark(p *place, index uint64, m Mark) {
	b := p.maps()
	if !b.has(uint(m), p.slot) {
		return
	}
	b.clear(uint(m), 1<<p.slot)
	for level := p.level + 1; b[m].Load() == 0 && level <= p.root; level++ {
		n := p.path[level]
		b = &n.bitmaps
		b.clear(uint(m), 1<<n.slot(index))
	}
}

// Marked reports whether the entry that covers index has the mark. Needs no lock.
func (a *Array) Marked(index uint64, m Mark) bool {
	m.check()
	var p place
	return a.find(index, &p) && p.maps().has(uint(m), p.slot)
}

// TagMarked gives the mark to to each entry that overlaps the pages first to last, both included, and has the mark from. It returns how many have
// it, those included that had to already. Needs the caller's lock.
func (a *Array) TagMarked(first, last uint64, from, to Mark) (n uint64) {
	from.check()
	to.check()
	root := a.root.Load()
	if root == nil || first > last || first > root.last() {
		return 0
	}
	return root.tag(first, min(last, root.last()), uint(from), uint(to))
}

// tag is TagMarked below a node; first and last are in it.
func (n *node) tag(first, last uint64, from, to uint) (count uint64) {
	end := n.slot(last)
	var tagged uint64
	for found := n.bitmaps.from(from, n.slot(first)) & through(end); found != 0; found &= found - 1 {
		i := uint(bits.TrailingZeros64(found))
		base := baseOf(n.level, first, i)
		lo, hi := max(first, base), min(last, base|span(uint(levels[n.level].shift)))
		var got uint64
		switch {
		case !n.filled(i):
			got = 1
		case n.level == 1:
			got = n.leaf(i).Load().tag(lo, hi, from, to)
		default:
			got = n.kid(i).Load().tag(lo, hi, from, to)
		}
		if got != 0 {
			tagged |= 1 << i
			count += got
		}
	}
	if tagged != 0 {
		n.set(to, tagged)
	}
	return count
}

// tag is TagMarked in a leaf.
func (l *leaf) tag(first, last uint64, from, to uint) (count uint64) {
	found := l.bitmaps.from(from, slotOf(0, first)) & through(slotOf(0, last))
	if found != 0 {
		l.set(to, found)
	}
	return uint64(bits.OnesCount64(found))
}

// through returns the bits of the slots up to and with slot.
func through(slot uint) uint64 { return ^uint64(0) >> (63 - slot) }
