package godax

import (
	"io"
	"io/fs"
)

// Whence values of [File.Seek] beside those of package io.
const (
	SeekData = 3 // to the next byte at or after the offset that is not in a hole
	SeekHole = 4 // to the next hole at or after the offset; the end counts as one
)

// File is an open file or directory. Its methods are those of [os.File] and may be
// called by any number of goroutines; Read, Write and Seek share the file offset,
// and exclude each other.
type File struct{}

// Name is the path given to Open.
func (f *File) Name() string { panic("soon") }

// Stat describes the file.
func (f *File) Stat() (fs.FileInfo, error) { panic("soon") }

// Read reads from the file offset on.
func (f *File) Read(b []byte) (int, error) { panic("soon") }

// ReadAt reads len(b) bytes at off, or up to the end with io.EOF.
func (f *File) ReadAt(b []byte, off int64) (int, error) { panic("soon") }

// Write writes at the file offset; at the end with O_APPEND.
func (f *File) Write(b []byte) (int, error) { panic("soon") }

// WriteString is Write of a string.
func (f *File) WriteString(s string) (int, error) { panic("soon") }

// WriteAt writes b at off. With O_APPEND it is an error, as in package os.
func (f *File) WriteAt(b []byte, off int64) (int, error) { panic("soon") }

// Seek moves the file offset; besides the values of package io, whence may be SeekData
// or SeekHole (ENXIO at or past the end).
func (f *File) Seek(off int64, whence int) (int64, error) { panic("soon") }

// ReadFrom copies r to the file offset on.
func (f *File) ReadFrom(r io.Reader) (int64, error) { panic("soon") }

// WriteTo copies the file from the offset on to w.
func (f *File) WriteTo(w io.Writer) (int64, error) { panic("soon") }

// ReadDir is [os.File.ReadDir]: the next n entries, or all with n <= 0, in the
// directory's order.
func (f *File) ReadDir(n int) ([]fs.DirEntry, error) { panic("soon") }

// Readdirnames is ReadDir with names only.
func (f *File) Readdirnames(n int) ([]string, error) { panic("soon") }

// Truncate changes the size. It waits for pins of the pages cut off.
func (f *File) Truncate(size int64) error { panic("soon") }

// Allocate gives [off, off+n) storage and extends the file to off+n. ENOSPC.
func (f *File) Allocate(off, n int64) error { panic("soon") }

// PunchHole gives back the storage of [off, off+n), which reads as zero then. The size
// stays. It waits for pins.
func (f *File) PunchHole(off, n int64) error { panic("soon") }

// ZeroRange makes [off, off+n) read as zero; it keeps the size.
func (f *File) ZeroRange(off, n int64) error { panic("soon") }

// Sync makes the file durable: data, and what is needed to find it, and times. An
// error of writing back is reported once by each File that was open when it
// happened.
func (f *File) Sync() error { panic("soon") }

// Chmod changes the permission bits.
func (f *File) Chmod(mode fs.FileMode) error { panic("soon") }

// Chown changes the owner; -1 keeps an id.
func (f *File) Chown(uid, gid int) error { panic("soon") }

// Close closes the file. With a Mapping or Pin of it alive it is an [*OpenError]
// (EBUSY), and the file stays open.
func (f *File) Close() error { panic("soon") }
