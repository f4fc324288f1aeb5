package vfs

// Stater is the ability of a [FileSystem] whose inodes never change to tell the attributes of
// one that is not in memory. The default is none: the inode is read in for it.
type Stater interface {
	// Stat returns what Attr of the inode returns. Errors as FileSystem.Inode.
	//
	// Locks: the lock of a directory with an entry for the inode, shared.
	Stat(ino uint64) (Attr, error)
}

// Stat returns the attributes of what a name in the directory n leads to. Errors as Lookup.
func (n *Node) Stat(name string) (Attr, error) {
	child, a, err := n.stat(name)
	if err != nil || child == nil {
		return a, err
	}
	defer child.Put()
	return child.Attr(), nil
}

// stat returns the attributes, or the inode that has them, with a reference. The lock of an inode
// may be waited for long, so it is not taken while that of the directory is held.
func (n *Node) stat(name string) (*Node, Attr, error) {
	if err := n.m.checkName(name); err != nil {
		return nil, Attr{}, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.dir == nil {
		return nil, Attr{}, errNotDir
	}
	ino, err := n.dir.Lookup(name)
	if err != nil {
		return nil, Attr{}, err
	}
	if s := n.m.stater; s != nil {
		// A directory is read in, for the check that it lies where it says.
		if a, err := s.Stat(ino); err == nil && !a.Mode.IsDir() {
			return nil, a, nil
		}
	}
	child, err := n.childLocked(name, ino)
	return child, Attr{}, err
}
