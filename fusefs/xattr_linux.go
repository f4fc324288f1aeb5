package fusefs

import (
	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"
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
