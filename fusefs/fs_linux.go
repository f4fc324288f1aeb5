package fusefs

import (
	"sync/atomic"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"golang.org/x/sys/unix"

	"godax/vfs"
)

// fileSystem answers the kernel's requests.
type fileSystem struct {
	fuse.RawFileSystem // says ENOSYS to what is not here

	m       *vfs.Mount
	o       Options
	timeout time.Duration
	dir     string       // that is mounted on; immutable
	server  *fuse.Server // set before the first request but the kernel's greeting; immutable then

	nodes    table[node]       // by the kernel's number
	handles  table[vfs.Handle] // by the number given out at open
	lastOpen atomic.Uint64     // the last such number
	lastTime atomic.Int64      // the last time given for a held file, in nanoseconds since 1970
}

// node is an inode that the kernel knows. It has one reference to the vfs.Node.
type node struct {
	*vfs.Node
	id      uint64
	lookups uint64 // how often the kernel was told; guarded by its shard of the table
}

func newFileSystem(m *vfs.Mount, o Options) *fileSystem {
	return &fileSystem{RawFileSystem: fuse.NewDefaultRawFileSystem(), m: m, o: o, timeout: o.timeout()}
}

// String is the name that go-fuse would give a mount without one.
func (f *fileSystem) String() string { return "godax" }

// nodeID is the kernel's number for an inode; 0 if it cannot have one.
func (f *fileSystem) nodeID(ino uint64) uint64 { return nodeID(f.m.FS().Root(), ino) }

// nodeID is the kernel's number for an inode of a file system with the given root, whose
// number is 1; 0 means that there is no inode.
func nodeID(root, ino uint64) uint64 {
	const first = fuse.FUSE_ROOT_ID + 1
	switch {
	case ino == root:
		return fuse.FUSE_ROOT_ID
	case ino >= ^uint64(0)-first: // the last one is go-fuse's own
		return 0
	}
	return ino + first
}

// Init implements [fuse.RawFileSystem]: the kernel has said hello.
func (f *fileSystem) Init(s *fuse.Server) { f.server = s }

// enter tells the kernel of an inode, and takes over the reference.
func (f *fileSystem) enter(cancel <-chan struct{}, n *vfs.Node, out *fuse.EntryOut) fuse.Status {
	a, err := f.attrOf(cancel, n)
	if err != nil {
		n.Put()
		return status(err)
	}
	taken, st := f.entered(n, &a, out)
	if !taken {
		n.Put()
	}
	return st
}

// entered is enter with the attributes known; taken says that it has taken over the reference.
func (f *fileSystem) entered(n *vfs.Node, a *vfs.Attr, out *fuse.EntryOut) (taken bool, _ fuse.Status) {
	id := f.nodeID(n.Ino())
	if id == 0 {
		return false, fuse.Status(unix.EOVERFLOW)
	}
	f.nodes.update(id, func(k *node) *node {
		if k == nil {
			k, taken = &node{Node: n, id: id}, true
		}
		k.lookups++
		return k
	})
	out.NodeId = id
	out.SetEntryTimeout(f.timeout)
	if !f.held(n, a) {
		out.SetAttrTimeout(f.timeout)
	}
	fillAttr(&out.Attr, a)
	return taken, fuse.OK
}

// Lookup implements [fuse.RawFileSystem].
func (f *fileSystem) Lookup(cancel <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	dir := f.nodes.get(in.NodeId)
	if dir == nil {
		return fuse.Status(unix.ESTALE)
	}
	n, err := dir.Lookup(name)
	if no := errno(err); no == unix.ENOENT && f.timeout > 0 {
		out.SetEntryTimeout(f.timeout) // number 0: the kernel remembers that there is nothing
		return fuse.OK
	} else if no != 0 {
		return fuse.Status(no)
	}
	return f.enter(cancel, n, out)
}

// Forget implements [fuse.RawFileSystem].
func (f *fileSystem) Forget(id, lookups uint64) {
	var gone *node
	f.nodes.update(id, func(n *node) *node {
		if n == nil {
			return nil
		}
		if n.lookups -= min(lookups, n.lookups); n.lookups > 0 {
			return n
		}
		gone = n
		return nil
	})
	if gone != nil {
		gone.Put()
	}
}

// Readlink implements [fuse.RawFileSystem].
func (f *fileSystem) Readlink(_ <-chan struct{}, in *fuse.InHeader) ([]byte, fuse.Status) {
	n := f.nodes.get(in.NodeId)
	if n == nil {
		return nil, fuse.Status(unix.ESTALE)
	}
	target, err := n.Readlink()
	return []byte(target), status(err)
}

// StatFs implements [fuse.RawFileSystem].
func (f *fileSystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	s := f.m.Statfs()
	*out = fuse.StatfsOut{
		Blocks: s.Blocks, Bfree: s.Free, Bavail: s.Avail, Files: s.Files, Ffree: s.FilesFree,
		Bsize: uint32(s.BlockSize), Frsize: uint32(s.BlockSize), NameLen: uint32(s.NameMax),
	}
	if s.NameMax == 0 {
		out.NameLen = 255
	}
	return fuse.OK
}

// status is errno in the type of go-fuse.
func status(err error) fuse.Status { return fuse.Status(errno(err)) }

// end gives back what the kernel has not.
func (f *fileSystem) end() {
	for _, h := range f.handles.takeAll() {
		_ = h.Close() // its uses are this package's own, which have ended
	}
	for _, n := range f.nodes.takeAll() {
		n.Put()
	}
}
