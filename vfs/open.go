package vfs

// Opener is the ability of an [Inode] to refuse being opened; the default is that every
// file can be.
type Opener interface {
	// Open is called before each open. write is set if stores are to follow. It takes no
	// count: there is no call for the other end.
	//
	// Locks: none.
	Open(write bool) error
}

// Releaser is the ability of an [Inode] to give up what it keeps for those who have it open
// for writing, such as space for more.
type Releaser interface {
	// Release is called when the last of them has closed it. Another one may have opened it
	// by then.
	//
	// Locks: none of an inode.
	Release()
}
