package dax

import "godax/pmem"

// word is the value of an index entry (semantics, section 3.1). Order and
// presence are the index's own. It fits in xarray.ValueBits.
//
//	bits 0..47  PFN of the entry's first page (mapped only)
//	bit 48      locked
//	bit 49      zero: reads as zero, no storage
//	bit 50      mapped
//	bit 51      W: stores need no further permission
//	bit 52      cached: the frame is a copy, not the file's own storage
//	bit 53      shared: the frame holds other file pages too
//	bit 54      waiters: of a locked entry, somebody may be asleep on it
//
// Neither zero nor mapped is a placeholder: something to lock.
type word uint64

const (
	wLocked word = 1 << (pmem.PFNBits + iota)
	wZero
	wMapped
	wWrite
	wCached
	wShared
	wWaiters

	wPFN word = 1<<pmem.PFNBits - 1
)

func (w word) pfn() pmem.PFN   { return pmem.PFN(w & wPFN) }
func (w word) is(f word) bool  { return w&f != 0 }
func (w word) all(f word) bool { return w&f == f }

// at is the word of an entry that starts n pages into the run of w.
func (w word) at(n uint64) word {
	if w.is(wMapped) {
		return w + word(n)
	}
	return w
}

// answers reports whether the entry serves the intent with no question asked (Q2).
func (w word) answers(i Intent) bool {
	switch i {
	case IntentWrite:
		return w.all(wMapped | wWrite)
	case IntentUnshare:
		return w.is(wZero) || w.is(wMapped) && !w.is(wShared)
	}
	return w.is(wMapped | wZero)
}

// Kind says what backs a run of pages.
type Kind uint8

const (
	Hole   Kind = iota // reads as zero, no storage
	Direct             // frames of the file's own storage
	Cached             // frames of a copy in memory, written back
)

func (k Kind) String() string { return [...]string{"hole", "direct", "cached"}[k] }

func (w word) kind() Kind {
	switch {
	case w.is(wCached):
		return Cached
	case w.is(wMapped):
		return Direct
	}
	return Hole
}

// pages is the number of pages of an entry of the given order.
func pages(order uint) uint64 { return 1 << order }

// base is the first page of the aligned run of the given order around page.
func base(page uint64, order uint) uint64 { return page &^ (pages(order) - 1) }

// pageOf is the page that holds byte off.
func pageOf(off int64) uint64 { return uint64(off) / pmem.PageSize }

// pagesUp is the number of pages that n bytes reach into.
func pagesUp(n int64) uint64 { return (uint64(n) + pmem.PageSize - 1) / pmem.PageSize }

// alignedOrder is the largest order, at most limit, of an aligned run that starts
// at page and has at most n pages.
func alignedOrder(page, n uint64, limit uint) uint {
	order := limit
	for order > 0 && (page&(pages(order)-1) != 0 || pages(order) > n) {
		order--
	}
	return order
}

// lastPage is the last page of the run of n pages at page; n may be ToEnd.
func lastPage(page, n uint64) uint64 {
	if last := page + n - 1; last >= page {
		return last
	}
	return ToEnd
}
