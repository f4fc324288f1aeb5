package godax

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"slices"
	"syscall"

	"godax/vfs"
)

// Open opens the file for reading.
func (f *FS) Open(name string) (*File, error) { return f.OpenFile(name, os.O_RDONLY, 0) }

// Create opens the file for reading and writing, made with mode 0666 if it does not
// exist, cut to length 0 if it does.
func (f *FS) Create(name string) (*File, error) {
	return f.OpenFile(name, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o666)
}

// OpenFile opens the file with the flags of package os: O_RDONLY, O_WRONLY, O_RDWR,
// O_APPEND, O_CREATE, O_EXCL, O_TRUNC, O_SYNC; of package syscall O_NOFOLLOW (a
// symbolic link is ELOOP) and O_DIRECTORY. perm is the mode of a new file; there is
// no umask. A pipe, socket or device is ENXIO.
func (f *FS) OpenFile(name string, flag int, perm fs.FileMode) (*File, error) {
	h, err := f.open(name, flag, perm)
	if err != nil {
		return nil, wrap("open", name, err)
	}
	return &File{fs: f, h: h}, nil
}

// openTries bounds how often open starts over because others make and remove the
// file at the same time.
const openTries = 100

func (f *FS) open(name string, flag int, perm fs.FileMode) (h *vfs.Handle, err error) {
	for range openTries {
		h, err = f.tryOpen(name, flag, perm)
		if !errors.Is(err, errRaced) {
			return h, err
		}
	}
	return nil, err
}

// errRaced: the name did not exist, and then it did.
var errRaced = errors.New("raced with another creation")

func (f *FS) tryOpen(name string, flag int, perm fs.FileMode) (*vfs.Handle, error) {
	create, excl := flag&os.O_CREATE != 0, flag&os.O_CREATE != 0 && flag&os.O_EXCL != 0
	follow := vfs.FollowAll
	switch {
	case excl:
		follow = vfs.NoFollow
	case flag&syscall.O_NOFOLLOW != 0:
		follow = vfs.FollowSlash
	}
	p, err := f.m.Walk(name, follow)
	if err != nil {
		return nil, err
	}
	defer p.Put()
	n := p.Node
	switch {
	case n == nil && !create:
		return nil, fs.ErrNotExist
	case create && p.Slash, n == nil && flag&syscall.O_DIRECTORY != 0:
		return nil, syscall.EISDIR
	case n == nil:
		n, err = p.Dir.Create(p.Name, vfs.NewInode{Mode: perm & permBits, UID: f.uid, GID: f.gid})
		if errors.Is(err, fs.ErrExist) && !excl {
			return nil, errRaced
		}
		if err != nil {
			return nil, err
		}
		defer n.Put()
		f.m.TellEntry(p.Dir, p.Name)
		flag &^= os.O_TRUNC
	case excl:
		return nil, fs.ErrExist
	case n.IsDir() && create:
		return nil, syscall.EISDIR
	case p.Slash && !n.IsDir():
		return nil, syscall.ENOTDIR
	}
	h, err := n.Open(context.Background(), flag, name)
	if flag&os.O_TRUNC != 0 {
		f.m.TellNode(n, 0, -1)
	}
	return h, err
}

// ReadFile returns the contents of a file.
func (f *FS) ReadFile(name string) ([]byte, error) {
	file, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	fi, err := file.Stat()
	if err != nil {
		return nil, err
	}
	// The size is the image's word; it is believed up to what the device could hold. One byte
	// more finds the end without another allocation.
	b := make([]byte, 0, min(fi.Size(), f.dev.Size())+1)
	for {
		n, err := file.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			return b, nil
		}
		if err != nil {
			return b, err
		}
		if len(b) == cap(b) {
			b = slices.Grow(b, 1)
		}
	}
}

// WriteFile makes data the contents of a file, made with perm if it does not exist.
func (f *FS) WriteFile(name string, data []byte, perm fs.FileMode) error {
	file, err := f.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, perm)
	if err != nil {
		return err
	}
	_, err = file.Write(data)
	return cmp.Or(err, file.Close())
}

// ReadDir returns the entries of a directory, sorted by name.
func (f *FS) ReadDir(name string) ([]fs.DirEntry, error) {
	dir, err := f.Open(name)
	if err != nil {
		return nil, err
	}
	defer dir.Close()
	entries, err := dir.ReadDir(-1)
	byName := func(a, b fs.DirEntry) int { return cmp.Compare(a.Name(), b.Name()) }
	if !slices.IsSortedFunc(entries, byName) { // some drivers list in this order
		slices.SortFunc(entries, byName)
	}
	return entries, err
}
