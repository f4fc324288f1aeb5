package build

import (
	"errors"
	"io"
	"io/fs"
	"syscall"
)

// Source is a tree of files. Paths are slash-separated and relative to its root, which is
// "."; elements are those that ReadDir returned. Methods may be called by several
// goroutines. None follows a symbolic link at the end of a path.
type Source interface {
	Lstat(path string) (Attr, error)
	ReadDir(path string) ([]string, error) // in any order
	Readlink(path string) (string, error)
	Open(path string) (Reader, error)
}

// Attr are the attributes of a file.
type Attr struct {
	Mode         fs.FileMode
	UID, GID     uint32
	Size         int64
	Major, Minor uint32 // of a device
	ID           ID
}

// ID is the same for all names of one file. The zero ID is no file's: nothing is known then.
type ID struct{ Dev, Ino uint64 }

// Reader is an open file. ReadAt may be called by several goroutines, Seek is called by one
// and knows [SeekData] and [SeekHole], or fails for them.
type Reader interface {
	io.ReaderAt
	io.Seeker
	io.Closer
}

// Values of whence beside those of package io, as Linux has them.
const (
	SeekData = 3 // to the next byte at or after the offset that is not in a hole
	SeekHole = 4 // to the next hole at or after it
)

// data returns the next bytes at or after off that may be other than zero: [start, end), or
// size, size. A file that cannot tell has no holes.
func data(in io.Seeker, off, size int64) (start, end int64) {
	start, err := in.Seek(off, SeekData)
	if errors.Is(err, syscall.ENXIO) {
		return size, size
	}
	if err != nil || start < off {
		return off, size
	}
	end, err = in.Seek(start, SeekHole)
	if err != nil || end <= start {
		end = size
	}
	return min(start, size), min(end, size)
}

// FileError is an error with a file of the tree.
type FileError struct {
	Op   string // "read"
	Path string // from the tree's root
	Err  error
}

// Error has all three.
func (e *FileError) Error() string { return e.Op + " " + e.Path + ": " + e.Err.Error() }

// Unwrap returns Err.
func (e *FileError) Unwrap() error { return e.Err }

// wrap gives an error its operation and path. Those of the source go: its paths may be
// others.
func wrap(op, path string, err error) error {
	if pe, ok := err.(*fs.PathError); ok {
		return &FileError{pe.Op, path, pe.Err}
	}
	if err == nil {
		return nil
	}
	return &FileError{op, path, err}
}
