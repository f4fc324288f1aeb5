package godax

import (
	"io/fs"
	"path"
	"time"

	"godax/vfs"
)

// Stat is what FileInfo.Sys returns (as a pointer): all attributes, with those that fs.FileInfo
// has no method for.
type Stat = vfs.Attr

// fileInfo is an fs.FileInfo.
type fileInfo struct {
	name string
	stat Stat
}

func (i *fileInfo) Name() string       { return i.name }
func (i *fileInfo) Size() int64        { return i.stat.Size }
func (i *fileInfo) Mode() fs.FileMode  { return i.stat.Mode }
func (i *fileInfo) ModTime() time.Time { return i.stat.Mtime }
func (i *fileInfo) IsDir() bool        { return i.stat.Mode.IsDir() }
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
	return &fileInfo{path.Base(name), n.Attr()}, nil
}

// dirEntry is an fs.DirEntry.
type dirEntry struct {
	dir *File // closed maybe
	e   vfs.Dirent
}

func (d *dirEntry) Name() string      { return d.e.Name }
func (d *dirEntry) IsDir() bool       { return d.e.Type.IsDir() }
func (d *dirEntry) Type() fs.FileMode { return d.e.Type }
func (d *dirEntry) String() string    { return fs.FormatDirEntry(d) }

// Info describes what has the name now, as os.DirEntry does. It finds it through the directory as
// long as that is in memory, which saves the walk to it.
func (d *dirEntry) Info() (fs.FileInfo, error) {
	full := func() string { return path.Join(d.dir.Name(), d.e.Name) }
	n := d.dir.h.Node()
	if !n.Revive() {
		return d.dir.fs.Lstat(full())
	}
	defer n.Put()
	fi := &fileInfo{name: d.e.Name}
	if err := n.StatEntry(d.e, &fi.stat); err != nil {
		return nil, wrap("lstat", full(), err)
	}
	return fi, nil
}
