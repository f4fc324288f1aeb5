package xarray

import "math/bits"

// Next returns the first entry that overlaps the pages from to last, both included: the entry that covers from, if
// there is one. first is the entry's own first page, which may be before from. Needs no lock, does not allocate.
//
// To go through a range, continue after the entry, at first + 1<<order, unless that is 0 or beyond last.
func (a *Array) Next(from, last uint64) (first uint64, order uint, value uint64, ok bool) {
	return a.next(from, last, present)
}

// NextMarked is Next for the entries with a mark. What has no marked entries below is passed over, 64 slots
// at a time. Needs no lock: so an entry that changes during the call may be returned although it no longer has the mark. Who
// acts on it takes the lock and looks again.
func (a *Array) NextMarked(from, last uint64, m Mark) (first uint64, order uint, value uint64, ok bool) {
	m.check()
	return a.next(from, last, uint(m))
}

// next finds the first entry with a bit in a bitmap: a mark, or present.
//
// The way down follows from. If it ends where nothing is left, the search goes on at back, the lowest node of the way
// with something in later slots. What is there is the result, unless a writer took it away in between; then
// it starts again from the page reached.
func (a *Array) next(from, last uint64, which uint) (first uint64, order uint, value uint64, ok bool) {
restart:
	for from <= last {
		n := a.root.Load()
		if n == nil || from > n.last() {
			break
		}
		var back *node
		var later uint64 // slots of back
		jumped := false
		for {
			i := n.slot(from)
			found := n.bitmaps.from(which, i)
			if found != 0 {
				j := uint(bits.TrailingZeros64(found))
				if j > i {
					if from = n.base(from, j); from > last {
						break restart
					}
				}
				if rest := found & (found - 1); rest != 0 {
					back, later = n, rest
				}
				at := n.base(from, j)
				var l *leaf
				var kid *node
				if n.level == 1 {
					l = n.leaves[j].Load()
				} else {
					kid = n.kids[j].Load()
				}
				switch {
				case l == nil && kid == nil:
					if first, order, value, ok = result(at, n.words[j].Load(), from); ok {
						return
					}
					continue restart
				case j < i: // a writer has put a node in the place of an entry
					continue restart
				case kid != nil:
					n = kid
					continue
				}
				if found = l.bitmaps.from(which, uint(from%leafSlots)); found != 0 {
					at |= uint64(bits.TrailingZeros64(found))
					if at > last {
						break restart
					}
					if first, order, value, ok = result(at, l.words[at%leafSlots].Load(), from); ok {
						return
					}
					continue restart
				}
			}
			// Nothing here.
			if back == nil {
				if !jumped {
					break restart
				}
				continue restart
			}
			n, back, jumped = back, nil, true
			if from = n.base(from, uint(bits.TrailingZeros64(later))); from > last {
				break restart
			}
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
