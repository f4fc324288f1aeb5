package fusefs

import (
	"context"
	"fmt"
	"sync"
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
	h, err := n.Open(ctx, int(flags&syscall.O_ACCMODE), openName(n))
	if err != nil {
		return status(err)
	}
	f.opened(h, out)
	return fuse.OK
}

// openName is what errors call a file that the kernel has open.
func openName(n *vfs.Node) string { return fmt.Sprintf("inode %d, through a mount", n.Ino()) }

// opened gives the kernel a number for an open file. Bytes of one that this process may store
// to unseen are not kept.
func (f *fileSystem) opened(h *vfs.Handle, out *fuse.OpenOut) {
	fh := f.lastOpen.Add(1)
	f.handles.update(fh, func(*vfs.Handle) *vfs.Handle { return h })
	out.Fh = fh
	switch {
	case f.o.Cache == CacheNone, f.o.Cache == CacheShared && h.Node().Held():
		out.OpenFlags = fuse.FOPEN_DIRECT_IO | fuse.FOPEN_PARALLEL_DIRECT_WRITES
	default:
		out.OpenFlags = fuse.FOPEN_KEEP_CACHE
	}
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
	r := answers.Get().(*readAnswer)
	err := f.wait(cancel, func(ctx context.Context) (err error) {
		r.pieces, r.n, err = h.ReadPieces(ctx, buf, int64(in.Offset), r.pieces[:0])
		if err != nil && r.n > 0 {
			// The kernel takes fewer bytes for the end of the file, and fills up with zeros.
			h.ReadDone()
			r.n = 0
		}
		return err
	})
	if r.n == 0 {
		answers.Put(r)
		if err != nil {
			return nil, status(err) // go-fuse would take any result for a success
		}
		return fuse.ReadResultData(nil), fuse.OK
	}
	r.h = h
	return r, fuse.OK
}

// readAnswer is the answer to a read: bytes in the frames of the device, which go to the kernel
// without a copy in between. The inode is locked until they are there.
type readAnswer struct {
	h      *vfs.Handle
	pieces [][]byte
	n      int
}

var answers = sync.Pool{New: func() any { return new(readAnswer) }}

// Size implements [fuse.ReadResult].
func (r *readAnswer) Size() int { return r.n }

// Slices makes go-fuse write the pieces as they are.
func (r *readAnswer) Slices() ([][]byte, fuse.Status) { return r.pieces, fuse.OK }

// Bytes implements [fuse.ReadResult], for who cannot do that.
func (r *readAnswer) Bytes(buf []byte) ([]byte, fuse.Status) {
	buf = buf[:0]
	for _, p := range r.pieces {
		buf = append(buf, p...)
	}
	return buf, fuse.OK
}

// Done implements [fuse.ReadResult].
func (r *readAnswer) Done() {
	r.h.ReadDone()
	clear(r.pieces)
	r.h, r.n = nil, 0
	answers.Put(r)
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
	case int64(in.Offset) < 0:
		return fuse.Status(unix.ENXIO)
	}
	off, err := h.SeekExtent(int64(in.Offset), in.Whence == unix.SEEK_HOLE)
	out.Offset = uint64(off)
	return status(err)
}
