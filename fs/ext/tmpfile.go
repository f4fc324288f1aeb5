package ext

import (
	"io/fs"
	"syscall"

	"godax/vfs"
)

var _ vfs.Tmpfiler = (*dir)(nil)

// Tmpfile implements [vfs.Tmpfiler]. The inode is on the orphan list until it has a name.
func (d *dir) Tmpfile(n vfs.NewInode) (vfs.Inode, error) {
	switch {
	case d.fs.readOnly:
		return nil, syscall.EROFS
	case n.Mode.Type() != 0:
		return nil, syscall.EINVAL
	case d.links() == 0:
		return nil, fs.ErrNotExist
	}
	in, err := d.fs.newInode(d.inode, n)
	if err != nil {
		return nil, err
	}
	i, err := d.fs.wrap(in)
	if err == nil {
		err = d.fs.orphanAdd(in)
	}
	if err != nil {
		_ = d.fs.freeInode(in) // the first error counts
		return nil, err
	}
	in.nameless = true
	return i, nil
}

// nameTmpfile gives a file its first name. A check of the image removes an entry that leads to
// an inode without links, as long as it is on the orphan list or was never used.
func (d *dir) nameTmpfile(s slot, name string, in *inode) error {
	if err := d.link(s, name, in.ino, d.fileType(0)); err != nil {
		return err
	}
	if err := in.setLinks(1); err != nil {
		return err
	}
	in.nameless = false
	return d.fs.orphanDone(in, false)
}
