package ext

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"

	"godax/internal/extfmt"
	"godax/vfs"
)

// mayAdd checks that a name can be added to the directory, and is not there.
func (d *dir) mayAdd(name string) error {
	switch {
	case d.fs.readOnly:
		return syscall.EROFS
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("ext: name %q: %w", name, syscall.EINVAL)
	case d.links() == 0:
		return fmt.Errorf("ext: directory was removed: %w", fs.ErrNotExist)
	}
	_, err := d.find(name)
	if err == nil {
		return fs.ErrExist
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// changed sets the times of a directory whose entries have changed.
func (d *dir) changed() error { return d.touch(stampMtime | stampCtime) }

// Create makes an inode and links it. A killed writer leaves the inode without links,
// with or without a name; for a directory, the parent's link count short by one.
func (d *dir) Create(name string, n vfs.NewInode) (vfs.Inode, error) {
	if err := d.mayAdd(name); err != nil {
		return nil, err
	}
	isDir := n.Mode.IsDir()
	if isDir && d.links() >= extfmt.MaxLinks {
		return nil, syscall.EMLINK
	}
	if n.Mode.Type() == fs.ModeSymlink {
		if err := d.fs.checkTarget(n.Target); err != nil {
			return nil, err
		}
	}
	s, err := d.makeRoom(name)
	if err != nil {
		return nil, err
	}
	in, err := d.fs.newInode(d.inode, n)
	if err != nil {
		return nil, err
	}
	i, err := d.fillAndLink(s, name, in, n)
	if err != nil {
		if in.links() == 0 {
			_ = d.fs.freeInode(in) // the first error counts
		}
		return nil, err
	}
	return i, nil
}

// fillAndLink gives a new inode its first content, its name and its links.
func (d *dir) fillAndLink(s slot, name string, in *inode, n vfs.NewInode) (vfs.Inode, error) {
	links := uint16(1)
	var err error
	switch n.Mode.Type() {
	case fs.ModeDir:
		links, err = 2, d.fillDir(in)
	case fs.ModeSymlink:
		err = in.fillTarget(n.Target)
	}
	if err != nil {
		return nil, err
	}
	i, err := d.fs.wrap(in)
	if err != nil {
		return nil, err
	}
	if err := d.link(s, name, in.ino, d.fileType(n.Mode)); err != nil {
		return nil, err
	}
	if err := in.setLinks(links); err != nil {
		return nil, err
	}
	if n.Mode.IsDir() {
		if err := d.setLinks(d.links() + 1); err != nil {
			return nil, err
		}
	}
	return i, d.changed()
}

// fillDir gives a new directory its first block, with "." and "..".
func (d *dir) fillDir(in *inode) error {
	bs := int(d.fs.blockSize())
	in.mu.Lock()
	defer in.mu.Unlock()
	pblk, err := in.allocMeta()
	if err != nil {
		return err
	}
	b := make([]byte, bs)
	ft := d.fileType(fs.ModeDir)
	extfmt.PutDirent(b, in.ino, extfmt.DirentMin, ".", ft)
	extfmt.PutDirent(b[extfmt.DirentMin:], d.ino, bs-extfmt.DirentMin, "..", ft)
	if err = d.fs.st.write(d.fs.blockOff(pblk), b); err == nil {
		err = in.bmap.attach(0, pblk)
	}
	if err != nil {
		_ = d.fs.freeRun(in.name(), pblk, 1) // the first error counts
		return err
	}
	return in.setSize(int64(bs))
}

// Link gives target another name. A killed writer leaves the link count too high.
func (d *dir) Link(name string, target vfs.Inode) error {
	if err := d.mayAdd(name); err != nil {
		return err
	}
	in, err := baseOf(target)
	if err != nil {
		return err
	}
	links := in.links()
	switch {
	case in.fs != d.fs:
		return syscall.EXDEV
	case in.isDir():
		return syscall.EPERM
	case links == 0 && !in.nameless:
		return fmt.Errorf("ext: inode %d has no name any more: %w", in.ino, fs.ErrNotExist)
	case links >= extfmt.MaxLinks:
		return syscall.EMLINK
	}
	s, err := d.makeRoom(name)
	if err != nil {
		return err
	}
	mode, _ := extfmt.ToMode(in.mode())
	if in.nameless {
		err = d.nameTmpfile(s, name, in)
	} else {
		if err := in.setLinks(links + 1); err != nil {
			return err
		}
		if err = d.link(s, name, in.ino, d.fileType(mode)); err != nil {
			_ = in.setLinks(links) // the first error counts
		}
	}
	if err != nil {
		return err
	}
	if err := in.touch(stampCtime); err != nil {
		return err
	}
	return d.changed()
}

// Unlink removes a name of child, which is not a directory.
func (d *dir) Unlink(name string, child vfs.Inode) error {
	in, r, err := d.toRemove(name, child)
	if err != nil {
		return err
	}
	if in.isDir() {
		return syscall.EISDIR
	}
	if err := d.fs.dropLink(in, unlinkPut(r)); err != nil {
		return err
	}
	return d.afterRemove(name, r, in)
}

// Rmdir removes the name of an empty directory. A killed writer leaves the parent's
// link count too high by one.
func (d *dir) Rmdir(name string, child vfs.Inode) error {
	in, r, err := d.toRemove(name, child)
	if err != nil {
		return err
	}
	if err := mustBeEmpty(child); err != nil {
		return err
	}
	if err := d.fs.orphanAdd(in, unlinkPut(r)); err != nil {
		return err
	}
	if err := d.lostChild(); err != nil {
		return err
	}
	return d.afterRemove(name, r, in)
}

// toRemove finds the record that leads to child by name.
func (d *dir) toRemove(name string, child vfs.Inode) (*inode, record, error) {
	if d.fs.readOnly {
		return nil, record{}, syscall.EROFS
	}
	in, err := baseOf(child)
	if err != nil {
		return nil, record{}, err
	}
	r, err := d.child(name, in)
	return in, r, err
}

// afterRemove is what follows when the record r of name has become unused.
func (d *dir) afterRemove(name string, r record, in *inode) error {
	if err := d.removed(r, name); err != nil {
		return err
	}
	if err := in.touch(stampCtime); err != nil {
		return err
	}
	return d.changed()
}

// mustBeEmpty checks that i is a directory that can be removed: ENOTDIR, ENOTEMPTY.
func mustBeEmpty(i vfs.Inode) error {
	d, ok := i.(*dir)
	if !ok {
		return syscall.ENOTDIR
	}
	empty, err := d.empty()
	if err == nil && !empty {
		err = syscall.ENOTEMPTY
	}
	return err
}

// lostChild takes the link from d that the ".." of a child was.
func (d *dir) lostChild() error {
	if n := d.links(); n > 2 {
		return d.setLinks(n - 1)
	}
	return nil // the count was wrong before
}

// dropLink takes one link from an inode that is not a directory, together with the
// stores in then, which remove the name. Without links it becomes an orphan.
func (f *FS) dropLink(in *inode, then ...put) error {
	if n := in.links(); n > 1 {
		ops := append(make([]put, 0, 8), put{in.off + extfmt.InodeLinks, 2, uint32(n - 1)})
		return f.st.switchOver(append(ops, then...)...)
	}
	return f.orphanAdd(in, then...)
}
