package vm

import (
	"slices"

	"godax/pmem"
)

// segment is a run of pages of a view that lead to consecutive frames, or all to
// the same kind of nothing.
type segment struct {
	page, n uint64
	kind    Kind
	write   bool
	pfn     pmem.PFN // for Frames, of the first page
	unit    uint64   // pages of the memory's own page size; for Frames
	tracked bool     // the kernel knows which pages are written
}

func (s segment) end() uint64 { return s.page + s.n }

// part returns the segment's pages in [page, end), which must overlap it.
func (s segment) part(page, end uint64) segment {
	page, end = max(page, s.page), min(end, s.end())
	if s.kind == Frames {
		s.pfn += pmem.PFN(page - s.page)
	}
	s.page, s.n = page, end-page
	return s
}

// follows reports whether t continues s, so that one mapping can serve both.
func (s segment) follows(t segment) bool {
	return s.page == t.end() && s.kind == t.kind && s.write == t.write &&
		(s.kind != Frames || s.pfn == t.pfn+pmem.PFN(t.n))
}

// segments is what a view maps: ascending, not overlapping. Pages in none of them
// have no translation.
type segments []segment

// first returns the index of the first segment that ends after page.
func (ss segments) first(page uint64) int {
	i, _ := slices.BinarySearchFunc(ss, page, func(s segment, p uint64) int {
		if s.end() <= p {
			return -1
		}
		return 1
	})
	return i
}

// each calls f for every part of a segment in [page, end), ascending.
func (ss segments) each(page, end uint64, f func(segment)) {
	for _, s := range ss[ss.first(page):] {
		if s.page >= end {
			return
		}
		f(s.part(page, end))
	}
}

// has reports whether the list already maps what s says.
func (ss segments) has(s segment) bool {
	i := ss.first(s.page)
	if i == len(ss) || ss[i].page > s.page || ss[i].end() < s.end() {
		return false
	}
	old := ss[i].part(s.page, s.end())
	return old.kind == s.kind && old.write == s.write && old.pfn == s.pfn
}

// cut removes [page, end).
func (ss *segments) cut(page, end uint64) {
	i := ss.first(page)
	var keep []segment
	j := i
	for ; j < len(*ss) && (*ss)[j].page < end; j++ {
		s := (*ss)[j]
		if s.page < page {
			keep = append(keep, s.part(s.page, page))
		}
		if s.end() > end {
			keep = append(keep, s.part(end, s.end()))
		}
	}
	*ss = slices.Replace(*ss, i, j, keep...)
}

// put removes what s overlaps and puts s there.
func (ss *segments) put(s segment) {
	ss.cut(s.page, s.end())
	*ss = slices.Insert(*ss, ss.first(s.page), s)
}
