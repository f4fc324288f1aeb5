package godax

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"sync"
	"syscall"

	"godax/vfs"
)

// Whence values of [File.Seek] beside those of package io.
const (
	SeekData = 3 // to the next byte at or after the offset that is not in a hole
	SeekHole = 4 // to the next hole at or after the offset; the end counts as one
)

// File is an open file or directory. Its methods are those of [os.File] and may be
// called by any number of goroutines; Read, Write and Seek share the file offset,
// and exclude each other.
type File struct {
	fs *FS
	h  *vfs.Handle

	mu  sync.Mutex // guards off; comes before every lock of vfs
	off int64      // of a directory: the position of its listing
}

// background is the context of calls that take none.
var background = context.Background()

// tell lets other front ends know that the n bytes at off have changed (negative: up to the
// end; 0: attributes only), and passes an error on.
func (f *File) tell(off, n int64, err error) error {
	f.fs.m.TellNode(f.h.Node(), off, n)
	return err
}

func (f *File) wrap(op string, err error) error { return wrap(op, f.h.Name(), err) }

// Name is the path given to Open.
func (f *File) Name() string { return f.h.Name() }

// Stat describes the file.
func (f *File) Stat() (fs.FileInfo, error) {
	a, err := f.h.Attr()
	if err != nil {
		return nil, f.wrap("stat", err)
	}
	return &fileInfo{path.Base(f.h.Name()), a}, nil
}

// ReadAt reads len(b) bytes at off, or up to the end with io.EOF.
func (f *File) ReadAt(b []byte, off int64) (int, error) {
	n, err := f.h.ReadAt(background, b, off)
	if err != nil {
		return n, f.wrap("read", err)
	}
	if n < len(b) {
		return n, io.EOF
	}
	return n, nil
}

// Read reads from the file offset on.
func (f *File) Read(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, err := f.ReadAt(b, f.off)
	f.off += int64(n)
	if n > 0 && err == io.EOF {
		err = nil
	}
	return n, err
}

// errAppend is what package os says about it.
var errAppend = errors.New("invalid use of WriteAt on a file opened with O_APPEND")

// WriteAt writes b at off. With O_APPEND it is an error, as in package os.
func (f *File) WriteAt(b []byte, off int64) (int, error) {
	if f.h.Append() {
		return 0, f.wrap("write", errAppend)
	}
	n, err := f.h.WriteAt(background, b, off)
	f.fs.m.TellNode(f.h.Node(), off, int64(n))
	if err != nil {
		return n, f.wrap("write", err)
	}
	return n, nil
}

// Write writes at the file offset; at the end with O_APPEND.
func (f *File) Write(b []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	n, end, err := f.h.Write(background, b, f.off)
	if n > 0 {
		f.off = end
	}
	f.fs.m.TellNode(f.h.Node(), end-int64(n), int64(n))
	if err != nil {
		return n, f.wrap("write", err)
	}
	return n, nil
}

// WriteString is Write of a string.
func (f *File) WriteString(s string) (int, error) { return f.Write([]byte(s)) }

// Seek moves the file offset; besides the values of package io, whence may be SeekData
// or SeekHole (ENXIO at or past the end). A directory can only be rewound.
func (f *File) Seek(off int64, whence int) (int64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a, err := f.h.Attr()
	if err != nil {
		return 0, f.wrap("seek", err)
	}
	switch {
	case a.Mode.IsDir() && (off != 0 || whence != io.SeekStart):
		err = syscall.EINVAL
	case whence == io.SeekStart:
	case whence == io.SeekCurrent:
		off, err = addOffset(f.off, off)
	case whence == io.SeekEnd:
		off, err = addOffset(a.Size, off)
	case whence == SeekData || whence == SeekHole:
		off, err = f.h.SeekExtent(off, whence == SeekHole)
	default:
		err = syscall.EINVAL
	}
	if err == nil && off < 0 {
		err = syscall.EINVAL
	}
	if err != nil {
		return 0, f.wrap("seek", err)
	}
	f.off = off
	return off, nil
}

// addOffset adds to an offset that is not negative; EOVERFLOW.
func addOffset(base, off int64) (int64, error) {
	if sum := base + off; off <= 0 || sum > 0 {
		return sum, nil
	}
	return 0, syscall.EOVERFLOW
}

// copySize is the size of the pieces that ReadFrom and WriteTo copy.
const copySize = 1 << 20

// ReadFrom copies r to the file offset on.
func (f *File) ReadFrom(r io.Reader) (int64, error) {
	return io.CopyBuffer(struct{ io.Writer }{f}, r, make([]byte, copySize))
}

// WriteTo copies the file from the offset on to w.
func (f *File) WriteTo(w io.Writer) (int64, error) {
	a, err := f.h.Attr()
	if err != nil {
		return 0, f.wrap("read", err)
	}
	size := max(1, min(a.Size, copySize))
	return io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, make([]byte, size))
}

// ReadDir is [os.File.ReadDir]: the next n entries, or all with n <= 0, in the
// directory's order.
func (f *File) ReadDir(n int) ([]fs.DirEntry, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	entries := []fs.DirEntry{}
	err := f.h.ReadDir(uint64(f.off), func(e vfs.Dirent) bool {
		f.off = int64(e.Off)
		entries = append(entries, &dirEntry{f, e})
		return n <= 0 || len(entries) < n
	})
	entries = f.addTypes(entries)
	switch {
	case err != nil:
		return entries, f.wrap("readdir", err)
	case n > 0 && len(entries) == 0:
		return nil, io.EOF
	}
	return entries, nil
}

// addTypes looks up what the directory itself does not say, and drops entries that
// have gone meanwhile.
func (f *File) addTypes(entries []fs.DirEntry) []fs.DirEntry {
	kept := entries[:0]
	for _, e := range entries {
		d := e.(*dirEntry)
		if d.e.Type == fs.ModeIrregular {
			n, err := f.h.Node().Lookup(d.e.Name)
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			if err == nil {
				d.e.Type = n.Type()
				n.Put()
			}
		}
		kept = append(kept, e)
	}
	return kept
}

// Readdirnames is ReadDir with names only.
func (f *File) Readdirnames(n int) ([]string, error) {
	entries, err := f.ReadDir(n)
	names := make([]string, 0, len(entries))
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names, err
}

// Truncate changes the size. It waits for pins of the pages cut off. Growing allocates
// nothing, but for a mapped file with blocks smaller than a page the rest of its last page:
// ENOSPC.
func (f *File) Truncate(size int64) error {
	return f.wrap("truncate", f.tell(0, -1, f.h.Truncate(background, size)))
}

// Allocate gives [off, off+n) storage and extends the file to off+n if it is shorter.
// ENOSPC, EINVAL for an empty range.
func (f *File) Allocate(off, n int64) error {
	return f.wrap("allocate", f.tell(0, -1, f.h.Allocate(background, vfs.AllocReserve, off, n)))
}

// PunchHole gives back the storage of [off, off+n), which reads as zero then. The size
// stays. It waits for pins.
func (f *File) PunchHole(off, n int64) error {
	return f.wrap("punch", f.tell(off, n, f.h.Allocate(background, vfs.AllocPunch, off, n)))
}

// ZeroRange makes [off, off+n) read as zero; it keeps the size.
func (f *File) ZeroRange(off, n int64) error {
	return f.wrap("zero", f.tell(off, n, f.h.Allocate(background, vfs.AllocZero, off, n)))
}

// Sync makes the file durable: data, and what is needed to find it, and times. An
// error of writing back is reported once by each File that was open when it
// happened.
func (f *File) Sync() error { return f.wrap("sync", f.h.Sync(background, false)) }

// Chmod changes the permission bits.
func (f *File) Chmod(mode fs.FileMode) error {
	return f.wrap("chmod", f.tell(0, 0, f.h.SetAttr(vfs.SetAttr{Mode: &mode})))
}

// Chown changes the owner; -1 keeps an id.
func (f *File) Chown(uid, gid int) error {
	a, err := owner(uid, gid)
	if err == nil {
		err = f.tell(0, 0, f.h.SetAttr(a))
	}
	return f.wrap("chown", err)
}

// Close closes the file. With a Mapping or Pin of it alive it is an [*OpenError]
// (EBUSY), and the file stays open.
func (f *File) Close() error { return f.wrap("close", f.h.Close()) }
