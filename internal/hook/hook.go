// Package hook lets tests watch and hold the inside of the core. Without the build
// tag daxdebug or the race detector every function here is empty and Enabled is
// false, so that nothing of it is left in a program.
//
// Three things are reported: that a goroutine is at a pause point ([At]), that it
// is about to take a lock, has it, or gives it back ([Want], [Acquire], [Release]), and
// that it is about to sleep ([Block]). A test sets one [Hooks] for the whole process with [Set].
package hook

// Point is a place where a test can hold a goroutine.
type Point uint8

// The pause points of the test scenarios, section 1. What a point is called with as
// page is the page that the operation is about.
const (
	_                Point = iota
	FaultChecked           // HP1: fault: end of file checked, slot not taken
	SlotLocked             // HP2: slot locked, the file system not asked
	ExtentKnown            // HP3: in PopulatePFNs: extent known, nothing inserted
	EntryStored            // HP4: entry stored, DIRTY not set
	DirtySet               // HP5: DIRTY set, translation not installed
	Installed              // HP6: translation installed, slot locked
	WriteAllocated         // HP7: write: answer known, index and views not changed
	WriteInvalidated       // HP8: write: entry stored, no byte copied
	WritePiece             // HP9: write: between two copied pieces
	WritebackTagged        // HP10: writeback: range tagged, no entry locked
	TowriteCleared         // HP11: writeback: entry locked, TOWRITE cleared, views not protected
	Protected              // HP12: writeback: views protected, not flushed
	Flushed                // HP13: writeback: flushed, DIRTY not cleared
	LayoutIdle             // HP14: layout change: nothing busy, entries not removed
	LayoutRemoved          // HP15: layout change: entries removed, blocks not freed
	SizePublished          // HP16: truncate: size published, second unmap not done
	LayoutWaits            // HP17: layout change: about to wait for a pin, locks dropped
	SyncPending            // HP18: sync fault: metadata pending, commit not started
	WaiterQueued           // HP19: waiter queued, not asleep
	PoisonFound            // HP20: poison: users looked up, entry not locked
	OrderChosen            // HP21: the VM chose huge or small, DAX not entered
	IndexAllocates         // HP22: an index node is allocated
	LayoutUnmapped         // layout change: translations gone, pins not looked for again
	Points           int   = iota
)

// Rank is a lock's place in the lock order, outermost first. A goroutine that holds a
// lock may wait only for locks of a larger rank.
type Rank uint8

// The lock order of package dax.
const (
	NoRank Rank = iota
	Freeze
	Inode
	Mmap        // of a view, held during an access and its faults; under Inode when a view is a user buffer
	FaultFreeze // freeze protection of a fault, which has Mmap already
	Fill
	Inval
	Transaction
	Writeback
	Entry
	Extent
	Views
	Index
	PageTable
)

func (r Rank) String() string {
	return [...]string{"no rank", "freeze", "inode", "mmap", "freeze of faults", "fill", "inval", "transaction", "writeback", "entry", "extent", "views", "index", "page table"}[r]
}

// Hooks is what a test wants to be told. Any of them may be nil. They are called in the
// goroutine that does it, and may hold it up.
type Hooks struct {
	// At: the goroutine is at a point, on behalf of a page of obj (a *dax.Mapping, or a
	// view for OrderChosen).
	At func(p Point, obj any, page uint64)

	// Want: the goroutine is about to take a lock, and will wait for it if it must. It
	// does not have it yet. Without it, Acquire is all that is told.
	Want func(r Rank, obj any, page uint64)

	// Acquire: the goroutine has got a lock: obj, and for Entry the page. try says that it
	// did not wait for it. Release: it gives the lock back.
	Acquire func(r Rank, obj any, page uint64, try bool)
	Release func(r Rank, obj any, page uint64)

	// Block: the goroutine sleeps until ready or done is closed (either may be nil), or has
	// something sent. It does so itself after Block returns.
	Block func(ready, done <-chan struct{})
}
