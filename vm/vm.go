// Package vm is the virtual memory side of DAX: windows onto files and the
// translations in them.
//
// A [View] (a VMA in Linux) is one window of one file in one address space. The
// file keeps its views in a [Views], the reverse mapping, so that DAX can take
// translations back. Two backends implement View: [ProcessView], real mappings of this
// process, and package vm/sim, page tables in software. Nothing here, and nothing
// above, assumes that a view lies in this process.
//
// A view that meets an access it has no translation for calls its file's
// [Handler] with a [Fault] (step 1 of the design). The handler calls DAX, and DAX
// calls [View.Install] while it holds the entry's lock.
package vm

import (
	"context"
	"errors"

	"godax/pmem"
)

// Flags are a view's properties.
type Flags uint8

const (
	Read   Flags = 1 << iota // loads are allowed
	Write                    // stores are allowed
	Shared                   // stores reach the file; without it they go to private copies
	Sync                     // MAP_SYNC: a store is possible only when the metadata to find it is durable
	NoHuge                   // MADV_NOHUGEPAGE: only single pages are mapped; a handler falls back (F13)
)

// SharedWrite reports whether stores through the view reach the file.
func (f Flags) SharedWrite() bool { return f&(Shared|Write) == Shared|Write }

// Access is what the faulting access wants.
type Access uint8

const (
	Load    Access = iota // read
	Store                 // write, nothing is mapped
	MkWrite               // write to a present read-only translation
)

// Fault is one access that a view could not serve. It belongs to the caller and
// is valid during the call.
type Fault struct {
	Ctx    context.Context // may be nil; bounds every wait
	View   View
	Page   uint64 // page of the file
	Order  uint   // wanted size, log2 of pages; 0 is a single page
	Access Access
	NoWait bool // answer ErrWouldBlock instead of sleeping

	// CowPage is the private page that a store to a private view copies the file's
	// page into, PageSize bytes; nil for every other access.
	CowPage []byte

	// Seq is between the two halves of a handler that answers in two steps
	// (dax.Mapping.FinishSync): the first sets it, the second looks at it.
	Seq uint64

	// Major is set by the handler if storage was allocated or filled for the fault.
	Major bool
}

// Handler is a file's fault: the file system's side of step 1. Beyond nil it
// returns:
//   - [ErrFallback]: not at this order; ask again with a smaller one;
//   - [ErrRetry]: the state changed, repeat the access;
//   - anything else: the access raises SIGBUS, and the error says why.
type Handler interface {
	Fault(*Fault) error
}

// HandlerFunc makes a [Handler] of a function.
type HandlerFunc func(*Fault) error

// Fault calls f.
func (f HandlerFunc) Fault(ft *Fault) error { return f(ft) }

var (
	ErrFallback = errors.New("vm: fall back to a smaller page")
	ErrRetry    = errors.New("vm: retry the access")
)

// Kind is what a translation leads to.
type Kind uint8

const (
	Frames  Kind = iota // the frames PFN, PFN+1, ...
	Zero                // the shared zero page, read-only
	Private             // the private copy in Translation.Copy (one page)
	Gone                // nothing: an access raises SIGBUS
)

// Translation is what [View.Install] puts into a view.
type Translation struct {
	Page  uint64 // first page of the file
	N     uint64 // pages; at a demand fault 2^order, aligned; for a Prefaulter any run inside the view
	Kind  Kind
	PFN   pmem.PFN // for Frames
	Write bool     // stores are allowed (Frames only)
	Copy  []byte   // for Private
}

// View is one window of a file.
//
// Locks: a view has a lock of its own, the page-table lock, innermost in the lock
// order. Install, Unmap and Protect may be called with an entry lock held, and
// never call back into DAX or the file system.
type View interface {
	// Bounds returns the file page of the view's first page and its length in pages.
	// Both never change.
	Bounds() (page, n uint64)

	// Flags never change.
	Flags() Flags

	// Congruent reports whether the aligned run of 2^order pages around page lies
	// inside the view and has the same colour in the address space as in the file
	// (F1, F3), and the view can map that order at all.
	Congruent(page uint64, order uint) bool

	// Install puts a translation in place. Where one is present: the same frame means
	// upgrade of the permission in place; a zero page met by a frame, or a small table
	// met by a huge one, is ErrRetry; a huge zero page that meets another huge
	// translation is ErrFallback (F12), and so is any huge one in a NoHuge view; another
	// frame is an error.
	// For a view that is a Prefaulter, whatever is present is replaced.
	Install(t Translation) error

	// Unmap takes away every translation of the file pages [page, page+n), at all
	// orders (a huge one that is only partly inside as well). Private copies stay
	// unless copies is set. A Prefaulter view remembers the range as stale.
	// The range may lie partly or wholly outside the view.
	Unmap(page, n uint64, copies bool)

	// Protect takes the permission to store, and the dirty bit, off every shared
	// translation of the range, at all orders (mkclean). A Collector does this in
	// Collect, and nothing here.
	Protect(page, n uint64)
}

// Collector is a view that knows from the hardware which of its pages were
// written, and is not write-protected for that: a writable translation in it does
// not mean DIRTY until its page is collected.
type Collector interface {
	View

	// Collect calls found for each run of pages in [page, page+n) stored to since the
	// last collection, ascending, and in the same step arms the detection of the next
	// store. A backend that cannot know calls found for everything writable.
	Collect(page, n uint64, found func(page, n uint64)) error
}

// Prefaulter is a view without demand faults: it is filled when it is made and
// after every operation that took translations away.
type Prefaulter interface {
	View

	// TakeStale returns a run of pages that need translations and forgets it: all
	// pages at first, later what Unmap took away. ok is false when none is left.
	TakeStale() (page, n uint64, ok bool)

	// Complete makes every Install before it effective; installs may be merged until
	// then. Called without an entry lock, under the mapping's invalidate lock.
	Complete() error
}
