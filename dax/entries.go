package dax

import (
	"context"
	"iter"

	"godax/pmem"
)

// Entry is a run of pages of one kind.
type Entry struct {
	Page, N uint64
	Kind    Kind
	PFN     pmem.PFN // of the first page; 0 for a hole
	Order   uint     // the largest page that can map a part of the run, log2 of pages
	Dirty   bool
	Attr    Attr // Writable, SharedPFN
}

// entryOf describes a run by its first word.
func entryOf(page, n uint64, w word, dirty bool) Entry {
	e := Entry{Page: page, N: n, Kind: w.kind(), Dirty: dirty}
	if w.is(wMapped) {
		e.PFN = w.pfn()
	}
	if w.is(wWrite) {
		e.Attr |= Writable
	}
	if w.is(wShared) {
		e.Attr |= SharedPFN
	}
	e.Order = e.mapOrder()
	return e
}

// mapOrder is the largest order of an aligned run, in the file and in the frames,
// that lies inside the run.
func (e *Entry) mapOrder() uint {
	const pudOrder = 2 * PMDOrder
	for order := uint(pudOrder); order > 0; order-- {
		size := pages(order)
		first := (e.Page + size - 1) &^ (size - 1)
		aligned := e.Kind == Hole || (uint64(e.PFN)-e.Page)&(size-1) == 0
		if aligned && first >= e.Page && first-e.Page+size <= e.N {
			return order
		}
	}
	return 0
}

// HugePages is how many pages of the run can be mapped by translations of the
// given order.
func (e *Entry) HugePages(order uint) uint64 {
	size := pages(order)
	if e.Kind != Direct || (uint64(e.PFN)-e.Page)&(size-1) != 0 {
		return 0
	}
	first, end := (e.Page+size-1)&^(size-1), (e.Page+e.N)&^(size-1)
	if end <= first {
		return 0
	}
	return end - first
}

// Entries yields what holds the n pages from page on, up to the end of the file,
// in order and joined to runs as long as they are. Where the index has nothing it
// asks p for reading. It ends after the first error. ctx may be nil.
//
// Locks: none held while it yields. The caller keeps the inode lock shared if the
// runs are to belong to one moment.
func (m *Mapping) Entries(ctx context.Context, page, n uint64, p Populator) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		last := lastPage(page, n)
		var have Entry
		for at := page; n > 0 && at <= last && at < m.pageEnd(); {
			e, err := m.entry(ctx, at, last, p)
			if err != nil {
				if have.N == 0 || yield(have, nil) {
					yield(Entry{}, err)
				}
				return
			}
			at += e.N
			if have.join(e) {
				continue
			}
			if have.N > 0 && !yield(have, nil) {
				return
			}
			have = e
		}
		if have.N > 0 {
			yield(have, nil)
		}
	}
}

// entry returns the part of the index entry around page that lies in [page, last]
// and before the end of the file.
func (m *Mapping) entry(ctx context.Context, page, last uint64, p Populator) (Entry, error) {
	for {
		if err := canceled(ctx); err != nil {
			return Entry{}, err
		}
		m.mu.Lock()
		val, order, ok := m.index.Load(page)
		dirty := ok && m.index.Marked(page, markDirty)
		m.mu.Unlock()
		w := word(val)
		if ok && w.is(wMapped|wZero) {
			first := base(page, order)
			end := min(first+pages(order), max(m.pageEnd(), page+1))
			return entryOf(page, min(end-page-1, last-page)+1, w.at(page-first), dirty), nil
		}
		if err := m.fill(ctx, page, p); err != nil {
			return Entry{}, err
		}
	}
}

// join appends b to e if it goes on where e ends.
func (e *Entry) join(b Entry) bool {
	if e.N == 0 || e.Page+e.N != b.Page || e.Kind != b.Kind || e.Dirty != b.Dirty || e.Attr != b.Attr {
		return false
	}
	if e.Kind != Hole && e.PFN+pmem.PFN(e.N) != b.PFN {
		return false
	}
	e.N += b.N
	e.Order = e.mapOrder()
	return true
}
