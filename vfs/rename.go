package vfs

import (
	"io/fs"
	"syscall"
)

// RenameFlags are the flags of [Node.Rename].
type RenameFlags uint8

const (
	// RenameNoReplace makes an existing new name fs.ErrExist.
	RenameNoReplace RenameFlags = 1 << iota
	// RenameExchange exchanges what the two names lead to, of whatever kinds. Both must
	// exist. Directories need the ability [Exchanger].
	RenameExchange
)

// Rename moves the entry name of the directory n to newName in newDir, over what is
// there. If both are names of one inode nothing happens.
//
// Errors: EINVAL if a directory would move into itself, ENOTEMPTY, EISDIR for a file
// over a directory, ENOTDIR for a directory over a file, fs.ErrExist with RenameNoReplace;
// with RenameExchange ENOTSUP if the driver cannot, EINVAL for both flags.
func (n *Node) Rename(name string, newDir *Node, newName string, flags RenameFlags) error {
	switch {
	case n.dir == nil || newDir.dir == nil:
		return errNotDir
	case flags == RenameNoReplace|RenameExchange:
		return syscall.EINVAL
	}
	for _, s := range []string{name, newName} {
		if err := n.m.checkName(s); err != nil {
			return err
		}
	}
	if err := n.m.writable(); err != nil {
		return err
	}
	// Whether a directory is moved or replaced is known only once the parents are
	// locked; if so, and the rename lock is missing, start over with it.
	serial := n != newDir
	for {
		again, err := n.tryRename(name, newDir, newName, flags, serial)
		if !again {
			return err
		}
		serial = true
	}
}

// tryRename is Rename with or without the rename lock. again means that it is needed.
func (n *Node) tryRename(name string, newDir *Node, newName string, flags RenameFlags, serial bool) (again bool, err error) {
	m := n.m
	if serial {
		m.rename.Lock()
		defer m.rename.Unlock()
	}
	var child, replaced *Node
	defer func() { // last, without inode locks
		for _, c := range []*Node{child, replaced} {
			if c != nil {
				c.Put()
			}
		}
	}()
	unlock, err := n.lockParents(newDir)
	if err != nil {
		return false, err
	}
	defer unlock()
	if n.dead.Load() || newDir.dead.Load() {
		return false, fs.ErrNotExist
	}
	if child, err = n.stepLocked(name); err != nil {
		return false, err
	}
	if replaced, err = newDir.stepLocked(newName); err != nil && !isNotExist(err) {
		return false, err
	}
	if !serial && (child.dir != nil || replaced != nil && replaced.dir != nil) {
		return true, nil
	}
	if n != newDir {
		if err := checkRelation(n, newDir, child, replaced); err != nil {
			if err == error(syscall.ENOTEMPTY) && flags&RenameExchange != 0 {
				err = syscall.EINVAL
			}
			return false, err
		}
	}
	if flags&RenameExchange != 0 {
		return false, n.exchangeLocked(name, child, newDir, newName, replaced)
	}
	switch {
	case replaced == nil:
	case flags&RenameNoReplace != 0:
		return false, fs.ErrExist
	case replaced == child:
		return false, nil
	case child.dir != nil && replaced.dir == nil:
		return false, errNotDir
	case child.dir == nil && replaced.dir != nil:
		return false, errIsDir
	}

	defer lockOrdered(child, replaced)()
	var over Inode
	if replaced != nil {
		over = replaced.inode
	}
	if err := n.dir.Rename(name, child.inode, newDir.dir, newName, over); err != nil {
		return false, err
	}
	if child.dir != nil {
		child.parent.Store(newDir.ino)
	}
	if replaced != nil {
		if replaced.dir != nil {
			replaced.dead.Store(true)
		} else {
			replaced.updateDead()
		}
	}
	return false, nil
}

// exchangeLocked exchanges two entries. The parents are locked; a directory that gets another
// parent has the rename lock held too.
func (n *Node) exchangeLocked(name string, child *Node, newDir *Node, newName string, other *Node) error {
	switch x, ok := n.dir.(Exchanger); {
	case other == nil:
		return fs.ErrNotExist
	case other == child:
		return nil
	case !ok:
		return syscall.ENOTSUP
	default:
		defer lockOrdered(child, other)()
		if err := x.Exchange(name, child.inode, newDir.dir, newName, other.inode); err != nil {
			return err
		}
	}
	if child.dir != nil {
		child.parent.Store(newDir.ino)
	}
	if other.dir != nil {
		other.parent.Store(n.ino)
	}
	return nil
}

// lockParents locks the two directories of a rename, the upper one first. Unless they
// are the same the rename lock is held, so that neither moves.
func (n *Node) lockParents(newDir *Node) (unlock func(), err error) {
	if n == newDir {
		n.mu.Lock()
		return n.mu.Unlock, nil
	}
	swap, err := newDir.isAbove(n)
	if err != nil {
		return nil, err
	}
	if !swap {
		above, err := n.isAbove(newDir)
		if err != nil {
			return nil, err
		}
		swap = !above && newDir.ino < n.ino
	}
	first, second := n, newDir
	if swap {
		first, second = newDir, n
	}
	first.mu.Lock()
	second.mu.Lock()
	return func() { second.mu.Unlock(); first.mu.Unlock() }, nil
}

// checkRelation refuses to move child into itself, and to replace a directory that
// child lies in. The rename lock is held.
func checkRelation(dir, newDir, child, replaced *Node) error {
	if child.dir != nil {
		if in, err := child.isAbove(newDir); err != nil {
			return err
		} else if in {
			return syscall.EINVAL
		}
	}
	if replaced != nil && replaced.dir != nil {
		if in, err := replaced.isAbove(dir); err != nil {
			return err
		} else if in {
			return syscall.ENOTEMPTY
		}
	}
	return nil
}

// isAbove reports whether the directory n is below or one of the directories above it.
// The rename lock is held: no directory changes its parent. A removed one has none.
func (n *Node) isAbove(below *Node) (bool, error) {
	m := n.m
	seen := make(map[uint64]bool)
	ino := below.ino
	for {
		if ino == n.ino {
			return true, nil
		}
		if ino == m.root.ino {
			return false, nil
		}
		if seen[ino] {
			return false, corrupt("directory %d: its parents form a circle", below.ino)
		}
		seen[ino] = true
		d, err := m.get(ino)
		if err != nil {
			return false, err
		}
		dead, dir, parentErr := d.dead.Load(), d.dir, d.parentErr
		parent := d.parent.Load()
		d.Put()
		switch {
		case dir == nil:
			return false, corrupt("directory %d: inode %d above it is not a directory", below.ino, ino)
		case parentErr != nil:
			return false, parentErr
		case dead:
			return false, nil
		}
		ino = parent
	}
}
