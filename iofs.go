package godax

import (
	"errors"
	"io/fs"
	"path"
	"syscall"
)

// IOFS is the file system as an [fs.FS] for reading, with [fs.ReadDirFS],
// [fs.ReadFileFS], [fs.StatFS], [fs.ReadLinkFS] and [fs.SubFS]. Paths are those of
// io/fs. A Sub is no jail: symbolic links and ".." in their targets may lead out of it, but not out
// of the image.
func (f *FS) IOFS() fs.FS { return ioFS{f, "."} }

// ioFS is the tree below root, a valid path of io/fs.
type ioFS struct {
	f    *FS
	root string
}

var (
	_ fs.ReadDirFS  = ioFS{}
	_ fs.ReadFileFS = ioFS{}
	_ fs.StatFS     = ioFS{}
	_ fs.ReadLinkFS = ioFS{}
	_ fs.SubFS      = ioFS{}
)

// under checks name, runs do with the image's path for it, and puts name into the error.
func under[T any](v ioFS, op, name string, do func(full string) (T, error)) (T, error) {
	if !fs.ValidPath(name) {
		var zero T
		return zero, &fs.PathError{Op: op, Path: name, Err: fs.ErrInvalid}
	}
	t, err := do(path.Join(v.root, name))
	var pe *fs.PathError
	if v.root != "." && errors.As(err, &pe) {
		err = &fs.PathError{Op: pe.Op, Path: name, Err: pe.Err}
	}
	return t, err
}

// Open opens for reading.
func (v ioFS) Open(name string) (fs.File, error) {
	return under(v, "open", name, func(full string) (fs.File, error) {
		file, err := v.f.Open(full)
		if err != nil {
			return nil, err
		}
		return file, nil
	})
}

// ReadDir lists a directory, sorted.
func (v ioFS) ReadDir(name string) ([]fs.DirEntry, error) {
	return under(v, "readdir", name, v.f.ReadDir)
}

// ReadFile reads a file.
func (v ioFS) ReadFile(name string) ([]byte, error) {
	return under(v, "readfile", name, v.f.ReadFile)
}

// Stat follows links.
func (v ioFS) Stat(name string) (fs.FileInfo, error) { return under(v, "stat", name, v.f.Stat) }

// Lstat does not follow links.
func (v ioFS) Lstat(name string) (fs.FileInfo, error) { return under(v, "lstat", name, v.f.Lstat) }

// ReadLink reads a link.
func (v ioFS) ReadLink(name string) (string, error) {
	return under(v, "readlink", name, v.f.Readlink)
}

// Sub is the tree below dir.
func (v ioFS) Sub(dir string) (fs.FS, error) {
	return under(v, "sub", dir, func(full string) (fs.FS, error) {
		fi, err := v.f.Stat(full)
		if err != nil {
			return nil, err
		}
		if !fi.IsDir() {
			return nil, &fs.PathError{Op: "sub", Path: full, Err: syscall.ENOTDIR}
		}
		return ioFS{v.f, full}, nil
	})
}
