package fusefs

import (
	"context"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"godax/vfs"
)

// blkSize is what a program is told to read and write at a time: at least a page.
func blkSize(a *vfs.Attr) uint32 { return uint32(max(min(a.BlockSize, 1<<20), 4096)) }

// fillAttr gives the kernel attributes.
func fillAttr(out *fuse.Attr, a *vfs.Attr) {
	*out = fuse.Attr{
		Ino:     a.Ino,
		Size:    uint64(max(a.Size, 0)),
		Blocks:  a.Blocks,
		Mode:    toKernel(a.Mode),
		Nlink:   a.Nlink,
		Owner:   fuse.Owner{Uid: a.UID, Gid: a.GID},
		Rdev:    encodeDev(a.RdevMajor, a.RdevMinor),
		Blksize: blkSize(a),
	}
	out.Atime, out.Atimensec = seconds(a.Atime)
	out.Mtime, out.Mtimensec = seconds(a.Mtime)
	out.Ctime, out.Ctimensec = seconds(a.Ctime)
}

// seconds is a time as the kernel has it: seconds since 1970, a negative number in two's
// complement, and nanoseconds.
func seconds(t time.Time) (sec uint64, nsec uint32) {
	if t.IsZero() {
		return 0, 0
	}
	return uint64(t.Unix()), uint32(t.Nanosecond())
}

// fillStatx gives the kernel attributes with the time of birth.
func fillStatx(out *fuse.Statx, a *vfs.Attr) {
	*out = fuse.Statx{
		Mask:      unix.STATX_BASIC_STATS,
		Ino:       a.Ino,
		Size:      uint64(max(a.Size, 0)),
		Blocks:    a.Blocks,
		Mode:      uint16(toKernel(a.Mode)),
		Nlink:     a.Nlink,
		Uid:       a.UID,
		Gid:       a.GID,
		Blksize:   blkSize(a),
		RdevMajor: a.RdevMajor,
		RdevMinor: a.RdevMinor,
	}
	out.Atime.Sec, out.Atime.Nsec = seconds(a.Atime)
	out.Mtime.Sec, out.Mtime.Nsec = seconds(a.Mtime)
	out.Ctime.Sec, out.Ctime.Nsec = seconds(a.Ctime)
	if !a.Btime.IsZero() {
		out.Mask |= unix.STATX_BTIME
		out.Btime.Sec, out.Btime.Nsec = seconds(a.Btime)
	}
}

// GetAttr implements [fuse.RawFileSystem].
func (f *fileSystem) GetAttr(cancel <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	return f.attr(cancel, n, out)
}

// attr answers with a node's attributes.
func (f *fileSystem) attr(cancel <-chan struct{}, n *node, out *fuse.AttrOut) fuse.Status {
	a, err := f.attrOf(cancel, n.Node)
	if err != nil {
		return status(err)
	}
	if !f.held(n.Node, &a) {
		out.SetTimeout(f.timeout)
	}
	fillAttr(&out.Attr, &a)
	return fuse.OK
}

// attrOf waits for the attributes.
func (f *fileSystem) attrOf(cancel <-chan struct{}, n *vfs.Node) (a vfs.Attr, err error) {
	err = f.wait(cancel, func(ctx context.Context) (err error) {
		a, err = n.AttrContext(ctx)
		return err
	})
	return a, err
}

// Statx implements [fuse.RawFileSystem].
func (f *fileSystem) Statx(cancel <-chan struct{}, in *fuse.StatxIn, out *fuse.StatxOut) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	a, err := f.attrOf(cancel, n.Node)
	if err != nil {
		return status(err)
	}
	if !f.held(n.Node, &a) {
		out.SetTimeout(f.timeout)
	}
	fillStatx(&out.Statx, &a)
	return fuse.OK
}
