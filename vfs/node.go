package vfs

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync/atomic"
	"syscall"

	"godax/internal/rwsem"
)

// state is where an inode is in its life in memory.
type state uint8

const (
	loading  state = iota // the driver reads it; wait for the end of that
	live                  // usable
	evicting              // the driver lets go of it; wait for the end of that and look again
)

// inodeLock is an inode lock. Calls that have no context wait for it as long as it takes.
type inodeLock struct{ rwsem.RW }

// Lock takes the lock exclusively, RLock shared.
func (l *inodeLock) Lock()  { _ = l.RW.Lock(nil) } // cannot fail without a context
func (l *inodeLock) RLock() { _ = l.RW.RLock(nil) }

// Node is an inode in memory. There is at most one Node for an inode number at any
// time. Whoever got one from a [Mount] has a reference and gives it back with Put.
type Node struct {
	m   *Mount
	ino uint64

	// Immutable once loading has ended.
	err    error // why it could not be read
	inode  Inode
	typ    fs.FileMode
	dir    Dir
	file   File
	lazy   Lazy // file, if it is one
	link   Symlink
	xattrs Xattrs

	// mu is the inode lock: shared for what only reads the inode, exclusive for what
	// changes it. For its place see [Mount].
	mu inodeLock

	// parent is the directory that ".." names (directories only). It is written with
	// mu of the directory and of both parents exclusive.
	parent    atomic.Uint64
	parentErr error // why there is none; immutable once loading has ended

	// dead is set once the inode has no name left; written with mu exclusive.
	dead atomic.Bool

	// nameless says that the inode is dead because it has had no name yet: Link may give it
	// one. Guarded by mu.
	nameless bool

	// plain says that there is no privilege for DropPriv to take away (Linux: S_NOSEC);
	// written with mu exclusive.
	plain atomic.Bool

	held   atomic.Int64 // uses of all Handles
	opened atomic.Bool  // a regular file that was opened

	// Guarded by m.mu.
	refs       int
	writers    int // Handles open for writing
	state      state
	ended      chan struct{} // closed when loading or evicting has ended; nil if nobody waits for it
	prev, next *Node         // in m.idle, if refs is 0 and the state is live
}

// Ino is the inode number.
func (n *Node) Ino() uint64 { return n.ino }

// Type is the inode's type bits.
func (n *Node) Type() fs.FileMode { return n.typ }

// IsDir reports whether n is a directory.
func (n *Node) IsDir() bool { return n.dir != nil }

// File is the driver's regular file; nil for other types.
func (n *Node) File() File { return n.file }

// Attr returns the attributes.
func (n *Node) Attr() Attr {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.inode.Attr()
}

// Held reports whether a [Handle] of the inode has a use: then bytes may be stored to without
// a call.
func (n *Node) Held() bool { return n.held.Load() > 0 }

// AttrContext is Attr that gives up waiting for the inode lock when ctx is done.
func (n *Node) AttrContext(ctx context.Context) (Attr, error) {
	if err := n.mu.RW.RLock(ctx); err != nil {
		return Attr{}, err
	}
	defer n.mu.RUnlock()
	return n.inode.Attr(), nil
}

// ReadAt reads bytes of a regular file without an open Handle; fewer than len(b) at the end of
// the file. EISDIR, EINVAL for other types.
func (n *Node) ReadAt(ctx context.Context, b []byte, off int64) (int, error) {
	switch {
	case n.dir != nil:
		return 0, errIsDir
	case n.file == nil || off < 0:
		return 0, syscall.EINVAL
	}
	if err := n.mu.RW.RLock(ctx); err != nil {
		return 0, err
	}
	defer n.mu.RUnlock()
	k, err := n.file.ReadAt(ctx, b, off)
	if err == io.EOF {
		err = nil
	}
	return k, err
}

// Ref takes another reference for a caller that has one.
func (n *Node) Ref() {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	n.m.refLocked(n)
}

// Revive takes a reference for a caller that has given its own back, but kept n. It reports false
// if the inode is in memory no more, or the Mount is closed: then n is of no use to anybody.
func (n *Node) Revive() bool {
	n.m.mu.Lock()
	defer n.m.mu.Unlock()
	if n.m.closing || n.state != live {
		return false
	}
	n.m.refLocked(n)
	return true
}

// Put gives a reference back. With the last one an inode without a name is evicted at
// once, any other when room is needed. The caller may hold locks of other inodes.
func (n *Node) Put() {
	m := n.m
	m.mu.Lock()
	n.refs--
	m.refs--
	if m.refs == 1 && m.drained != nil {
		close(m.drained)
		m.drained = nil
	}
	if n.refs > 0 {
		m.mu.Unlock()
		return
	}
	victim := n
	if !n.dead.Load() && m.idleMax > 0 {
		m.idle.push(n)
		if victim = nil; m.idle.n > m.idleMax {
			victim = m.idle.takeOldest()
		}
	}
	if victim != nil {
		victim.state = evicting
	}
	m.mu.Unlock()
	if victim != nil {
		m.evict(victim)
	}
}

// evict lets the driver drop n, which is marked evicting and has no reference, and
// then forgets it. Only after that the driver is asked for this number again.
func (m *Mount) evict(n *Node) {
	err := n.inode.Evict(context.Background())
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil && m.lost == nil {
		m.lost = fmt.Errorf("inode %d: %w", n.ino, err)
	}
	if index := n.openedIndex(); index != nil {
		m.past.add(index.Stats())
	}
	delete(m.nodes, n.ino)
	n.endLocked()
}

// waitLocked returns what is closed when n is no longer loading, or evicting. m.mu is held.
func (n *Node) waitLocked() <-chan struct{} {
	if n.ended == nil {
		n.ended = make(chan struct{})
	}
	return n.ended
}

// endLocked wakes those who wait for the end of loading or evicting. m.mu is held.
func (n *Node) endLocked() {
	if n.ended != nil {
		close(n.ended)
		n.ended = nil
	}
}

// refLocked takes a reference to a live node. m.mu is held.
func (m *Mount) refLocked(n *Node) {
	if n.refs == 0 {
		m.idle.remove(n)
	}
	n.refs++
	m.refs++
}

// get returns the Node of an inode number with a reference, reading it if it is not in
// memory. Somebody else's reading or eviction of it is waited for.
//
// The caller sees to it that the number is not given to a new inode meanwhile: it
// holds the lock of a directory with an entry for it.
func (m *Mount) get(ino uint64) (*Node, error) {
	for {
		m.mu.Lock()
		n := m.nodes[ino]
		if n == nil {
			n = m.newNodeLocked(ino)
			m.mu.Unlock()
			inode, err := m.fs.Inode(ino)
			if err = m.loaded(n, inode, err); err != nil {
				return nil, err
			}
			return n, nil
		}
		if n.state == evicting {
			gone := n.waitLocked()
			m.mu.Unlock()
			<-gone
			continue
		}
		m.refLocked(n)
		if n.state == live {
			m.mu.Unlock()
			return n, nil
		}
		ready := n.waitLocked()
		m.mu.Unlock()
		<-ready
		if n.err != nil {
			m.dropFailed(n)
			return nil, n.err
		}
		return n, nil
	}
}

// newNodeLocked adds a Node in state loading with one reference.
func (m *Mount) newNodeLocked(ino uint64) *Node {
	n := &Node{m: m, ino: ino, refs: 1}
	m.refs++
	m.nodes[ino] = n
	return n
}

// loaded ends the state loading of a new Node, and lets the others at it.
func (m *Mount) loaded(n *Node, inode Inode, err error) error {
	if err == nil {
		n.fill(inode)
	}
	m.mu.Lock()
	n.err = err
	n.state = live
	if err != nil && m.nodes[n.ino] == n {
		delete(m.nodes, n.ino)
	}
	n.endLocked()
	m.mu.Unlock()
	if err != nil {
		m.dropFailed(n)
	}
	return err
}

// dropFailed gives back a reference to a Node that could not be read; it is in no
// table any more.
func (m *Mount) dropFailed(n *Node) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n.refs--
	m.refs--
	if m.refs == 1 && m.drained != nil {
		close(m.drained)
		m.drained = nil
	}
}

// fill sets what follows from the driver's inode.
func (n *Node) fill(inode Inode) {
	n.inode = inode
	a := inode.Attr()
	n.typ = a.Mode.Type()
	switch n.typ {
	case fs.ModeDir:
		n.dir, _ = inode.(Dir)
	case 0:
		n.file, _ = inode.(File)
		n.lazy, _ = inode.(Lazy)
	case fs.ModeSymlink:
		n.link, _ = inode.(Symlink)
	}
	n.xattrs, _ = inode.(Xattrs)
	n.dead.Store(a.Nlink == 0)
	if n.dir != nil {
		parent, err := n.dir.Parent()
		n.parent.Store(parent)
		n.parentErr = err
	}
}

// adopt makes the Node of an inode that the driver has just created, with a reference.
// A Node of an earlier inode with the same number may still be on its way out. The lock
// of the directory that has the new entry is held.
func (m *Mount) adopt(inode Inode) (*Node, error) {
	ino := inode.Attr().Ino
	for {
		m.mu.Lock()
		old := m.nodes[ino]
		if old == nil {
			n := m.newNodeLocked(ino)
			m.mu.Unlock()
			return n, m.loaded(n, inode, nil)
		}
		if old.state != evicting {
			m.mu.Unlock()
			return nil, corrupt("inode %d: allocated while in use", ino)
		}
		gone := old.waitLocked()
		m.mu.Unlock()
		<-gone
	}
}

// step looks name up in the directory n. The inode behind an entry must exist, and a
// directory behind it must have n as its parent: then everything reached from the root
// is a tree, whatever the image says.
//
// n.mu is held, shared at least.
func (n *Node) stepLocked(name string) (*Node, error) {
	if n.dir == nil {
		return nil, errNotDir
	}
	ino, err := n.dir.Lookup(name)
	if err != nil {
		return nil, err
	}
	return n.childLocked(name, ino)
}

// childLocked is the inode that the entry name of the directory n leads to.
//
// n.mu is held, shared at least.
func (n *Node) childLocked(name string, ino uint64) (*Node, error) {
	child, err := n.m.get(ino)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			err = corrupt("directory %d: entry %q names the free inode %d", n.ino, name, ino)
		}
		return nil, err
	}
	if child.dir != nil {
		if err := child.parentErr; err != nil {
			child.Put()
			return nil, fmt.Errorf("directory %d: %w", ino, err)
		}
		if p := child.parent.Load(); p != n.ino || child == n.m.root {
			child.Put()
			return nil, corrupt("directory %d: entry %q names directory %d, whose parent is %d", n.ino, name, ino, p)
		}
	}
	return child, nil
}
