package fusefs

import (
	"io/fs"
	"math"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"godax/vfs"
)

// Positions in a directory as the kernel has them: after ".", after "..", and from there on
// those of the driver, moved up.
const (
	posDot    = 1
	posDotDot = 2
)

// OpenDir implements [fuse.RawFileSystem]. An open directory has no state: positions are the
// driver's.
func (f *fileSystem) OpenDir(_ <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := f.nodes.get(in.NodeId)
	switch {
	case n == nil:
		return fuse.Status(unix.ESTALE)
	case !n.IsDir():
		return fuse.ENOTDIR
	}
	return fuse.OK
}

// ReleaseDir implements [fuse.RawFileSystem].
func (f *fileSystem) ReleaseDir(*fuse.ReleaseIn) {}

// ReadDir implements [fuse.RawFileSystem].
func (f *fileSystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	if !f.dots(n, in.Offset, out.AddDirEntry) {
		return fuse.OK
	}
	var bad fuse.Status
	err := n.ReadDir(driverPos(in.Offset), func(e vfs.Dirent) bool {
		entry, ok := dirEntry(e)
		if !ok {
			bad = fuse.Status(unix.EOVERFLOW)
			return false
		}
		return out.AddDirEntry(entry)
	})
	if err == nil && bad != 0 && len(out.Bytes()) == 0 {
		return bad
	}
	return listed(err, out)
}

// ReadDirPlus implements [fuse.RawFileSystem].
func (f *fileSystem) ReadDirPlus(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	plain := func(e fuse.DirEntry) bool { return out.AddDirLookupEntry(e) != nil } // number 0: no attributes
	if !f.dots(n, in.Offset, plain) {
		return fuse.OK
	}
	var bad fuse.Status
	err := n.ReadDirNodes(driverPos(in.Offset), func(e vfs.Dirent, child *vfs.Node, a vfs.Attr) (bool, bool) {
		entry, ok := dirEntry(e)
		if !ok {
			bad = fuse.Status(unix.EOVERFLOW)
			return false, false
		}
		if child != nil {
			entry.Mode = toKernel(a.Mode)
		}
		o := out.AddDirLookupEntry(entry)
		if o == nil || child == nil {
			return o != nil, false
		}
		taken, _ := f.entered(child, &a, o) // one that cannot be told stays without attributes
		return true, taken
	})
	if err == nil && bad != 0 && len(out.Bytes()) == 0 {
		return bad
	}
	return listed(err, out)
}

// listed is the answer to a listing that ended with err: what was found before counts.
func listed(err error, out *fuse.DirEntryList) fuse.Status {
	if err != nil && len(out.Bytes()) == 0 {
		return status(err)
	}
	return fuse.OK
}

// dots adds "." and ".."; false if there is no room.
func (f *fileSystem) dots(n *node, pos uint64, add func(fuse.DirEntry) bool) bool {
	if pos < posDot && !add(fuse.DirEntry{Name: ".", Mode: typeOf(fs.ModeDir), Ino: n.Ino(), Off: posDot}) {
		return false
	}
	if pos < posDotDot {
		ino := n.Ino()
		if parent, err := n.Parent(); err == nil {
			ino = parent.Ino()
			parent.Put()
		}
		return add(fuse.DirEntry{Name: "..", Mode: typeOf(fs.ModeDir), Ino: ino, Off: posDotDot})
	}
	return true
}

// driverPos is the driver's position for one of the kernel.
func driverPos(pos uint64) uint64 {
	if pos < posDotDot {
		return 0
	}
	return pos - posDotDot
}

// dirEntry is an entry for the kernel; false if its position is one that the kernel cannot
// have.
func dirEntry(e vfs.Dirent) (fuse.DirEntry, bool) {
	if e.Off > math.MaxInt64-posDotDot {
		return fuse.DirEntry{}, false
	}
	return fuse.DirEntry{Name: e.Name, Mode: typeOf(e.Type), Ino: e.Ino, Off: e.Off + posDotDot}, true
}
