package godax

import (
	"io/fs"
	"path"
	"time"

	"godax/vfs"
)

// Stat is what FileInfo.Sys returns (as a pointer): the attributes that fs.FileInfo
// has no method for.
type Stat struct {
	Ino                  uint64
	Nlink                uint32
	UID, GID             uint32
	RdevMajor, RdevMinor uint32
	Blocks               uint64 // of 512 bytes
	BlockSize            int64
	Atime, Ctime         time.Time
	Btime                time.Time // zero if the format has none
}

// fileInfo is an fs.FileInfo.
type fileInfo struct {
	name  string
	size  int64
	mode  fs.FileMode
	mtime time.Time
	stat  Stat
}

func newFileInfo(name string, a *vfs.Attr) *fileInfo {
	return &fileInfo{name, a.Size, a.Mode, a.Mtime, Stat{
		Ino: a.Ino, Nlink: a.Nlink, UID: a.UID, GID: a.GID, RdevMajor: a.RdevMajor, RdevMinor: a.RdevMinor,
		Blocks: a.Blocks, BlockSize: a.BlockSize, Atime: a.Atime, Ctime: a.Ctime, Btime: a.Btime,
	}}
}

func (i *fileInfo) Name() string       { return i.name }
func (i *fileInfo) Size() int64        { return i.size }
func (i *fileInfo) Mode() fs.FileMode  { return i.mode }
func (i *fileInfo) ModTime() time.Time { return i.mtime }
func (i *fileInfo) IsDir() bool        { return i.mode.IsDir() }
func (i *fileInfo) Sys() any           { return &i.stat }
func (i *fileInfo) String() string     { return fs.FormatFileInfo(i) }

// Stat describes the file, symbolic links followed. Sys of the result is a [*Stat].
func (f *FS) Stat(name string) (fs.FileInfo, error) { return f.stat("stat", name, vfs.FollowAll) }

// Lstat describes the file; a symbolic link itself.
func (f *FS) Lstat(name string) (fs.FileInfo, error) { return f.stat("lstat", name, vfs.FollowSlash) }

func (f *FS) stat(op, name string, follow vfs.Follow) (fs.FileInfo, error) {
	n, err := f.m.Resolve(name, follow)
	if err != nil {
		return nil, wrap(op, name, err)
	}
	defer n.Put()
	a := n.Attr()
	return newFileInfo(path.Base(name), &a), nil
}

// dirEntry is an fs.DirEntry.
type dirEntry struct {
	dir  *File // closed maybe
	name string
	typ  fs.FileMode
}

func (e *dirEntry) Name() string      { return e.name }
func (e *dirEntry) IsDir() bool       { return e.typ.IsDir() }
func (e *dirEntry) Type() fs.FileMode { return e.typ }
func (e *dirEntry) String() string    { return fs.FormatDirEntry(e) }

// Info describes what has the name now, as os.DirEntry does. It finds it through the directory as
// long as that is in memory, which saves the walk to it.
func (e *dirEntry) Info() (fs.FileInfo, error) {
	full := func() string { return path.Join(e.dir.Name(), e.name) }
	n := e.dir.h.Node()
	if !n.Revive() {
		return e.dir.fs.Lstat(full())
	}
	defer n.Put()
	a, err := n.Stat(e.name)
	if err != nil {
		return nil, wrap("lstat", full(), err)
	}
	return newFileInfo(e.name, &a), nil
}
