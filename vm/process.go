package vm

import (
	"errors"

	"godax/pmem"
)

// Errors of a [ProcessView], beside those of the system calls (EACCES for a
// writable view of a read-only device; ENOMEM also when the views of this process
// have half as many mappings as vm.max_map_count allows).
var (
	// ErrNotMappable: the frames cannot be mapped into a process: their device keeps
	// its memory to itself, or its pages are larger than the run is aligned to.
	ErrNotMappable = errors.New("vm: not mappable")

	// ErrClosed: the view was closed.
	ErrClosed = errors.New("vm: view is closed")
)

// ViewOptions are the choices for [NewView].
type ViewOptions struct {
	// Align is the offset, in bytes, of the view's first page in the file behind the
	// device, or what it would be if the frames were consecutive. The view is put at
	// an address that equals it modulo 2 MiB, or modulo 1 GiB if the view is that
	// long, because only then can the kernel use pages of these sizes. [AlignTo]
	// computes it.
	Align uint64

	// Prefault enters the pages of volatile devices into the page tables as the view
	// is filled for the first time, so that later accesses raise no faults in the
	// kernel. It costs time and page tables in proportion to the length. It never
	// causes input or output.
	Prefault bool

	// NoTracking makes a writable shared view as on a kernel without asynchronous
	// write protection: every writable page counts as written in each Collect.
	NoTracking bool
}

// AlignTo returns the [ViewOptions].Align for a view that starts at file page
// first and whose page at has the frame pfn. For frames without a device, or one
// that cannot be mapped, it is the colour of the page in the file.
func AlignTo(first, at uint64, pfn pmem.PFN) uint64 {
	if dev, ok := pmem.Lookup(pfn); ok {
		if m, ok := dev.(pmem.Mappable); ok {
			_, off, _ := m.Backing()
			return uint64(off) + (pfn.Page()+first-at)*pmem.PageSize
		}
	}
	return first * pmem.PageSize
}
