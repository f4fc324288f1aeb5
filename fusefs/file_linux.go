package fusefs

import (
	"fmt"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"godax/vfs"
)

// Open implements [fuse.RawFileSystem].
func (f *fileSystem) Open(cancel <-chan struct{}, in *fuse.OpenIn, out *fuse.OpenOut) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	return f.open(cancel, n.Node, in.Flags, out)
}

// open opens a node. The kernel has checked permissions, and keeps the offset and O_APPEND.
func (f *fileSystem) open(cancel <-chan struct{}, n *vfs.Node, flags uint32, out *fuse.OpenOut) fuse.Status {
	ctx := &fuse.Context{Cancel: cancel}
	h, err := n.Open(ctx, int(flags&syscall.O_ACCMODE), fmt.Sprintf("inode %d, by the kernel", n.Ino()))
	if err != nil {
		return status(err)
	}
	fh := f.lastOpen.Add(1)
	f.handles.update(fh, func(*vfs.Handle) *vfs.Handle { return h })
	out.Fh = fh
	if f.o.Cache == CacheNone {
		out.OpenFlags = fuse.FOPEN_DIRECT_IO
	} else {
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	}
	return fuse.OK
}

// Release implements [fuse.RawFileSystem].
func (f *fileSystem) Release(_ <-chan struct{}, in *fuse.ReleaseIn) {
	if h := f.handles.take(in.Fh); h != nil {
		_ = h.Close() // no use is left; what could not be written was told by fsync
	}
}

// Read implements [fuse.RawFileSystem].
func (f *fileSystem) Read(cancel <-chan struct{}, in *fuse.ReadIn, buf []byte) (fuse.ReadResult, fuse.Status) {
	h := f.handles.get(in.Fh)
	if h == nil {
		return nil, fuse.EBADF
	}
	if f.o.OnRead != nil {
		f.o.OnRead(h.Node().Ino(), int64(in.Offset), len(buf))
	}
	n, err := h.ReadAt(&fuse.Context{Cancel: cancel}, buf, int64(in.Offset))
	if n == 0 && err != nil {
		return nil, status(err)
	}
	return fuse.ReadResultData(buf[:n]), fuse.OK
}

// Flush implements [fuse.RawFileSystem]: there is nothing to do at close(2) that the kernel
// does not do itself, and so it stops asking.
func (f *fileSystem) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.ENOSYS }

// Lseek implements [fuse.RawFileSystem]: SEEK_DATA and SEEK_HOLE.
func (f *fileSystem) Lseek(_ <-chan struct{}, in *fuse.LseekIn, out *fuse.LseekOut) fuse.Status {
	h := f.handles.get(in.Fh)
	switch {
	case h == nil:
		return fuse.EBADF
	case in.Whence != unix.SEEK_DATA && in.Whence != unix.SEEK_HOLE:
		return fuse.EINVAL
	}
	off, err := h.SeekExtent(int64(in.Offset), in.Whence == unix.SEEK_HOLE)
	out.Offset = uint64(off)
	return status(err)
}
