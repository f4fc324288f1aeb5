package ext

// run is a run of a file's blocks that is all storage or all hole.
type run struct {
	pblk uint64 // first block on the device; 0 is a hole
	n    uint64 // blocks, at least 1
	new  bool   // allocated, and zeroed, by this call
}

// blockMap finds a file's blocks. Block numbers of the file (lblk) count from 0.
//
// Locks: inode.mu, shared for lookup, exclusive for allocate and free; the methods
// do not take it.
type blockMap interface {
	// lookup returns the run that starts at lblk, at most max blocks long (max is at
	// least 1). It may be shorter than the storage is contiguous. Past the largest
	// possible block everything is hole.
	lookup(lblk, max uint64) (run, error)

	// allocate returns the run that starts at lblk, at most max blocks long, as lookup
	// does, but fills a hole there first: with zeroed blocks, flushed and then
	// published. Errors: ENOSPC, EFBIG.
	allocate(lblk, max uint64) (run, error)

	// attach makes pblk, a block that is allocated and filled, block lblk of the file,
	// which is a hole; i_blocks counts it from then on. Errors: ENOSPC, EFBIG.
	attach(lblk, pblk uint64) error

	// free makes [from, to) a hole. Blocks are unlinked first and freed then.
	free(from, to uint64) error
}
