package vfs

import (
	"io/fs"
	"syscall"
)

// Tmpfiler is the ability of a directory to make files without a name (open(2): O_TMPFILE). The
// default is none: ENOTSUP.
type Tmpfiler interface {
	Dir

	// Tmpfile makes a regular file without a link. It goes with its last reference, or
	// Link, of this or another directory, gives it its first name. Errors as Create.
	//
	// Locks: the directory's, shared.
	Tmpfile(n NewInode) (Inode, error)
}

// Tmpfile makes a regular file without a name, with what new files in the directory n get of it:
// group and ACL. [Node.Link] can give it a name.
func (n *Node) Tmpfile(ni NewInode) (*Node, error) {
	if n.dir == nil {
		return nil, errNotDir
	}
	if err := n.m.writable(); err != nil {
		return nil, err
	}
	d, ok := n.dir.(Tmpfiler)
	if !ok {
		return nil, syscall.ENOTSUP
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.dead.Load() {
		return nil, fs.ErrNotExist
	}
	acl, err := n.inheritLocked(&ni)
	if err != nil {
		return nil, err
	}
	inode, err := d.Tmpfile(ni)
	if err != nil {
		return nil, err
	}
	child, err := n.m.adopt(inode)
	if err != nil {
		return nil, err
	}
	if acl != nil {
		if err := child.setInherited(acl); err != nil {
			child.Put() // the last reference to what has no name
			return nil, err
		}
	}
	child.mu.Lock()
	child.nameless = true
	child.mu.Unlock()
	return child, nil
}
