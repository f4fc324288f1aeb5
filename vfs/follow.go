package vfs

import "io/fs"

// Change is a file or directory that others have published, or something that happened to
// the medium if Ino is 0.
type Change struct {
	Pos  uint64 // to go on from after it
	Path string // without a leading slash; empty if Ino is 0
	Attr Attr
	Note string // what happened, if Ino is 0; or why the file cannot be used
}

// IsDir reports whether the change is a directory.
func (c *Change) IsDir() bool { return c.Attr.Mode.Type() == fs.ModeDir }

// Follower is the ability of a [FileSystem] that others write while it is mounted.
// Lookups and listings see what is new by themselves; this is for those who wait.
type Follower interface {
	// Follow takes in what others have published since, and calls yield for everything from
	// position pos on, 0 being the beginning, until it returns false. It returns the position
	// after the last one. It never waits; ESTALE if the medium was formatted anew.
	//
	// Locks: none are held while yield runs.
	Follow(pos uint64, yield func(Change) bool) (next uint64, err error)
}
