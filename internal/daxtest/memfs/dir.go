package memfs

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"syscall"

	"godax/dax"
	"godax/vfs"
)

// inode is an inode in memory, of any type.
type inode struct {
	f *FS
	*record
	m *dax.Mapping // of a regular file
}

var (
	_ vfs.FileSystem = (*FS)(nil)
	_ vfs.Dir        = (*inode)(nil)
	_ vfs.File       = (*inode)(nil)
	_ vfs.Symlink    = (*inode)(nil)
	_ vfs.Xattrs     = (*inode)(nil)
	_ vfs.Exchanger  = (*inode)(nil)
)

// Attr returns the attributes.
func (i *inode) Attr() vfs.Attr {
	a := i.record.Attr
	if i.m != nil {
		a.Size = i.m.Size()
		i.f.mu.Lock()
		a.Blocks = uint64(len(i.blocks)) * uint64(a.BlockSize) / 512
		i.f.mu.Unlock()
	}
	return a
}

// SetAttr changes attributes.
func (i *inode) SetAttr(a vfs.SetAttr) error {
	if a.Mode != nil {
		const bits = fs.ModePerm | fs.ModeSetuid | fs.ModeSetgid | fs.ModeSticky
		i.Mode = i.Mode&^bits | *a.Mode&bits
	}
	set(&i.UID, a.UID)
	set(&i.GID, a.GID)
	set(&i.Atime, a.Atime)
	set(&i.Mtime, a.Mtime)
	i.Ctime = i.f.now()
	return nil
}

func set[T any](to, from *T) {
	if from != nil {
		*to = *from
	}
}

// Evict drops the inode from memory, and for ever if it has no name.
func (i *inode) Evict(ctx context.Context) error {
	if i.f.OnEvict != nil {
		i.f.OnEvict(i.Ino, i.Nlink)
	}
	var err error
	if i.m != nil {
		i.Size = i.m.Size()
		err = i.m.Evict(ctx, i.Nlink == 0)
	}
	if i.Nlink == 0 {
		i.f.freeBlocks(i.record, 0, dax.ToEnd)
	}
	i.f.mu.Lock()
	defer i.f.mu.Unlock()
	if i.Nlink == 0 {
		delete(i.f.records, i.Ino)
	}
	delete(i.f.inUse, i.Ino)
	return err
}

func (i *inode) touch() { i.Mtime = i.f.now(); i.Ctime = i.Mtime }

// Lookup finds a name.
func (i *inode) Lookup(name string) (uint64, error) {
	e, ok := i.entries[name]
	if !ok {
		return 0, fs.ErrNotExist
	}
	return e.ino, nil
}

// ReadDir lists names in the order of their making.
func (i *inode) ReadDir(pos uint64, yield func(vfs.Dirent) bool) error {
	names := slices.SortedFunc(maps.Keys(i.entries), func(a, b string) int {
		return cmp.Compare(i.entries[a].seq, i.entries[b].seq)
	})
	for _, name := range names {
		e := i.entries[name]
		if e.seq <= pos {
			continue
		}
		typ := fs.ModeIrregular
		i.f.mu.Lock()
		if r := i.f.records[e.ino]; r != nil {
			typ = r.Mode.Type()
		}
		i.f.mu.Unlock()
		if !yield(vfs.Dirent{Name: name, Ino: e.ino, Type: typ, Off: e.seq}) {
			break
		}
	}
	return nil
}

// Parent is the directory above.
func (i *inode) Parent() (uint64, error) { return i.parent, nil }

// Create makes an inode.
func (i *inode) Create(name string, n vfs.NewInode) (vfs.Inode, error) {
	if _, err := i.Lookup(name); err == nil {
		return nil, fs.ErrExist
	}
	i.f.mu.Lock()
	defer i.f.mu.Unlock()
	i.f.lastIno++
	r := i.f.newRecord(i.f.lastIno, i.Ino, n)
	i.f.records[r.Ino] = r
	if n.Mode.IsDir() {
		r.Nlink = 2
		i.Nlink++
	}
	i.add(name, r.Ino)
	i.touch()
	return i.f.openLocked(r)
}

// Link adds a name.
func (i *inode) Link(name string, target vfs.Inode) error {
	if _, err := i.Lookup(name); err == nil {
		return fs.ErrExist
	}
	t := target.(*inode)
	t.Nlink++
	t.Ctime = i.f.now()
	i.add(name, t.Ino)
	i.touch()
	return nil
}

// Unlink removes a name.
func (i *inode) Unlink(name string, child vfs.Inode) error {
	c := child.(*inode)
	delete(i.entries, name)
	c.Nlink--
	c.Ctime = i.f.now()
	i.touch()
	return nil
}

// Rmdir removes an empty directory.
func (i *inode) Rmdir(name string, child vfs.Inode) error {
	c := child.(*inode)
	if len(c.entries) > 0 {
		return syscall.ENOTEMPTY
	}
	delete(i.entries, name)
	c.Nlink = 0
	i.Nlink--
	i.touch()
	return nil
}

// Rename moves an entry.
func (i *inode) Rename(name string, child vfs.Inode, newDir vfs.Dir, newName string, replaced vfs.Inode) error {
	c, to := child.(*inode), newDir.(*inode)
	if replaced != nil {
		remove := to.Unlink
		if replaced.(*inode).Mode.IsDir() {
			remove = to.Rmdir
		}
		if err := remove(newName, replaced); err != nil {
			return err
		}
	}
	delete(i.entries, name)
	to.add(newName, c.Ino)
	if c.Mode.IsDir() {
		i.Nlink--
		to.Nlink++
		c.parent = to.Ino
	}
	i.touch()
	to.touch()
	c.Ctime = i.f.now()
	return nil
}

// Exchange exchanges two entries.
func (i *inode) Exchange(name string, child vfs.Inode, newDir vfs.Dir, newName string, other vfs.Inode) error {
	to := newDir.(*inode)
	for _, e := range []struct {
		from, to *inode
		name     string
		in       *inode
	}{{to, i, name, other.(*inode)}, {i, to, newName, child.(*inode)}} {
		e.to.add(e.name, e.in.Ino)
		if e.in.Mode.IsDir() {
			e.from.Nlink--
			e.to.Nlink++
			e.in.parent = e.to.Ino
		}
		e.to.touch()
		e.in.Ctime = i.f.now()
	}
	return nil
}

// Readlink returns the target.
func (i *inode) Readlink() (string, error) { return i.target, nil }

// Xattr returns a value.
func (i *inode) Xattr(name string) ([]byte, error) {
	v, ok := i.xattrs[name]
	if !ok {
		return nil, syscall.ENODATA
	}
	return bytes.Clone(v), nil
}

// ListXattr lists the names.
func (i *inode) ListXattr() ([]string, error) { return slices.Sorted(maps.Keys(i.xattrs)), nil }

// SetXattr sets a value.
func (i *inode) SetXattr(name string, value []byte, create, replace bool) error {
	switch _, ok := i.xattrs[name]; {
	case ok && create:
		return fmt.Errorf("%q: %w", name, syscall.EEXIST)
	case !ok && replace:
		return syscall.ENODATA
	}
	i.xattrs[name] = bytes.Clone(value)
	i.Ctime = i.f.now()
	return nil
}

// RemoveXattr removes one.
func (i *inode) RemoveXattr(name string) error {
	if _, ok := i.xattrs[name]; !ok {
		return syscall.ENODATA
	}
	delete(i.xattrs, name)
	i.Ctime = i.f.now()
	return nil
}
