package fusefs

import (
	"context"
	"errors"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"godax/vfs"
)

// patience is how long a call goes on to wait that was interrupted. Signals that do not kill
// must not show: programs do not expect EINTR of files. But one that is killed while it waits,
// say for a pin, must not wait for ever.
const patience = time.Second

// wait runs op, which may wait for locks, for the caller of a request. It runs op a second time if
// the first was interrupted: what op has done by then it must not do again.
func (f *fileSystem) wait(cancel <-chan struct{}, op func(context.Context) error) error {
	err := op(&fuse.Context{Cancel: cancel})
	if !errors.Is(err, context.Canceled) {
		return err
	}
	ctx, stop := context.WithTimeout(context.Background(), patience)
	defer stop()
	return op(ctx)
}

// dropPriv is vfs.Node.DropPriv for the caller of a request. Of its groups only the first is
// known; root counts as a member of all.
func dropPriv(n *vfs.Node, in *fuse.InHeader, setid bool) error {
	return n.DropPriv(setid, func(gid uint32) bool { return in.Uid == 0 || in.Gid == gid })
}

// Writev implements [fuse.RawFileSystem].
func (f *fileSystem) Writev(cancel <-chan struct{}, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	h := f.handles.get(in.Fh)
	if h == nil {
		return 0, fuse.EBADF
	}
	// Pages that were stored to through a mapping of the kernel's go where they belong,
	// whatever the flags of the descriptor that carries them.
	mapped := in.WriteFlags&fuse.WRITE_CACHE != 0
	if !mapped {
		if err := dropPriv(h.Node(), &in.InHeader, in.WriteFlags&fuse.WRITE_KILL_SUIDGID != 0); err != nil {
			return 0, status(err)
		}
	}
	var done uint32
	var st fuse.Status
	if in.Flags&syscall.O_APPEND != 0 && !mapped {
		done, st = f.append(cancel, h, in, data)
	} else {
		done, st = f.writeAll(cancel, data, func(ctx context.Context, b []byte, done int64) (int, error) {
			return h.WriteAt(ctx, b, int64(in.Offset)+done)
		})
	}
	// The kernel calls fsync for O_SYNC and O_DSYNC where it keeps bytes, and only there.
	if done > 0 && !mapped && in.Flags&syscall.O_DSYNC != 0 {
		if err := f.sync(cancel, h, in.Flags&syscall.O_SYNC != syscall.O_SYNC); err != nil {
			return 0, status(err)
		}
	}
	return done, st
}

// sync is fsync(2), or fdatasync(2).
func (f *fileSystem) sync(cancel <-chan struct{}, h *vfs.Handle, dataOnly bool) error {
	return f.wait(cancel, func(ctx context.Context) error { return h.Sync(ctx, dataOnly) })
}

// writeAll writes data with write, which is told how many bytes are done. What was written counts
// more than the error that stopped it.
func (f *fileSystem) writeAll(cancel <-chan struct{}, data [][]byte, write func(ctx context.Context, b []byte, done int64) (int, error)) (uint32, fuse.Status) {
	var done int64
	for _, b := range data {
		err := f.wait(cancel, func(ctx context.Context) error {
			n, err := write(ctx, b, done)
			b, done = b[n:], done+int64(n)
			return err
		})
		if err != nil && done == 0 {
			return 0, status(err)
		}
		if err != nil || len(b) > 0 {
			break
		}
	}
	return uint32(done), fuse.OK
}

// append writes at the end of the file. The kernel, which puts the bytes where it thinks the end
// is, is corrected if another front end has moved it.
func (f *fileSystem) append(cancel <-chan struct{}, h *vfs.Handle, in *fuse.WriteIn, data [][]byte) (uint32, fuse.Status) {
	var end int64
	done, st := f.writeAll(cancel, data, func(ctx context.Context, b []byte, _ int64) (n int, err error) {
		n, end, err = h.WriteEnd(ctx, b)
		return n, err
	})
	if done > 0 && end-int64(done) != int64(in.Offset) {
		n := h.Node()
		n.Ref()
		go func() { // the kernel holds pages locked until it has the answer
			defer n.Put()
			f.NodeChanged(n, 0, -1)
		}()
	}
	return done, st
}

// Fsync implements [fuse.RawFileSystem].
func (f *fileSystem) Fsync(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	h := f.handles.get(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	return status(f.sync(cancel, h, in.FsyncFlags&1 != 0))
}

// FsyncDir implements [fuse.RawFileSystem].
func (f *fileSystem) FsyncDir(cancel <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	return status(f.wait(cancel, func(ctx context.Context) error { return n.Sync(ctx, false) }))
}

// Fallocate implements [fuse.RawFileSystem]: nothing, KEEP_SIZE, PUNCH_HOLE and ZERO_RANGE.
func (f *fileSystem) Fallocate(cancel <-chan struct{}, in *fuse.FallocateIn) fuse.Status {
	h := f.handles.get(in.Fh)
	if h == nil {
		return fuse.EBADF
	}
	off, n := int64(in.Offset), int64(in.Length)
	if off < 0 || n <= 0 || n > 1<<63-1-off {
		return fuse.EINVAL
	}
	keep := in.Mode&unix.FALLOC_FL_KEEP_SIZE != 0
	var modes []vfs.AllocMode
	switch in.Mode &^ unix.FALLOC_FL_KEEP_SIZE {
	case 0:
		modes = []vfs.AllocMode{vfs.AllocReserve}
		if keep {
			modes[0] = vfs.AllocKeepSize
		}
	case unix.FALLOC_FL_PUNCH_HOLE:
		modes = []vfs.AllocMode{vfs.AllocPunch}
	case unix.FALLOC_FL_ZERO_RANGE:
		// Storage first: only then can the file grow, and the range is zeroed up to its end.
		if modes = []vfs.AllocMode{vfs.AllocReserve, vfs.AllocZero}; keep {
			modes = modes[1:]
		}
	default:
		return fuse.Status(unix.EOPNOTSUPP)
	}
	if err := dropPriv(h.Node(), &in.InHeader, in.Uid != 0); err != nil {
		return status(err)
	}
	for _, mode := range modes {
		err := f.wait(cancel, func(ctx context.Context) error { return h.Allocate(ctx, mode, off, n) })
		if err != nil {
			return status(err)
		}
	}
	return fuse.OK
}

// maxCopy is how many bytes one copy_file_range(2) does before it looks for interrupts: the
// kernel asks again.
const maxCopy = 64 << 20

// CopyFileRange implements [fuse.RawFileSystem].
func (f *fileSystem) CopyFileRange(cancel <-chan struct{}, in *fuse.CopyFileRangeIn) (uint32, fuse.Status) {
	src, dst := f.handles.get(in.FhIn), f.handles.get(in.FhOut)
	if src == nil || dst == nil {
		return 0, fuse.EBADF
	}
	if err := dropPriv(dst.Node(), &in.InHeader, in.Uid != 0); err != nil {
		return 0, status(err)
	}
	var n int64
	err := f.wait(cancel, func(ctx context.Context) (err error) {
		n, err = vfs.CopyRange(ctx, dst, int64(in.OffOut), src, int64(in.OffIn), int64(min(in.Len, maxCopy)))
		return err
	})
	if n == 0 && err != nil {
		return 0, status(err)
	}
	return uint32(n), fuse.OK
}
