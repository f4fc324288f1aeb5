package vfs

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"math"
	"slices"
	"strings"
	"syscall"

	"godax/dax"
)

func isNotExist(err error) bool { return errors.Is(err, fs.ErrNotExist) }

// checkName returns why name cannot be a directory entry, if so: EINVAL, ENAMETOOLONG.
func (m *Mount) checkName(name string) error {
	switch {
	case name == "" || name == "." || name == ".." || strings.IndexByte(name, '/') >= 0 || strings.IndexByte(name, 0) >= 0:
		return syscall.EINVAL
	case m.nameMax > 0 && len(name) > m.nameMax:
		return syscall.ENAMETOOLONG
	}
	return nil
}

// Lookup returns the inode behind a name in the directory n. Errors: ENOTDIR,
// fs.ErrNotExist, EINVAL for what cannot be a name, ENAMETOOLONG.
func (n *Node) Lookup(name string) (*Node, error) {
	if err := n.m.checkName(name); err != nil {
		return nil, err
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.stepLocked(name)
}

// Parent returns the directory above the directory n; the root's is the root.
func (n *Node) Parent() (*Node, error) {
	if n.dir == nil {
		return nil, errNotDir
	}
	if n == n.m.root {
		return n.m.Root()
	}
	n.mu.RLock() // while n has a name its parent cannot be removed
	defer n.mu.RUnlock()
	if n.dead.Load() {
		return nil, fs.ErrNotExist
	}
	return n.m.get(n.parent.Load())
}

// ReadDir calls yield for the entries of the directory n from position pos, without
// "." and "..", until it returns false. yield runs with the directory locked and
// must not use the file system.
func (n *Node) ReadDir(pos uint64, yield func(Dirent) bool) error {
	if n.dir == nil {
		return errNotDir
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.dead.Load() {
		return nil
	}
	return n.dir.ReadDir(pos, yield)
}

// ReadDirNodes is ReadDir with the inode of each entry and its attributes. An inode that cannot
// be read, or that is changing at the moment, is nil. keep says that yield has taken the
// reference over.
func (n *Node) ReadDirNodes(pos uint64, yield func(e Dirent, child *Node, a Attr) (more, keep bool)) error {
	return n.ReadDir(pos, func(e Dirent) bool {
		child, err := n.childLocked(e.Name, e.Ino)
		if err != nil {
			more, _ := yield(e, nil, Attr{})
			return more
		}
		if !child.mu.TryRLock() {
			child.Put()
			more, _ := yield(e, nil, Attr{})
			return more
		}
		a := child.inode.Attr()
		child.mu.RUnlock()
		more, keep := yield(e, child, a)
		if !keep {
			child.Put()
		}
		return more
	})
}

// Readlink returns the target of a symbolic link; EINVAL for anything else.
func (n *Node) Readlink() (string, error) {
	if n.link == nil {
		return "", syscall.EINVAL
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.link.Readlink()
}

// SetAttr changes attributes.
func (n *Node) SetAttr(a SetAttr) error {
	if err := n.m.writable(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.plain.Store(false)
	return n.inode.SetAttr(a)
}

// Truncate changes the size of a regular file. It waits for pins of what is cut off.
// Errors: EISDIR, EINVAL for other types and negative sizes.
func (n *Node) Truncate(ctx context.Context, size int64) error {
	switch {
	case n.dir != nil:
		return errIsDir
	case n.file == nil || size < 0:
		return syscall.EINVAL
	}
	if err := n.m.writable(); err != nil {
		return err
	}
	if err := n.mu.RW.Lock(ctx); err != nil {
		return err
	}
	defer n.mu.Unlock()
	return n.file.Truncate(ctx, size)
}

// Sync makes the inode durable: of a regular file data and metadata (with dataOnly times may
// be left out), of any other the metadata.
func (n *Node) Sync(ctx context.Context, dataOnly bool) error {
	if n.m.readOnly {
		return nil
	}
	return n.sync(ctx, dataOnly)
}

// sync writes one inode back. No lock is held.
func (n *Node) sync(ctx context.Context, dataOnly bool) error {
	if n.file == nil {
		return n.m.fs.Sync(ctx)
	}
	if views, _ := n.file.Mapping().Busy(); views > 0 {
		if _, err := n.writeback(ctx, 0, math.MaxInt64); err != nil {
			return err
		}
	}
	return n.file.Sync(ctx, dataOnly)
}

// writeback writes the n bytes at off back, without metadata. If views turn out to
// have stored to the file, that changes its times. No lock is held.
func (n *Node) writeback(ctx context.Context, off, length int64) (dax.WritebackStats, error) {
	st, err := n.file.Mapping().Writeback(ctx, off, length)
	if err == nil && st.Collected > 0 {
		err = n.stored()
	}
	return st, err
}

// stored notes that views have stored to the file. It does not wait for the inode
// lock: who has it may be a truncate that waits for a pin of our caller, and is about
// to change the times itself.
func (n *Node) stored() error {
	if n.m.readOnly || !n.mu.TryLock() {
		return nil
	}
	defer n.mu.Unlock()
	now := n.m.now()
	return n.inode.SetAttr(SetAttr{Mtime: &now})
}

// Xattr returns the value of an extended attribute; ENODATA, ENOTSUP.
func (n *Node) Xattr(name string) ([]byte, error) {
	if n.xattrs == nil {
		return nil, syscall.ENOTSUP
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.xattrs.Xattr(name)
}

// ListXattr returns the names of all extended attributes, sorted; none if the format
// has no such thing.
func (n *Node) ListXattr() ([]string, error) {
	if n.xattrs == nil {
		return nil, nil
	}
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.xattrs.ListXattr()
}

// SetXattr sets an extended attribute; for create and replace see [Xattrs].
func (n *Node) SetXattr(name string, value []byte, create, replace bool) error {
	return n.changeXattrs(func(x Xattrs) error { return x.SetXattr(name, value, create, replace) })
}

// RemoveXattr removes an extended attribute; ENODATA.
func (n *Node) RemoveXattr(name string) error {
	return n.changeXattrs(func(x Xattrs) error { return x.RemoveXattr(name) })
}

func (n *Node) changeXattrs(change func(Xattrs) error) error {
	if n.xattrs == nil {
		return syscall.ENOTSUP
	}
	if err := n.m.writable(); err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	n.plain.Store(false)
	return change(n.xattrs)
}

// lockDir locks the directory n for a change of its entry name. It is unlocked again if there is
// an error: ENOTDIR, EROFS, fs.ErrNotExist for a directory that was removed.
func (n *Node) lockDir(name string) error {
	if n.dir == nil {
		return errNotDir
	}
	if err := n.m.checkName(name); err != nil {
		return err
	}
	if err := n.m.writable(); err != nil {
		return err
	}
	n.mu.Lock()
	if n.dead.Load() {
		n.mu.Unlock()
		return fs.ErrNotExist
	}
	return nil
}

// Create makes an inode of any type in the directory n. In a directory with the setgid
// bit the group is the directory's, and a new directory has the bit too. A default ACL of
// the directory is inherited.
func (n *Node) Create(name string, ni NewInode) (*Node, error) {
	if err := n.existsReadOnly(name); err != nil {
		return nil, err
	}
	if err := n.lockDir(name); err != nil {
		return nil, err
	}
	defer n.mu.Unlock()
	acl, err := n.inheritLocked(&ni)
	if err != nil {
		return nil, err
	}
	inode, err := n.dir.Create(name, ni)
	if err != nil {
		return nil, err
	}
	child, err := n.m.adopt(inode)
	if err == nil && acl != nil {
		if err = child.setInherited(acl); err != nil {
			err = errors.Join(err, n.takeBackLocked(name, child))
			child.Put()
			return nil, err
		}
	}
	return child, err
}

// takeBackLocked removes the entry of an inode that was just made. n.mu is held.
func (n *Node) takeBackLocked(name string, child *Node) error {
	child.mu.Lock()
	defer child.mu.Unlock()
	remove := n.dir.Unlink
	if child.dir != nil {
		remove = n.dir.Rmdir
	}
	if err := remove(name, child.inode); err != nil {
		return err
	}
	child.dead.Store(true)
	return nil
}

// existsReadOnly makes what exists on a read-only mount fs.ErrExist, not EROFS.
func (n *Node) existsReadOnly(name string) error {
	if !n.m.readOnly || n.dir == nil {
		return nil
	}
	child, err := n.Lookup(name)
	if err != nil {
		return nil
	}
	child.Put()
	return fs.ErrExist
}

// Link makes name in the directory n another name of target. EPERM for a directory,
// fs.ErrNotExist if target's last name is gone.
func (n *Node) Link(name string, target *Node) error {
	if target.dir != nil {
		child, err := n.Lookup(name)
		switch { // a name that exists counts first, as in Linux
		case err == nil:
			child.Put()
			return fs.ErrExist
		case isNotExist(err):
			return syscall.EPERM
		}
		return err
	}
	if err := n.lockDir(name); err != nil {
		return err
	}
	defer n.mu.Unlock()
	target.mu.Lock()
	defer target.mu.Unlock()
	if target.dead.Load() && !target.nameless {
		return fs.ErrNotExist
	}
	if err := n.dir.Link(name, target.inode); err != nil {
		return err
	}
	if target.nameless {
		target.nameless = false
		target.dead.Store(false)
	}
	return nil
}

// Unlink removes a name that is not a directory's (EISDIR). The inode lives on while
// it is open.
func (n *Node) Unlink(name string) error {
	if err := n.lockDir(name); err != nil {
		return err
	}
	child, err := n.stepLocked(name)
	if err != nil {
		n.mu.Unlock()
		return err
	}
	defer child.Put() // last, without locks
	defer n.mu.Unlock()
	if child.dir != nil {
		return errIsDir
	}
	child.mu.Lock()
	defer child.mu.Unlock()
	if err := n.dir.Unlink(name, child.inode); err != nil {
		return err
	}
	child.updateDead()
	return nil
}

// Rmdir removes an empty directory; ENOTDIR, ENOTEMPTY.
func (n *Node) Rmdir(name string) error {
	if err := n.lockDir(name); err != nil {
		return err
	}
	child, err := n.stepLocked(name)
	if err != nil {
		n.mu.Unlock()
		return err
	}
	defer child.Put()
	defer n.mu.Unlock()
	if child.dir == nil {
		return errNotDir
	}
	child.mu.Lock()
	defer child.mu.Unlock()
	if err := n.dir.Rmdir(name, child.inode); err != nil {
		return err
	}
	child.dead.Store(true)
	return nil
}

// updateDead notes whether the last name is gone. n.mu is held exclusively.
func (n *Node) updateDead() {
	if n.inode.Attr().Nlink == 0 {
		n.dead.Store(true)
	}
}

// lockOrdered locks the nodes (nil and doubles left out) exclusively, directories
// before others and each kind by number. It returns the unlocking.
func lockOrdered(nodes ...*Node) (unlock func()) {
	nodes = slices.DeleteFunc(nodes, func(n *Node) bool { return n == nil })
	slices.SortFunc(nodes, func(a, b *Node) int {
		if (a.dir != nil) != (b.dir != nil) {
			if a.dir != nil {
				return -1
			}
			return 1
		}
		return cmp.Compare(a.ino, b.ino)
	})
	nodes = slices.Compact(nodes)
	for _, n := range nodes {
		n.mu.Lock()
	}
	return func() {
		for _, n := range nodes {
			n.mu.Unlock()
		}
	}
}
