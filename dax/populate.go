package dax

// Intent says why pages are asked for.
type Intent uint8

const (
	// IntentRead: loads follow; nothing may be allocated, unshared or charged, and it
	// must work on a full or read-only file system.
	IntentRead Intent = iota
	// IntentWrite: stores follow; allocate, initialise, break sharing.
	IntentWrite
	// IntentSource: the bytes are copied into a private page; do not allocate, do not
	// authorise.
	IntentSource
	// IntentUnshare: storage that other files have too is to be replaced by a copy
	// (InsertCopy). What is not shared is answered as for IntentRead, Writable if it can
	// be; holes stay holes.
	IntentUnshare
)

func (i Intent) String() string { return [...]string{"read", "write", "source", "unshare"}[i] }

// allocates reports whether storage may be allocated to answer.
func (i Intent) allocates() bool { return i == IntentWrite || i == IntentUnshare }

// Populator finds page frames for parts of a file: step 4. It is what a file
// system implements to be a DAX file system.
//
// PopulatePFNs answers r by calling r.Insert, r.InsertCached or r.Hole, or by way
// of block.CreatePFNs. Promises P1 to P15 of the DAX semantics, in short:
//
// Preconditions:
//   - r.Page is before the end of the file, or r extends the file;
//   - the page's slot is locked, so nobody else asks about it.
//
// Postconditions:
//   - r.Page is answered, or an error says why not;
//   - every answer is true now, and stays true until the file system itself has
//     run BreakLayout or Invalidate over it;
//   - with IntentWrite storage is allocated, zeroed and unshared.
//
// Locks: called with the invalidate lock shared or the inode lock exclusive, and
// an entry lock; it may take file system locks, and must not take the inode lock,
// the invalidate lock, or wait for another entry lock.
type Populator interface {
	PopulatePFNs(r *Request) error
}

// PopulateFunc is the callback form of [Populator].
type PopulateFunc func(r *Request) error

// PopulatePFNs calls f.
func (f PopulateFunc) PopulatePFNs(r *Request) error { return f(r) }

// Attr says what else is true of inserted frames.
type Attr uint8

const (
	// Writable (W): stores need no further permission. Never for shared frames,
	// never on a read-only file system.
	Writable Attr = 1 << iota
	// SharedPFN: the frames hold other file pages too (P14).
	SharedPFN
	// New: the storage was allocated by this call (and is zeroed).
	New
)

// Request is one question to a file system: which frames, and why. It is valid
// during the PopulatePFNs call only. Its exported fields are the file system's to
// read, not to change.
type Request struct {
	Mapping *Mapping
	Page    uint64 // the page that must be covered
	N       uint64 // widest run worth covering, from Page on, at least 1: a hint, and the most that may be allocated
	Order   uint   // order of the slot that is held around Page
	Intent  Intent
	NoWait  bool // answer ErrWouldBlock instead of sleeping
	Sync    bool // call MetadataPending if a crash now could lose the answer

	// Off and Len are the bytes that are about to be written or unshared, for IntentWrite
	// and IntentUnshare. They include a byte of Page. A file system whose blocks are
	// smaller than a page need allocate no others. Storage that other files have too is
	// replaced in the slot only, the pages from First on: see InsertCopy.
	Off, Len int64

	// Held: the page is cached already, and is about to be stored to through a view. Only
	// storage for the bytes is asked for; answers are ignored, and may be left out.
	Held bool

	// Overwrite: the bytes include all of Page, and it may lie on bad media, which the
	// write makes good.
	Overwrite bool

	answers []answer
	pending bool   // MetadataPending was called
	evicted uint64 // Stats.Evicted before the question
}

// First is the first page that an answer can use: that of the slot held around
// Page.
func (r *Request) First() uint64 { return base(r.Page, r.Order) }

// From is the page to begin with in order to fill the slot: First, but not before
// the bytes that are to be written or unshared. It is at most Page.
func (r *Request) From() uint64 {
	if r.Intent.allocates() {
		return min(max(r.First(), pageOf(r.Off)), r.Page)
	}
	return r.First()
}

// End is the page after the last one that an answer is asked for.
func (r *Request) End() uint64 { return r.Page + r.N }
