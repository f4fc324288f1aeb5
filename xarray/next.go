package xarray

import "math/bits"

// Next returns the first entry that overlaps the pages from to last, both included: the entry that covers from, if
// there is one. first is the entry's own first page, which may be before from. Needs no lock, does not allocate.
//
// To go through a range, continue after the entry, at first + 1<<order, unless that is 0 or beyond last.
func (a *Array) Next(from, last uint64) (first uint64, order uint, value uint64, ok bool) {
	var p place
	return a.next(from, last, present, &p)
}

// NextMarked is Next for the entries with a mark. What has no marked entries below is passed over, 64 slots
// at a time. Needs no lock: so an entry that changes during the call may be returned although it no longer has the mark. Who
// acts on it takes the lock and looks again.
func (a *Array) NextMarked(from, last uint64, m Mark) (first uint64, order uint, value uint64, ok bool) {
	m.check()
	var p place
	return a.next(from, last, uint(m), &p)
}

// next finds the first entry with a bit in a bitmap: a mark, or present. It sets p to its place.
//
// It goes down to where from is, as Load does, and looks for a bit from there on. If there is none it goes
// up until a node has one in a later slot, and down to the first entry there. If that is gone, a
// writer was at work, and the search starts again from the page reached.
func (a *Array) next(from, last uint64, which uint, p *place) (first uint64, order uint, value uint64, ok bool) {
search:
	for from <= last {
		n := a.root.Load()
		if n == nil || from > n.last() {
			break
		}
		root, level := n.level, n.level
		p.root = root
		var l *leaf
		for p.path[level] = n; level > 1; p.path[level] = n {
			kid := n.kid(slotOf(level, from)).Load()
			if kid == nil {
				break
			}
			n = kid
			level--
		}
		i := slotOf(level, from)
		if level == 1 {
			l = n.leaf(i).Load()
		}
		var found uint64 // slots to look at: of l if it is not nil, else of n
		if l == nil {
			found = n.from(which, i)
		} else if found = l.from(which, slotOf(0, from)); found == 0 {
			l, found = nil, n.after(which, i)
		}
		for found == 0 && level < root {
			level++
			n = p.path[level]
			found = n.after(which, slotOf(level, from))
		}
		if found == 0 {
			break
		}
		for l == nil && found != 0 {
			j := uint(bits.TrailingZeros64(found))
			at := baseOf(level, from, j)
			if at > last {
				return 0, 0, 0, false
			}
			var kid *node
			if level == 1 {
				l = n.leaf(j).Load()
			} else {
				kid = n.kid(j).Load()
			}
			if l == nil && kid == nil {
				p.level, p.slot, p.word = level, j, n.word(j).Load()
				first, order, value, ok = result(at, p.word, from)
				break
			}
			if at < from {
				continue search // just put where from is, below which the search may not begin at the first slot
			}
			from = at
			if l != nil {
				found = l.bitmaps[which].Load()
			} else {
				n = kid
				level--
				p.path[level] = n
				found = n.bitmaps[which].Load()
			}
		}
		if l != nil && found != 0 {
			j := uint(bits.TrailingZeros64(found))
			at := from&^(leafSlots-1) | uint64(j)
			if at > last {
				break
			}
			p.level, p.leaf, p.slot, p.word = 0, l, j, l.words[j].Load()
			first, order, value, ok = result(at, p.word, from)
		}
		if ok {
			return first, order, value, true
		}
	}
	return 0, 0, 0, false
}

// result is the entry of a word found at a page, unless it is none or ends before from: then a writer was at work.
func result(at, word, from uint64) (first uint64, order uint, value uint64, ok bool) {
	value, order, ok = unpack(word)
	first = at &^ span(order)
	return first, order, value, ok && from <= first|span(order)
}
