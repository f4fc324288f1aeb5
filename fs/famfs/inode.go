package famfs

import (
	"context"
	"fmt"
	"io/fs"
	"sync"
	"syscall"
	"time"

	"godax/vfs"
)

// inode is what files and directories have in common. Their attributes come from the log;
// times, which it has none of, are local to the mount.
type inode struct {
	fs   *FS
	node *node

	mu           sync.Mutex // guards what follows; a leaf
	atime, mtime time.Time
}

// newInode makes the inode of a node.
func (f *FS) newInode(n *node) vfs.Inode {
	if n.isDir() {
		d := &dir{}
		d.init(f, n)
		return d
	}
	return newFile(f, n)
}

func (in *inode) init(f *FS, n *node) {
	in.fs, in.node, in.atime, in.mtime = f, n, f.mounted, f.mounted
}

// Attr implements [vfs.Inode].
func (in *inode) Attr() vfs.Attr {
	in.mu.Lock()
	a := vfs.Attr{
		Ino: in.node.ino, Mode: fs.ModeDir | 0o755, Nlink: 1, BlockSize: in.fs.unit,
		Atime: in.atime, Mtime: in.mtime, Ctime: in.fs.mounted,
	}
	in.mu.Unlock()
	e := in.node.entry
	if e != nil {
		a.Mode = fs.FileMode(e.Mode)
		a.UID, a.GID = e.UID, e.GID
		a.Size = int64(e.Size)
		for _, x := range e.Extents {
			a.Blocks += x.Len / 512
		}
	}
	if in.node.isDir() {
		in.fs.mu.RLock()
		a.Mode = a.Mode.Perm() | fs.ModeDir
		a.Nlink = 2 + in.node.subdirs
		in.fs.mu.RUnlock()
	}
	return a
}

// SetAttr sets the times, which last as long as the inode is in memory. Mode and owner are
// what they are: setting them to that is no error.
func (in *inode) SetAttr(s vfs.SetAttr) error {
	a := in.Attr()
	switch {
	case s.Mode != nil && *s.Mode&^fs.ModeType != a.Mode&^fs.ModeType:
		return refused("chmod", whyAttr)
	case s.UID != nil && *s.UID != a.UID, s.GID != nil && *s.GID != a.GID:
		return refused("chown", whyAttr)
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	if s.Atime != nil {
		in.atime = *s.Atime
	}
	if s.Mtime != nil {
		in.mtime = *s.Mtime
	}
	return nil
}

// dir is a directory.
type dir struct{ inode }

var (
	_ vfs.Dir    = (*dir)(nil)
	_ vfs.Opener = (*dir)(nil)
)

// Evict implements [vfs.Inode].
func (d *dir) Evict(context.Context) error { return nil }

// Open implements [vfs.Opener]: not on a medium that is another one now.
func (d *dir) Open(bool) error { return d.fs.refresh() }

// Lookup looks at the log first, and so finds what another host has just made.
func (d *dir) Lookup(name string) (uint64, error) {
	if err := d.fs.refresh(); err != nil {
		return 0, err
	}
	d.fs.mu.RLock()
	defer d.fs.mu.RUnlock()
	n := d.node.children[name]
	if n == nil {
		return 0, fs.ErrNotExist
	}
	return n.ino, nil
}

// ReadDir lists the directory in the order of the log, into which it looks first.
func (d *dir) ReadDir(pos uint64, yield func(vfs.Dirent) bool) error {
	if err := d.fs.refresh(); err != nil {
		return err
	}
	d.fs.mu.RLock()
	list := d.node.list // only appended to
	d.fs.mu.RUnlock()
	for pos < uint64(len(list)) {
		n := list[pos]
		pos++
		e := vfs.Dirent{Name: n.name, Ino: n.ino, Off: pos}
		if n.isDir() {
			e.Type = fs.ModeDir
		}
		if !yield(e) {
			break
		}
	}
	return nil
}

// Parent implements [vfs.Dir].
func (d *dir) Parent() (uint64, error) { return d.node.parent, nil }

// Create appends an entry to the log; see append.go.
func (d *dir) Create(name string, ni vfs.NewInode) (vfs.Inode, error) {
	n, err := d.fs.create(d.node, name, ni)
	if err != nil {
		return nil, err
	}
	return d.fs.newInode(n), nil
}

// Link is refused, as all below.
func (d *dir) Link(string, vfs.Inode) error { return refused("link", whyName) }

// Unlink implements [vfs.Dir].
func (d *dir) Unlink(string, vfs.Inode) error { return refused("delete", whyFree) }

// Rmdir implements [vfs.Dir].
func (d *dir) Rmdir(string, vfs.Inode) error { return refused("delete", whyFree) }

// Rename implements [vfs.Dir].
func (d *dir) Rename(string, vfs.Inode, vfs.Dir, string, vfs.Inode) error {
	return refused("rename", whyName)
}

// clientError is a change on a mount that may not append.
func (f *FS) clientError() error {
	why := f.noAppend
	if why == "" {
		why = "opened for reading"
	}
	return fmt.Errorf("famfs: this mount is a client: %s: %w", why, syscall.EROFS)
}
