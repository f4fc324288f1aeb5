package main

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"godax"
)

// attrs are a file's attributes as cp keeps them.
type attrs struct {
	mode         fs.FileMode
	uid, gid     uint32
	nlink        uint64
	id           fileID
	size         int64
	major, minor uint32
	atime, mtime time.Time
}

// fileID tells files of one store apart.
type fileID struct{ dev, ino uint64 }

// reader is an open source file. Seek knows SeekData and SeekHole.
type reader interface {
	io.ReaderAt
	io.Seeker
	io.Closer
}

// writer is an open destination file.
type writer interface {
	io.WriterAt
	Truncate(size int64) error
	Close() error
}

// source is a tree to copy from. Paths are those of the store's own kind.
type source interface {
	Stat(p string) (attrs, error)
	Lstat(p string) (attrs, error)
	ReadDir(p string) ([]string, error)
	Readlink(p string) (string, error)
	Open(p string) (reader, error)
	Xattrs(p string) (map[string][]byte, error) // of a link itself; none if there are none to have
	Join(p, elem string) string
}

// sink is a tree to copy into. Paths are slash-separated and relative to the sink's
// root; no path leads out of it. Nothing follows a symbolic link at the end of p.
type sink interface {
	Lstat(p string) (attrs, error)
	Create(p string, mode fs.FileMode) (writer, error) // cuts an existing file
	Mkdir(p string, mode fs.FileMode) error
	Symlink(target, p string) error
	Link(old, p string) error
	Mknod(p string, mode fs.FileMode, major, minor uint32) error
	Remove(p string) error
	Chown(p string, uid, gid uint32) error
	Chmod(p string, mode fs.FileMode) error // not for links
	Chtimes(p string, atime, mtime time.Time) error
	SetXattr(p, attr string, value []byte) error
	Close() error
}

// imageStore is an image as source and sink.
type imageStore struct{ fsys *godax.FS }

func imageAttrs(fi fs.FileInfo, err error) (attrs, error) {
	if err != nil {
		return attrs{}, err
	}
	st := sysOf(fi)
	return attrs{
		mode: fi.Mode(), uid: st.UID, gid: st.GID, nlink: uint64(st.Nlink), id: fileID{0, st.Ino},
		size: fi.Size(), major: st.RdevMajor, minor: st.RdevMinor, atime: st.Atime, mtime: fi.ModTime(),
	}, nil
}

func (s imageStore) Stat(p string) (attrs, error)           { return imageAttrs(s.fsys.Stat(p)) }
func (s imageStore) Lstat(p string) (attrs, error)          { return imageAttrs(s.fsys.Lstat(p)) }
func (s imageStore) Readlink(p string) (string, error)      { return s.fsys.Readlink(p) }
func (s imageStore) Open(p string) (reader, error)          { return openReader(s.fsys.Open(p)) }
func (s imageStore) Join(p, elem string) string             { return path.Join(p, elem) }
func (s imageStore) Mkdir(p string, mode fs.FileMode) error { return s.fsys.Mkdir(p, mode) }
func (s imageStore) Symlink(target, p string) error         { return s.fsys.Symlink(target, p) }
func (s imageStore) Link(old, p string) error               { return s.fsys.Link(old, p) }
func (s imageStore) Remove(p string) error                  { return s.fsys.Remove(p) }
func (s imageStore) Chown(p string, uid, gid uint32) error {
	return s.fsys.Lchown(p, int(uid), int(gid))
}
func (s imageStore) Chmod(p string, mode fs.FileMode) error { return s.fsys.Chmod(p, mode) }
func (s imageStore) Chtimes(p string, atime, mtime time.Time) error {
	return s.fsys.Lchtimes(p, atime, mtime)
}
func (s imageStore) SetXattr(p, attr string, value []byte) error {
	return s.fsys.LSetXattr(p, attr, value, 0)
}
func (s imageStore) Mknod(p string, mode fs.FileMode, major, minor uint32) error {
	return s.fsys.Mknod(p, mode, major, minor)
}

// Close does nothing: the image is closed with the command's others.
func (s imageStore) Close() error { return nil }

func (s imageStore) ReadDir(p string) ([]string, error) {
	entries, err := s.fsys.ReadDir(p)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

func (s imageStore) Create(p string, mode fs.FileMode) (writer, error) {
	f, err := s.fsys.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, mode)
	if err != nil {
		return nil, err
	}
	return f, nil
}

// fixedSink is a sink whose files keep the size, mode and owner they are made with.
type fixedSink interface {
	FixedSize() bool
	CreateSized(p string, at attrs) (writer, error) // a new file of zeros
	Overwrite(p string) (writer, error)             // an existing file, as long as it is
	MkdirOwned(p string, at attrs) error
}

var _ fixedSink = imageStore{}

// FixedSize reports whether the methods below are to be used.
func (s imageStore) FixedSize() bool { return s.fsys.FixedSize() }

func (s imageStore) CreateSized(p string, at attrs) (writer, error) {
	f, err := s.fsys.CreateSized(p, at.size, godax.CreateOptions{Perm: at.mode.Perm(), UID: &at.uid, GID: &at.gid})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (s imageStore) Overwrite(p string) (writer, error) {
	f, err := s.fsys.OpenFile(p, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (s imageStore) MkdirOwned(p string, at attrs) error {
	return s.fsys.MkdirOwned(p, at.mode.Perm(), at.uid, at.gid)
}

func (s imageStore) Xattrs(p string) (map[string][]byte, error) {
	names, err := s.fsys.LListXattr(p)
	if err != nil {
		return nil, noXattrs(err)
	}
	all := make(map[string][]byte, len(names))
	for _, n := range names {
		if all[n], err = s.fsys.LXattr(p, n); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// noXattrs is nil if err means that a file system has no extended attributes.
func noXattrs(err error) error {
	if errors.Is(err, syscall.ENOTSUP) || errors.Is(err, errors.ErrUnsupported) {
		return nil
	}
	return err
}

// openReader keeps a nil file from becoming a non-nil interface.
func openReader[F interface {
	comparable
	reader
}](f F, err error) (reader, error) {
	if err != nil {
		return nil, err
	}
	return f, nil
}

// hostSource is the host's files as a source: paths are the user's own, and mean what
// they mean to every other program.
type hostSource struct{}

func (hostSource) Stat(p string) (attrs, error)      { return hostAttrs(os.Stat(p)) }
func (hostSource) Lstat(p string) (attrs, error)     { return hostAttrs(os.Lstat(p)) }
func (hostSource) Readlink(p string) (string, error) { return os.Readlink(p) }
func (hostSource) Join(p, elem string) string        { return filepath.Join(p, elem) }

// Open does not wait for the other end of a fifo that took the file's place.
func (hostSource) Open(p string) (reader, error) {
	return openReader(os.OpenFile(p, os.O_RDONLY|syscall.O_NONBLOCK, 0))
}

func (hostSource) ReadDir(p string) ([]string, error) {
	entries, err := os.ReadDir(p)
	names := make([]string, len(entries))
	for i, e := range entries {
		names[i] = e.Name()
	}
	return names, err
}

// hostSink is a directory of the host as a sink. All paths go through os.Root, so
// that names and symbolic links of an image lead nowhere else.
type hostSink struct{ root *os.Root }

func (s hostSink) Lstat(p string) (attrs, error)          { return hostAttrs(s.root.Lstat(p)) }
func (s hostSink) Mkdir(p string, mode fs.FileMode) error { return s.root.Mkdir(p, mode.Perm()) }
func (s hostSink) Symlink(target, p string) error         { return s.root.Symlink(target, p) }
func (s hostSink) Link(old, p string) error               { return s.root.Link(old, p) }
func (s hostSink) Remove(p string) error                  { return s.root.Remove(p) }
func (s hostSink) Close() error                           { return s.root.Close() }
func (s hostSink) Chown(p string, uid, gid uint32) error {
	return s.root.Lchown(p, int(uid), int(gid))
}
func (s hostSink) Chmod(p string, mode fs.FileMode) error { return s.root.Chmod(p, mode) }

func (s hostSink) Create(p string, mode fs.FileMode) (writer, error) {
	f, err := s.root.OpenFile(p, os.O_WRONLY|os.O_CREATE|os.O_TRUNC|syscall.O_NOFOLLOW, mode.Perm())
	if err != nil {
		return nil, err
	}
	return f, nil
}

// badName reports a name that a directory of an image may hold, in a damaged or
// hostile one, but that must not become a part of a path.
func badName(elem string) bool {
	return elem == "" || elem == "." || elem == ".." || strings.ContainsAny(elem, "/\x00")
}
