package vfs

// Stater is the ability of a [FileSystem] whose inodes and names never change to tell the attributes of
// one that is not in memory. The default is none: the inode is read in for it.
type Stater interface {
	// Stat sets *a to what Attr of the inode returns; after an error it is undefined. Errors as
	// FileSystem.Inode. It is filled in where it is to be, since to copy it a few times takes
	// longer than to find it out.
	//
	// Locks: none.
	Stat(ino uint64, a *Attr) error
}

// Stat sets *a to the attributes of what a name in the directory n leads to; after an error it is
// undefined. Errors as Lookup.
func (n *Node) Stat(name string, a *Attr) error {
	child, err := n.stat(name, a)
	if child != nil {
		*a = child.Attr()
		child.Put()
	}
	return err
}

// StatEntry is Stat of an entry that ReadDir of n has yielded. As nothing changes in the file system
// of a [Stater], it need not be looked up there.
func (n *Node) StatEntry(e Dirent, a *Attr) error {
	if !e.Type.IsDir() && n.m.told(e.Ino, a) {
		return nil
	}
	return n.Stat(e.Name, a)
}

// told sets the attributes of an inode that need not be read in for them, and reports whether it
// has. A directory is read in, for the check that it lies where it says; so is what is wrong, for
// the error.
func (m *Mount) told(ino uint64, a *Attr) bool {
	return m.stater != nil && m.stater.Stat(ino, a) == nil && !a.Mode.IsDir()
}

// stat sets the attributes, or returns the inode that has them, with a reference. The lock of an
// inode may be waited for long, so it is not taken while that of the directory is held.
func (n *Node) stat(name string, a *Attr) (*Node, error) {
	if err := n.m.checkName(name); err != nil {
		return nil, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.dir == nil {
		return nil, errNotDir
	}
	ino, err := n.dir.Lookup(name)
	if err != nil {
		return nil, err
	}
	if n.m.told(ino, a) {
		return nil, nil
	}
	return n.childLocked(name, ino)
}
