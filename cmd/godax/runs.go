package main

import (
	"context"

	"godax"
	"godax/pmem"
)

// pmdPages is the number of pages that x86-64 and arm64 map as one huge page.
const pmdPages = 512

// pageRun is a run of pages of a file that are all of one kind, with consecutive
// frames if they have any.
type pageRun struct {
	Page  uint64   `json:"page"`
	Pages uint64   `json:"pages"`
	Kind  string   `json:"kind"`
	PFN   pmem.PFN `json:"pfn,omitempty"`
	Order uint     `json:"order"` // of the index entries, log2 of pages
	Dirty bool     `json:"dirty"`

	kind godax.ExtentKind
}

// runsOf reads what holds the file. Entries that continue each other and agree in
// everything are one run.
func runsOf(ctx context.Context, f *godax.File) ([]pageRun, error) {
	var runs []pageRun
	for e, err := range f.Extents() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return runs, err
		}
		r := pageRun{
			Page: uint64(e.Off) / pmem.PageSize, Pages: uint64(e.Len) / pmem.PageSize,
			Kind: e.Kind.String(), PFN: e.PFN, Order: e.Order, Dirty: e.Dirty, kind: e.Kind,
		}
		if n := len(runs); n > 0 && runs[n-1].continues(r) {
			runs[n-1].Pages += r.Pages
			continue
		}
		runs = append(runs, r)
	}
	return runs, nil
}

// hasFrames reports whether page frames hold the run.
func (r pageRun) hasFrames() bool { return r.kind == godax.Direct || r.kind == godax.Cached }

// continues reports whether next can be counted to r.
func (r pageRun) continues(next pageRun) bool {
	if next.Page != r.Page+r.Pages || next.kind != r.kind || next.Dirty != r.Dirty {
		return false
	}
	return !r.hasFrames() || next.PFN == r.PFN+pmem.PFN(r.Pages) && next.Order == r.Order
}

// usage is what a file's pages are.
type usage struct {
	Pages     uint64 `json:"pages"`
	Direct    uint64 `json:"direct_pages"`
	Cached    uint64 `json:"cached_pages"`
	Hole      uint64 `json:"hole_pages"`
	Unwritten uint64 `json:"unwritten_pages"`
	Dirty     uint64 `json:"dirty_pages"`
	PMD       uint64 `json:"pmd_mappable_pages"` // that a 2 MiB page can map
	Frames    uint64 `json:"frame_runs"`         // contiguous on the device
}

// tally adds up runs.
func tally(runs []pageRun) usage {
	var u usage
	var whole pageRun // direct frames that continue each other, whatever their orders
	flush := func() {
		u.PMD += pmdMappable(whole.Page, uint64(whole.PFN), whole.Pages)
		whole = pageRun{}
	}
	for _, r := range runs {
		u.Pages += r.Pages
		if r.Dirty {
			u.Dirty += r.Pages
		}
		switch r.kind {
		case godax.Direct:
			u.Direct += r.Pages
		case godax.Cached:
			u.Cached += r.Pages
		case godax.Hole:
			u.Hole += r.Pages
		case godax.Unwritten:
			u.Unwritten += r.Pages
		}
		if r.kind == godax.Direct && whole.Pages > 0 && r.Page == whole.Page+whole.Pages && r.PFN == whole.PFN+pmem.PFN(whole.Pages) {
			whole.Pages += r.Pages
			continue
		}
		flush()
		if r.kind == godax.Direct {
			whole = r
			u.Frames++
		}
	}
	flush()
	return u
}

// pmdMappable is how many of n pages at page, in the frames from pfn on, lie in whole
// aligned huge pages of file and device at once.
func pmdMappable(page, pfn, n uint64) uint64 {
	if (page^pfn)%pmdPages != 0 {
		return 0
	}
	skip := -page % pmdPages
	if n < skip {
		return 0
	}
	return (n - skip) / pmdPages * pmdPages
}
