package famfs

import (
	"cmp"
	"slices"
)

// space is what is used of one device: derived from the log, never stored (section 5).
type space struct {
	first, end int64  // data can lie in [first, end)
	used       []span // ascending, with gaps between them
}

// span is the bytes [from, to).
type span struct{ from, to int64 }

// claim is a span that the entry with an index has.
type claim struct {
	span
	index uint64
}

// unowned stands for an owner that a list of used spans does not know.
const unowned = ^uint64(0)

// add makes the spans of claims used, and returns how many bytes were not before. overlap is
// called for each claim that shares bytes with another, or with what was used: then the
// other is unowned. It costs a sort of the claims and a pass over what is used, whose spans
// grow together where files lie side by side.
func (s *space) add(claims []claim, overlap func(other uint64, c claim)) (added int64) {
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(cmp.Compare(a.from, b.from), cmp.Compare(a.index, b.index))
	})
	if len(claims) == 0 {
		return 0
	}
	old := s.used
	merged := make([]span, 0, len(old)+1)
	push := func(x span) {
		if n := len(merged); n > 0 && x.from <= merged[n-1].to {
			merged[n-1].to = max(merged[n-1].to, x.to)
			return
		}
		merged = append(merged, x)
	}
	far := claim{span{-1, -1}, unowned} // the one that reaches farthest so far
	for i, j := 0, 0; i < len(old) || j < len(claims); {
		if j == len(claims) || i < len(old) && old[i].from <= claims[j].from {
			x := old[i]
			if i++; x.from < far.to && far.index != unowned {
				overlap(unowned, far) // it began before what was used
			}
			if x.to > far.to {
				far = claim{x, unowned}
			}
			push(x)
			continue
		}
		c := claims[j]
		if j++; c.from < far.to {
			overlap(far.index, c)
		}
		if c.to > far.to {
			far = c
		}
		push(c.span)
	}
	added = total(merged) - total(old)
	s.used = merged
	return added
}

// total is the number of bytes of spans.
func total(spans []span) (n int64) {
	for _, x := range spans {
		n += x.to - x.from
	}
	return n
}

// find returns the first free run of n bytes in [from, to) of the device that begins at a
// multiple of unit; false if there is none. A last part smaller than a unit is not used.
func (s *space) find(n, unit, from, to int64) (int64, bool) {
	from = roundUp(max(from, s.first), unit)
	to = min(to, s.end) / unit * unit
	i, _ := slices.BinarySearchFunc(s.used, from, func(x span, at int64) int {
		if x.to <= at {
			return -1
		}
		return 1
	})
	for ; from <= to && n <= to-from; i++ {
		if i == len(s.used) || s.used[i].from-from >= n {
			return from, true
		}
		from = max(from, roundUp(s.used[i].to, unit))
	}
	return 0, false
}

// roundUp rounds up to a multiple of unit, a power of two. n is far from the largest number.
func roundUp(n, unit int64) int64 { return (n + unit - 1) &^ (unit - 1) }
