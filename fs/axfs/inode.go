package axfs

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"syscall"

	"godax/fs/axfs/internal/format"
	"godax/vfs"
)

// inodeInfo is info for an inode number as vfs has it. Errors: fs.ErrNotExist,
// vfs.ErrCorrupt.
func (f *FS) inodeInfo(ino uint64, in *info) error {
	if ino < rootIno {
		return fmt.Errorf("axfs: inode number %d: %w", ino, fs.ErrNotExist)
	}
	return f.info(ino-rootIno, in)
}

// Inode reads an inode. Errors: fs.ErrNotExist, vfs.ErrCorrupt.
func (f *FS) Inode(ino uint64) (vfs.Inode, error) {
	var in info
	if err := f.inodeInfo(ino, &in); err != nil {
		return nil, err
	}
	switch in.mode.Type() {
	case fs.ModeDir:
		return &dir{inode: inode{f, in}}, nil
	case 0:
		return &file{inode: inode{f, in}}, nil
	case fs.ModeSymlink:
		return &symlink{inode{f, in}}, nil
	}
	return &inode{f, in}, nil
}

// inode is what all types have, and all that special files are.
type inode struct {
	fs *FS
	info
}

var (
	_ vfs.Holder  = (*FS)(nil)
	_ vfs.Stater  = (*FS)(nil)
	_ vfs.Inode   = (*inode)(nil)
	_ vfs.Dir     = (*dir)(nil)
	_ vfs.Symlink = (*symlink)(nil)
)

// Attr returns the attributes. Files have one link each, and the times of the image.
func (in *inode) Attr() (a vfs.Attr) {
	in.fs.attr(&in.info, &a)
	return a
}

// Stat implements [vfs.Stater]. Errors as Inode.
func (f *FS) Stat(ino uint64, a *vfs.Attr) error {
	var in info
	if err := f.inodeInfo(ino, &in); err != nil {
		return err
	}
	f.attr(&in, a)
	return nil
}

// attr sets attributes to those of an inode.
func (f *FS) attr(in *info, a *vfs.Attr) {
	*a = vfs.Attr{}
	a.Ino, a.Mode, a.Nlink, a.UID, a.GID = in.n+rootIno, in.mode, 1, in.uid, in.gid
	a.BlockSize, a.Atime, a.Mtime, a.Ctime = f.sb.PageSize(), f.time, f.time, f.time
	switch in.mode.Type() {
	case 0, fs.ModeSymlink:
		a.Size, a.Blocks = int64(in.size), (in.size+511)/512
	case fs.ModeDir:
		a.Size = max(int64(in.size), 0) // whatever the builder likes
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		a.RdevMajor, a.RdevMinor = format.Device(in.size)
	}
}

// SetAttr implements [vfs.Inode].
func (in *inode) SetAttr(vfs.SetAttr) error { return syscall.EROFS }

// Evict implements [vfs.Inode].
func (in *inode) Evict(context.Context) error { return nil }

// dir is a directory: its children are a run of inodes, sorted by name.
type dir struct {
	inode
	vfs.NoChanges
}

// SetAttr implements [vfs.Inode].
func (d *dir) SetAttr(a vfs.SetAttr) error { return d.inode.SetAttr(a) }

// Lookup returns the inode number behind name; fs.ErrNotExist.
func (d *dir) Lookup(name string) (uint64, error) {
	from, to := d.first, d.first+d.num
	for from < to {
		n := from + (to-from)/2
		have, _, err := d.fs.anyName(n)
		if err != nil {
			return 0, err
		}
		switch {
		case string(have) == name:
			return n + rootIno, nil
		case string(have) < name:
			from = n + 1
		default:
			to = n
		}
	}
	return 0, fs.ErrNotExist
}

// ReadDir yields the children. The position of one is its number in the directory.
func (d *dir) ReadDir(pos uint64, yield func(vfs.Dirent) bool) error {
	for ; pos < d.num; pos++ {
		n := d.first + pos
		name, err := d.fs.name(n)
		if err != nil {
			return err
		}
		o, err := d.fs.ownerOf(n)
		if err != nil {
			return err
		}
		if !yield(vfs.Dirent{Name: string(name), Ino: n + rootIno, Type: o.mode.Type(), Off: pos + 1}) {
			return nil
		}
	}
	return nil
}

// Parent returns the inode number of "..".
func (d *dir) Parent() (uint64, error) { return d.fs.parent(d.n) + rootIno, nil }

// symlink is a symbolic link: its target is stored as the contents of a file are.
type symlink struct{ inode }

// Readlink returns the target. Errors: vfs.ErrCorrupt.
func (s *symlink) Readlink() (string, error) {
	b := make([]byte, s.size)
	if _, err := s.readNodes(b, 0, nil); err != nil {
		return "", err
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return "", s.fs.corrupt(s.n, "target", uint64(i), "a NUL in the target of a symbolic link")
	}
	return string(b), nil
}
