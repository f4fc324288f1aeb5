package godax

import (
	"iter"

	"godax/pmem"
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
func (k ExtentKind) String() string { panic("soon") }

// Extent is a run of whole pages of a file.
type Extent struct {
	Off, Len int64 // bytes; the last page counts whole
	Kind     ExtentKind
	PFN      pmem.PFN // first frame; 0 for holes
	Order    uint     // size of the index entries, log2 of pages
	Dirty    bool     // stored to since the last writeback
}

// Extents yields what holds the file, in order and without gaps up to the last page.
// It asks the file system for what the index does not know, and allocates nothing.
func (f *File) Extents() iter.Seq2[Extent, error] { panic("soon") }
