package fusefs

import (
	"bytes"
	"io/fs"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"godax/vfs"
)

// GetXAttr implements [fuse.RawFileSystem].
func (f *fileSystem) GetXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string, dest []byte) (uint32, fuse.Status) {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return 0, fuse.Status(unix.ESTALE)
	}
	value, err := n.Xattr(attr)
	if err != nil {
		return 0, status(err)
	}
	return answer(value, dest)
}

// answer copies what getxattr(2) and listxattr(2) return; ERANGE if there is no room.
func answer(value, dest []byte) (uint32, fuse.Status) {
	if len(value) > len(dest) {
		return uint32(len(value)), fuse.ERANGE // no error if dest is empty: then the size is asked for
	}
	copy(dest, value)
	return uint32(len(value)), fuse.OK
}

// SetXAttr implements [fuse.RawFileSystem].
func (f *fileSystem) SetXAttr(_ <-chan struct{}, in *fuse.SetXAttrIn, attr string, value []byte) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	err := n.SetXattr(attr, bytes.Clone(value), in.Flags&unix.XATTR_CREATE != 0, in.Flags&unix.XATTR_REPLACE != 0)
	if err == nil && in.SetXAttrFlags&fuse.SETXATTR_ACL_KILL_SGID != 0 {
		mode := n.Attr().Mode &^ fs.ModeSetgid
		err = n.SetAttr(vfs.SetAttr{Mode: &mode})
	}
	return status(err)
}

// RemoveXAttr implements [fuse.RawFileSystem].
func (f *fileSystem) RemoveXAttr(_ <-chan struct{}, in *fuse.InHeader, attr string) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	return status(n.RemoveXattr(attr))
}

// ListXAttr implements [fuse.RawFileSystem].
func (f *fileSystem) ListXAttr(_ <-chan struct{}, in *fuse.InHeader, dest []byte) (uint32, fuse.Status) {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return 0, fuse.Status(unix.ESTALE)
	}
	names, err := n.ListXattr()
	if err != nil {
		return 0, status(err)
	}
	var list []byte
	for _, name := range names {
		list = append(append(list, name...), 0)
	}
	return answer(list, dest)
}
