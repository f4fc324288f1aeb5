package vm

import (
	"errors"

	"godax/pmem"
)

// Memory on large pages can be mapped, and taken away, in whole ones only.

// widenLocked makes [page, end) begin and end between pages of the memory that is
// mapped there: a large page cannot be taken away in part.
func (v *ProcessView) widenLocked(page, end uint64) (uint64, uint64) {
	if i := v.segs.first(page); i < len(v.segs) && v.segs[i].page < page {
		page = v.wholeLocked(page).page
	}
	if i := v.segs.first(end - 1); i < len(v.segs) && v.segs[i].page < end {
		end = max(end, v.wholeLocked(end-1).end())
	}
	return page, end
}

// wholeLocked returns the page of the mapped memory, large or not, around a page
// that some segment has.
func (v *ProcessView) wholeLocked(page uint64) pageRun {
	s := v.segs[v.segs.first(page)]
	unit := max(s.unit, 1)
	return pageRun{page - (page-s.page)%unit, unit}
}

// mapWholeLocked maps a segment; where the memory has large pages, as much of it as is whole
// ones. The rest fails.
func (v *ProcessView) mapWholeLocked(s segment) error {
	unit := memoryUnit(s)
	if unit == 1 {
		return v.mapLocked(s)
	}
	v.large = max(v.large, unit)
	at := uint64(v.area.addr(v.offset(s.page))) / pmem.PageSize
	odd := -at % unit
	if odd >= s.n || s.n-odd < unit {
		return v.mapLocked(s)
	}
	body := s.page + odd
	end := body + (s.n-odd)/unit*unit
	var err error
	for _, part := range [...]pageRun{{s.page, odd}, {body, end - body}, {end, s.end() - end}} {
		if part.n > 0 {
			err = errors.Join(err, v.mapLocked(s.part(part.page, part.page+part.n)))
		}
	}
	return err
}

// memoryUnit is how many pages a page of the memory behind a segment has.
func memoryUnit(s segment) uint64 {
	if s.kind != Frames {
		return 1
	}
	if dev, ok := pmem.Lookup(s.pfn); ok {
		if m, ok := dev.(pmem.Mappable); ok {
			_, _, size := m.Backing()
			return max(uint64(size)/pmem.PageSize, 1)
		}
	}
	return 1
}

// unitsLocked makes [page, end) begin and end between addresses of large pages, or with the
// view.
func (v *ProcessView) unitsLocked(page, end uint64) (uint64, uint64) {
	at := uint64(v.area.addr(0)) / pmem.PageSize
	first, last := at+page-v.page, at+end-v.page
	first -= first % v.large
	last += -last % v.large
	return v.page + max(first, at) - at, v.page + min(last-at, v.n)
}

// cutPendingLocked takes the pages [page, end) out of what is to be mapped. What lies behind
// them there is to be installed once more.
func (v *ProcessView) cutPendingLocked(page, end uint64) {
	p := v.pending
	if !Overlap(p.page, p.n, page, end-page) {
		return
	}
	if p.end() > end {
		v.stale.add(end, p.end()-end)
	}
	v.pending = segment{}
	if p.page < page {
		v.pending = p.part(p.page, page)
	}
}
