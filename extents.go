package godax

import (
	"iter"
	"syscall"

	"godax/dax"
	"godax/pmem"
	"godax/vfs"
)

// ExtentKind is what holds a run of a file.
type ExtentKind uint8

const (
	Hole      ExtentKind = iota // nothing: reads as zero
	Unwritten                   // storage that reads as zero
	Direct                      // page frames of the device
	Cached                      // frames that hold a copy, since the blocks cannot be mapped
)

// String is the kind in lower case.
func (k ExtentKind) String() string {
	return [...]string{"hole", "unwritten", "direct", "cached"}[k&3]
}

// Extent is a run of whole pages of a file.
type Extent struct {
	Off, Len int64 // bytes; the last page counts whole
	Kind     ExtentKind
	PFN      pmem.PFN // first frame; 0 for Hole and Unwritten
	Order    uint     // the largest page that can map a part of the run, log2 of pages
	Huge     int64    // bytes of a Direct run that pages of 2 MiB can map
	Dirty    bool     // stored to since the last writeback
}

// Extents yields what holds the file, in order and without gaps up to the last page.
// It asks the file system for what the index does not know, and allocates nothing.
// Changes of the file meanwhile may show or not. It ends after the first error; EISDIR
// is that of a directory.
func (f *File) Extents() iter.Seq2[Extent, error] {
	return func(yield func(Extent, error) bool) {
		file := f.h.File()
		if file == nil {
			yield(Extent{}, f.wrap("extents", syscall.EISDIR))
			return
		}
		if err := f.h.Ref(); err != nil {
			yield(Extent{}, f.wrap("extents", err))
			return
		}
		defer f.h.Node().Put()
		for e, err := range file.Mapping().Entries(background, 0, dax.ToEnd, file) {
			if err != nil {
				yield(Extent{}, f.wrap("extents", err))
				return
			}
			if !f.yieldEntry(e, yield) {
				return
			}
		}
	}
}

// yieldEntry yields a run of the index; one that reads as zero in the pieces that the
// file system tells apart.
func (f *File) yieldEntry(e dax.Entry, yield func(Extent, error) bool) bool {
	x := Extent{
		Off: int64(e.Page) * pmem.PageSize, Len: int64(e.N) * pmem.PageSize,
		PFN: e.PFN, Order: e.Order, Dirty: e.Dirty,
	}
	switch e.Kind {
	case dax.Direct:
		x.Kind = Direct
		x.Huge = int64(e.HugePages(dax.PMDOrder)) * pmem.PageSize
		return yield(x, nil)
	case dax.Cached:
		x.Kind = Cached
		return yield(x, nil)
	}
	for end := x.Off + x.Len; x.Off < end; x.Off += x.Len {
		var next int64
		x.Kind, next = f.zeroPiece(x.Off, end)
		for next < end {
			kind, more := f.zeroPiece(next, end)
			if kind != x.Kind {
				break
			}
			next = more
		}
		x.Len = next - x.Off
		if !yield(x, nil) {
			return false
		}
	}
	return true
}

// zeroPiece tells why [off, end) reads as zero, and where, at end at the latest, that
// ceases to be true.
func (f *File) zeroPiece(off, end int64) (ExtentKind, int64) {
	e, err := f.h.Extent(off)
	if err != nil {
		return Hole, end // past the end of a file that has shrunk
	}
	kind := Hole
	if e.Kind == vfs.ExtentUnwritten {
		kind = Unwritten
	}
	return kind, min(pageUp(e.Off+e.Len), end)
}

// pageUp rounds up to whole pages; the largest offsets stay.
func pageUp(off int64) int64 {
	if up := (off + pmem.PageSize - 1) &^ (pmem.PageSize - 1); up >= off {
		return up
	}
	return off
}

// Stats counts what DAX did for the file since it came into memory; nil for a
// directory.
func (f *File) Stats() *dax.Stats {
	file := f.h.File()
	if file == nil {
		return nil
	}
	return file.Mapping().Stats()
}
