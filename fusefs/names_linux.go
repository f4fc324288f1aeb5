package fusefs

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"syscall"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"godax/vfs"
)

// newInode describes a new inode of the calling user.
func newInode(in *fuse.InHeader, mode fs.FileMode, umask uint32) vfs.NewInode {
	return vfs.NewInode{Mode: mode, UID: in.Uid, GID: in.Gid, Umask: fs.FileMode(umask) & fs.ModePerm}
}

// make makes an inode in a directory and tells the kernel of it.
func (f *fileSystem) make(cancel <-chan struct{}, dir uint64, name string, ni vfs.NewInode, out *fuse.EntryOut) fuse.Status {
	d := f.nodes.get(dir)
	if d == nil {
		return fuse.Status(unix.ESTALE)
	}
	n, err := d.Create(name, ni)
	if err != nil {
		return status(err)
	}
	return f.enter(cancel, n, out)
}

// Mknod implements [fuse.RawFileSystem].
func (f *fileSystem) Mknod(cancel <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	mode, ok := fromKernel(in.Mode)
	if !ok || mode.IsDir() || mode.Type() == fs.ModeSymlink {
		return fuse.EINVAL
	}
	ni := newInode(&in.InHeader, mode, in.Umask)
	if mode&fs.ModeDevice != 0 {
		ni.RdevMajor, ni.RdevMinor = decodeDev(in.Rdev)
	}
	return f.make(cancel, in.NodeId, name, ni, out)
}

// Mkdir implements [fuse.RawFileSystem].
func (f *fileSystem) Mkdir(cancel <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	mode, _ := fromKernel(in.Mode &^ syscall.S_IFMT)
	return f.make(cancel, in.NodeId, name, newInode(&in.InHeader, fs.ModeDir|mode, in.Umask), out)
}

// Symlink implements [fuse.RawFileSystem].
func (f *fileSystem) Symlink(cancel <-chan struct{}, in *fuse.InHeader, target, name string, out *fuse.EntryOut) fuse.Status {
	ni := newInode(in, fs.ModeSymlink|0o777, 0)
	ni.Target = target
	return f.make(cancel, in.NodeId, name, ni, out)
}

// Create implements [fuse.RawFileSystem]. The kernel asks if it knows of nothing by the name;
// another front end may have made something since.
func (f *fileSystem) Create(cancel <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	d := f.nodes.get(in.NodeId)
	if d == nil {
		return fuse.Status(unix.ESTALE)
	}
	mode, _ := fromKernel(in.Mode &^ syscall.S_IFMT)
	n, err := d.Create(name, newInode(&in.InHeader, mode, in.Umask))
	found := errors.Is(err, fs.ErrExist) && in.Flags&syscall.O_EXCL == 0
	if found {
		n, err = d.Lookup(name)
	}
	if err != nil {
		return status(err)
	}
	flags := in.Flags & syscall.O_ACCMODE
	if found {
		flags |= in.Flags & uint32(os.O_TRUNC)
	}
	return f.created(cancel, n, flags, out)
}

// Tmpfile implements [fuse.RawFileSystem]: O_TMPFILE. Whether linkat(2) may give the file a name
// (O_EXCL) is the kernel's affair.
func (f *fileSystem) Tmpfile(cancel <-chan struct{}, in *fuse.CreateIn, out *fuse.CreateOut) fuse.Status {
	d := f.nodes.get(in.NodeId)
	if d == nil {
		return fuse.Status(unix.ESTALE)
	}
	mode, _ := fromKernel(in.Mode &^ syscall.S_IFMT)
	n, err := d.Tmpfile(newInode(&in.InHeader, mode, in.Umask))
	if err != nil {
		return status(err)
	}
	return f.created(cancel, n, in.Flags&syscall.O_ACCMODE, out)
}

// created opens a new file, and takes over the reference.
func (f *fileSystem) created(cancel <-chan struct{}, n *vfs.Node, flags uint32, out *fuse.CreateOut) fuse.Status {
	h, err := n.Open(&fuse.Context{Cancel: cancel}, int(flags), openName(n))
	if err != nil {
		n.Put()
		return status(err)
	}
	if st := f.enter(cancel, n, &out.EntryOut); st != fuse.OK {
		return status(errors.Join(syscall.Errno(st), h.Close()))
	}
	f.opened(h, &out.OpenOut)
	return fuse.OK
}

// Link implements [fuse.RawFileSystem].
func (f *fileSystem) Link(cancel <-chan struct{}, in *fuse.LinkIn, name string, out *fuse.EntryOut) fuse.Status {
	d, n := f.nodes.get(in.NodeId), f.nodes.get(in.Oldnodeid)
	if d == nil || n == nil {
		return fuse.Status(unix.ESTALE)
	}
	if err := d.Link(name, n.Node); err != nil {
		return status(err)
	}
	n.Ref()
	return f.enter(cancel, n.Node, out)
}

// Unlink implements [fuse.RawFileSystem].
func (f *fileSystem) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	d := f.nodes.get(in.NodeId)
	if d == nil {
		return fuse.Status(unix.ESTALE)
	}
	return status(d.Unlink(name))
}

// Rmdir implements [fuse.RawFileSystem].
func (f *fileSystem) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	d := f.nodes.get(in.NodeId)
	if d == nil {
		return fuse.Status(unix.ESTALE)
	}
	return status(d.Rmdir(name))
}

// Rename implements [fuse.RawFileSystem], with the flags of renameat2(2) but RENAME_WHITEOUT.
func (f *fileSystem) Rename(_ <-chan struct{}, in *fuse.RenameIn, name, newName string) fuse.Status {
	from, to := f.nodes.get(in.NodeId), f.nodes.get(in.Newdir)
	if from == nil || to == nil {
		return fuse.Status(unix.ESTALE)
	}
	var flags vfs.RenameFlags
	switch in.Flags {
	case 0:
	case unix.RENAME_NOREPLACE:
		flags = vfs.RenameNoReplace
	case unix.RENAME_EXCHANGE:
		flags = vfs.RenameExchange
	default:
		return fuse.EINVAL
	}
	return status(from.Rename(name, to.Node, newName, flags))
}

// SetAttr implements [fuse.RawFileSystem]. The kernel has checked who may.
func (f *fileSystem) SetAttr(cancel <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return fuse.Status(unix.ESTALE)
	}
	if size, ok := in.GetSize(); ok {
		if size > 1<<63-1 {
			return fuse.Status(unix.EFBIG)
		}
		if err := dropPriv(n.Node, &in.InHeader, in.Valid&fuse.FATTR_KILL_SUIDGID != 0); err != nil {
			return status(err)
		}
		err := f.wait(cancel, func(ctx context.Context) error { return n.Truncate(ctx, int64(size)) })
		if err != nil {
			return status(err)
		}
	}
	var a vfs.SetAttr
	if mode, ok := in.GetMode(); ok {
		m, _ := fromKernel(mode)
		a.Mode = &m
	}
	if uid, ok := in.GetUID(); ok {
		a.UID = &uid
	}
	if gid, ok := in.GetGID(); ok {
		a.GID = &gid
	}
	if t, ok := in.GetATime(); ok {
		a.Atime = &t
	}
	if t, ok := in.GetMTime(); ok {
		a.Mtime = &t
	}
	if a.UID != nil || a.GID != nil {
		if err := dropPriv(n.Node, &in.InHeader, true); err != nil {
			return status(err)
		}
	}
	if a != (vfs.SetAttr{}) {
		if err := n.SetAttr(a); err != nil {
			return status(err)
		}
	}
	return f.attr(cancel, n, out)
}
