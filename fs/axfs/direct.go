package axfs

import (
	"bytes"

	"godax/dax"
	"godax/fs/axfs/internal/format"
	"godax/pmem"
)

// direct returns the run of pages that can be mapped where they are, from a page of the
// file on, at most limit pages long: where it begins, in pages of the xip region, and how
// many it has. None if the page itself cannot be.
func (fl *file) direct(page, limit uint64) (at, n uint64) {
	f := fl.fs
	if f.mapDev == nil {
		return 0, 0
	}
	per := uint64(f.sb.PageSize()) / pmem.PageSize // of our pages in one of the image
	pages := (fl.size + pmem.PageSize - 1) / pmem.PageSize
	if page >= pages {
		return 0, 0
	}
	limit = min(limit, pages-page)
	for n < limit {
		kind, index, err := f.kind(fl.node((page + n) * pmem.PageSize))
		if err != nil || kind != format.NodeXIP || index >= f.xip.size>>f.sb.PageShift {
			break
		}
		here := index*per + (page+n)%per
		if n == 0 {
			at = here
		} else if here != at+n {
			break
		}
		n += min(per-(page+n)%per, limit-n)
	}
	if n > 0 && (page+n)*pmem.PageSize > fl.size && !fl.tailIsZero(at+n-1) {
		n--
	}
	return at, n
}

// tailIsZero reports whether the page of the xip region that the end of the file lies in is
// zero behind the end, so that it can be shown.
func (fl *file) tailIsZero(at uint64) bool {
	in := fl.size % pmem.PageSize
	b, err := fl.fs.xip.bytes(at*pmem.PageSize+in, pmem.PageSize-in)
	return err == nil && bytes.Equal(b, zeroPage[:len(b)])
}

var zeroPage [pmem.PageSize]byte

// key names the bytes of a piece, whichever file's they are.
func (p piece) key() dax.FrameKey {
	if p.kind == format.NodeCompressed {
		return dax.FrameKey{p.kind<<62 | p.off<<16 | p.n, p.cblock} // off is below 2^21
	}
	return dax.FrameKey{p.kind<<62 | p.n, p.off}
}

// sharedPages reports whether one of the n pages from page at of the xip region on is a page of
// more than one file, or several of one.
func (f *FS) sharedPages(at, n uint64) bool {
	f.sharedOnce.Do(f.countPages)
	per := uint64(f.sb.PageSize()) / pmem.PageSize
	first, last := at/per, (at+n-1)/per
	return f.shared.any(first, last-first+1)
}

// countPages finds the pages of the xip region that are used more than once. A node counts
// as often as files have it; those that no file has, as builders put at the end, do not count.
func (f *FS) countPages() {
	pages := f.xip.size >> f.sb.PageShift
	f.shared = newBitmap(pages)
	begin := make([]int32, f.nodes+1) // files whose first node this is, without those that ended before
	for n := range f.sb.Files {
		var in info
		if err := f.info(n, &in); err != nil || !in.hasNodes() || in.num == 0 {
			continue
		}
		begin[in.first]++
		begin[in.first+in.num]--
	}
	used := newBitmap(pages)
	files := int32(0)
	for node := range f.nodes {
		if files += begin[node]; files == 0 {
			continue
		}
		kind, index, err := f.kind(node)
		if err != nil || kind != format.NodeXIP || index >= pages {
			continue
		}
		if used.add(index) || files > 1 {
			f.shared.add(index)
		}
	}
}
