package build

import (
	"cmp"
	"math/bits"
	"slices"
)

// Sizes of memory pages that runs are placed for.
const (
	hugeSize   = 2 << 20
	mediumSize = 64 << 10
)

// segment is a run of XIP pages of a file, at page at of the region.
type segment struct {
	span
	at   uint64
	same *segment // it lies where this one does, which came before
	sum  digest   // of the contents, if duplicates are sought
	sums []digest // of the pages, until it has its place
}

// holds reports whether a run has a whole block of align pages, aligned in the file.
func (s span) holds(align uint64) bool {
	first := (s.page + align - 1) / align * align
	return first+align <= s.end()
}

// placer gives runs their place in the XIP region. It counts in pages; the region
// begins at a multiple of the largest alignment that is needed.
type placer struct {
	huge, medium uint64 // pages in hugeSize, mediumSize
	end          uint64 // of what is placed
	gaps         [64][]span
	gapPages     uint64 // in gaps
	budget       uint64 // pages that gaps before huge runs may take
}

func newPlacer(pageSize int64) *placer {
	return &placer{huge: hugeSize / uint64(pageSize), medium: mediumSize / uint64(pageSize)}
}

// up is the first page at or after at that is congruent to page modulo align.
func up(at, page, align uint64) uint64 { return at + (page%align+align-at%align)%align }

// lay places the runs of a file from page at on, and returns where they end.
func (p *placer) lay(segs []*segment, at uint64) uint64 {
	for _, s := range segs {
		start := at
		switch {
		case s.holds(p.huge) && up(at, s.page, p.huge)-at <= p.budget:
			start = up(at, s.page, p.huge)
			p.budget -= start - at
		case s.holds(p.medium):
			if start = up(at, s.page, p.medium); start-at > s.n/4 {
				start = at
			}
		}
		p.free(span{at, start - at})
		s.at = start
		at = start + s.n
	}
	return at
}

// free notes a gap.
func (p *placer) free(gap span) {
	if gap.n > 0 {
		k := bits.Len64(gap.n) - 1
		p.gaps[k] = append(p.gaps[k], gap)
		p.gapPages += gap.n
	}
}

// maxLook bounds how many gaps that may be too small are looked at.
const maxLook = 8

// take returns a gap of n pages or more, and takes it off the list.
func (p *placer) take(n uint64) (span, bool) {
	for k := bits.Len64(n) - 1; k < len(p.gaps); k++ {
		gaps := p.gaps[k]
		for i := len(gaps) - 1; i >= max(0, len(gaps)-maxLook); i-- {
			if gap := gaps[i]; gap.n >= n {
				p.gaps[k] = slices.Delete(gaps, i, i+1)
				p.gapPages -= gap.n
				return gap, true
			}
		}
	}
	return span{}, false
}

// place places a file's runs in a gap if one has room for all, else at the end.
func (p *placer) place(segs []*segment) {
	need := uint64(0)
	for _, s := range segs {
		if s.holds(p.huge) {
			p.end = p.lay(segs, p.end)
			return
		}
		need += s.n
		if s.holds(p.medium) {
			need += min(p.medium-1, s.n/4) // the gap that lay may leave
		}
	}
	gap, ok := p.take(need)
	if !ok {
		p.end = p.lay(segs, p.end)
		return
	}
	end := p.lay(segs, gap.page)
	p.free(span{end, gap.end() - end})
}

// runKey finds runs of the same contents.
type runKey struct {
	sum digest
	n   uint64
}

// place gives all runs of XIP pages their place, and the region its own. Runs with the same
// contents get the same place.
func (b *builder) place() {
	p := newPlacer(b.pageSize)
	first := make(map[runKey]*segment)
	var files [3][][]*segment // by the largest page that they hold: huge, medium, none
	for _, n := range b.nodes {
		var own []*segment
		class := 2
		for i := range n.segs {
			s := &n.segs[i]
			if !b.o.NoDedup {
				key := runKey{s.sum, s.n}
				if s.same = first[key]; s.same != nil {
					continue
				}
				first[key] = s
			}
			own = append(own, s)
			if s.holds(p.huge) {
				class = 0
			} else if s.holds(p.medium) {
				class = min(class, 1)
			}
		}
		if own != nil {
			files[class] = append(files[class], own)
		}
	}
	// Long runs first: they gain most by what gaps take.
	slices.SortStableFunc(files[0], func(a, b []*segment) int { return cmp.Compare(pagesIn(b), pagesIn(a)) })
	others := pagesIn(slices.Concat(slices.Concat(files[1:]...)...)) // what can fill gaps
	total := others + pagesIn(slices.Concat(files[0]...))
	p.budget = others + total*uint64(b.o.MaxPadding)/100
	for _, class := range files {
		for _, segs := range class {
			p.place(segs)
		}
	}
	b.xipPages, b.stats.XIPPadding = p.end, p.gapPages
	b.xipBase = b.pageSize
	if len(files[1]) > 0 {
		b.xipBase = mediumSize
	}
	if len(files[0]) > 0 {
		b.xipBase = hugeSize
	}
	b.settle(p)
}

// pagesIn is the number of pages of runs.
func pagesIn(segs []*segment) (n uint64) {
	for _, s := range segs {
		n += s.n
	}
	return n
}

// settle notes the places of runs that share one, of their pages, and counts.
func (b *builder) settle(p *placer) {
	b.xipHash = make(map[digest]uint64)
	for _, n := range b.nodes {
		for i := range n.segs {
			s := &n.segs[i]
			if s.same != nil {
				s.at = s.same.at
				b.stats.DupPages += s.n
				b.stats.DupPageBytes += s.n * uint64(b.pageSize)
				continue
			}
			b.stats.XIPRuns++
			b.stats.XIPPages += s.n
			b.stats.Huge += s.whole(p.huge)
			b.stats.Medium += s.whole(p.medium)
			for k, sum := range s.sums {
				if _, ok := b.xipHash[sum]; !ok {
					b.xipHash[sum] = s.at + uint64(k)
				}
			}
			s.sums = nil
		}
	}
}

// whole is how many pages of a run can be mapped in pages of align.
func (s *segment) whole(align uint64) uint64 {
	if s.at%align != s.page%align || !s.holds(align) {
		return 0
	}
	return s.end()/align*align - (s.page+align-1)/align*align
}
