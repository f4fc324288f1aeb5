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

// Inode reads an inode. Errors: fs.ErrNotExist, vfs.ErrCorrupt.
func (f *FS) Inode(ino uint64) (vfs.Inode, error) {
	if ino < rootIno {
		return nil, fmt.Errorf("axfs: inode number %d: %w", ino, fs.ErrNotExist)
	}
	in, err := f.info(ino - rootIno)
	if err != nil {
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
	_ vfs.Inode   = (*inode)(nil)
	_ vfs.Dir     = (*dir)(nil)
	_ vfs.Symlink = (*symlink)(nil)
)

// Attr returns the attributes. Files have one link each, and the times of the image.
func (in *inode) Attr() vfs.Attr {
	a := vfs.Attr{
		Ino: in.n + rootIno, Mode: in.mode, Nlink: 1, UID: in.uid, GID: in.gid, Size: int64(in.size),
		Blocks: (in.size + 511) / 512, BlockSize: in.fs.sb.PageSize(),
		Atime: in.fs.time, Mtime: in.fs.time, Ctime: in.fs.time,
	}
	switch in.mode.Type() {
	case fs.ModeDir:
		a.Size, a.Blocks = max(a.Size, 0), 0 // whatever the builder likes
	case 0, fs.ModeSymlink:
	case fs.ModeDevice, fs.ModeDevice | fs.ModeCharDevice:
		a.RdevMajor, a.RdevMinor = format.Device(in.size)
		a.Size, a.Blocks = 0, 0
	default:
		a.Size, a.Blocks = 0, 0
	}
	return a
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
		have, err := d.fs.name(n)
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
		index, err := d.fs.at(format.InodeModeIndex, n)
		if err != nil {
			return err
		}
		o, err := d.fs.owner(n, index)
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
	if err := s.readNodes(b, 0); err != nil {
		return "", err
	}
	if i := bytes.IndexByte(b, 0); i >= 0 {
		return "", s.fs.corrupt(s.n, "target", uint64(i), "a NUL in the target of a symbolic link")
	}
	return string(b), nil
}
