package vfs

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Config tunes a [Mount]. The zero value is usable.
type Config struct {
	// Idle is how many inodes without a user stay in memory, so that the next user finds
	// them with their index; 0 means 1024, negative none.
	Idle int

	// Now is the clock for the modification time of files that mappings stored to; nil is
	// time.Now.
	Now func() time.Time

	// Touched, if not nil, is told of every range of a regular file whose bytes are asked for:
	// before a read, after a view or pin was made. The range may reach past the end of the
	// file. Many goroutines may call it at once, with no lock held; it must be quick.
	Touched func(ino uint64, off, n int64)
}

// idleDefault is Config.Idle if that is 0.
const idleDefault = 1024

// Mount is a file system in use: the inode table, the open files, and the locks above
// the driver. All front ends of one file system share one Mount.
//
// # Locks
//
// Outermost first. Numbers in brackets are those of section 2 of the DAX semantics.
//
//	Handle.mu                   one open file: what keeps it open
//	Mount.rename                renames that move between or replace directories
//	Node.mu of directories [2]  the inode lock; parent before child. Directories of
//	                            which neither lies below the other: by number, and
//	                            only under Mount.rename
//	Node.mu of others      [2]  by inode number
//	the driver's and DAX's locks [3 to 9]
//	Mount.mu                    the inode table; never held while a driver runs
//
// At most one goroutine, the holder of Mount.rename, locks directories in an order
// that is not parent before child, and those lie in disjoint trees; so no circle of
// waiters can close. This needs directories to be a tree, which a damaged image may
// deny: a step into a directory whose ".." names another one is refused (step).
type Mount struct {
	fs       FileSystem
	stater   Stater // fs, if it is one; immutable
	readOnly bool   // immutable, as those up to now
	why      string // why it is read-only, if the file system says so
	fixed    bool   // Description.FixedSize
	nameMax  int    // bytes; 0 is unlimited
	root     *Node
	now      func() time.Time
	touched  func(ino uint64, off, n int64) // Config.Touched; immutable
	release  []func()                       // of the devices, at Close

	rename sync.Mutex

	watchMu  sync.Mutex // held for changes of watchers; innermost
	watchers atomic.Pointer[[]Watcher]

	mu      sync.Mutex
	nodes   map[uint64]*Node // every inode in memory
	idle    idleList         // those without references
	idleMax int
	refs    int                  // sum of all Node.refs
	drained chan struct{}        // closed when refs drops to 1 while closing; else nil
	handles map[*Handle]struct{} // open files
	closing bool
	past    Stats // counters of files that are not in memory any more
	lost    error // first error of an eviction, until Sync or Close reports it
}

// OpenError says what keeps a file or file system from being closed. It is EBUSY to
// errors.Is.
type OpenError struct {
	Open []string // one open file or use each: "/a", "/b: 2 mappings, 1 pin"
}

// openErrorMax is how many names an OpenError's text lists.
const openErrorMax = 8

// Error lists what is open.
func (e *OpenError) Error() string {
	list := e.Open[:min(len(e.Open), openErrorMax)]
	text := "still open: " + strings.Join(list, ", ")
	if more := len(e.Open) - len(list); more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// Is reports whether target is EBUSY.
func (e *OpenError) Is(target error) bool { return target == syscall.EBUSY }

// NewMount puts a file system into use. Close closes it.
func NewMount(fsys FileSystem, c Config) (*Mount, error) {
	d := fsys.Describe()
	m := &Mount{
		fs:       fsys,
		readOnly: d.ReadOnly,
		why:      d.Why,
		fixed:    d.FixedSize,
		nameMax:  fsys.Statfs().NameMax,
		idleMax:  c.Idle,
		now:      c.Now,
		touched:  c.Touched,
		nodes:    make(map[uint64]*Node),
		handles:  make(map[*Handle]struct{}),
	}
	if c.Idle == 0 {
		m.idleMax = idleDefault
	}
	if m.now == nil {
		m.now = time.Now
	}
	m.stater, _ = fsys.(Stater)
	m.idle.init()
	m.hold()
	root, err := m.get(fsys.Root())
	if err != nil {
		m.letGo()
		return nil, fmt.Errorf("root directory: %w", err)
	}
	m.root = root
	if root.dir == nil {
		root.Put()
		m.letGo()
		return nil, corrupt("inode %d: root is not a directory", root.ino)
	}
	return m, nil
}

// FS is the mounted file system.
func (m *Mount) FS() FileSystem { return m.fs }

// ReadOnly reports whether changes are refused with EROFS.
func (m *Mount) ReadOnly() bool { return m.readOnly }

// FixedSize is that of the file system's [Description].
func (m *Mount) FixedSize() bool { return m.fixed }

// Statfs is the size and use of the file system.
func (m *Mount) Statfs() Statfs { return m.fs.Statfs() }

// Describe describes the file system.
func (m *Mount) Describe() Description { return m.fs.Describe() }

// Root returns the root directory, to be Put by the caller; fs.ErrClosed once Close
// has begun.
func (m *Mount) Root() (*Node, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closing {
		return nil, fs.ErrClosed
	}
	m.refLocked(m.root)
	return m.root, nil
}

// Sync makes everything that returned before durable: the data of every inode in
// memory, then the metadata. It goes on after errors and returns all of them,
// those of earlier evictions too.
func (m *Mount) Sync(ctx context.Context) error {
	m.mu.Lock()
	if m.closing {
		m.mu.Unlock()
		return fs.ErrClosed
	}
	nodes := m.filesLocked()
	errs := []error{m.lost}
	m.lost = nil
	m.mu.Unlock()

	for _, n := range nodes {
		errs = append(errs, n.sync(ctx, false))
		n.Put()
	}
	if !m.readOnly {
		errs = append(errs, m.fs.Sync(ctx))
	}
	return errors.Join(errs...)
}

// Close evicts all inodes and closes the file system. With files open it changes
// nothing and returns an [*OpenError] with their names. For calls still running it
// waits, as for Nodes that were not Put; if ctx ends meanwhile, the mount stays
// in use and the error is an OpenError with the numbers of the inodes. fs.ErrClosed
// if it was closed before. Any other error concerns data that could not be
// written; the file system is closed then.
func (m *Mount) Close(ctx context.Context) error {
	m.mu.Lock()
	if m.closing {
		m.mu.Unlock()
		return fs.ErrClosed
	}
	if len(m.handles) > 0 {
		open := slices.Collect(maps.Keys(m.handles))
		m.mu.Unlock()
		return openHandles(open)
	}
	m.closing = true
	for m.refs > 1 { // whoever passes on what happened to a device takes references for a moment
		drained := make(chan struct{})
		m.drained = drained
		m.mu.Unlock()
		select {
		case <-drained:
			m.mu.Lock()
		case <-ctx.Done():
			m.mu.Lock()
			if m.refs > 1 {
				defer m.mu.Unlock()
				m.closing, m.drained = false, nil
				return m.openInodesLocked()
			}
		}
		m.drained = nil
	}
	// Only the root has a reference, and nobody can get another.
	m.idleMax = -1
	victims := m.idle.takeAll()
	for _, n := range victims {
		n.state = evicting
	}
	m.mu.Unlock()

	for _, n := range victims {
		m.evict(n)
	}
	m.root.Put()
	m.letGo()
	m.mu.Lock()
	lost := m.lost
	m.lost = nil
	m.mu.Unlock()
	return errors.Join(lost, m.fs.Close(ctx))
}

// openHandles lists open files with their uses.
func openHandles(open []*Handle) error {
	e := &OpenError{}
	for _, h := range open {
		h.mu.Lock()
		e.Open = append(e.Open, h.describeLocked())
		h.mu.Unlock()
	}
	slices.Sort(e.Open)
	return e
}

// openInodesLocked lists the inodes that are referred to.
func (m *Mount) openInodesLocked() error {
	e := &OpenError{}
	for _, n := range m.nodes {
		if n.refs > 0 && n != m.root {
			e.Open = append(e.Open, fmt.Sprintf("inode %d", n.ino))
		}
	}
	slices.Sort(e.Open)
	return e
}

// writable returns EROFS on a read-only mount, with the reason if it was not by request.
func (m *Mount) writable() error {
	switch {
	case !m.readOnly:
		return nil
	case m.why == "":
		return syscall.EROFS
	}
	return fmt.Errorf("%w: %s", syscall.EROFS, m.why)
}

// corrupt makes an error that is ErrCorrupt.
func corrupt(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrCorrupt, fmt.Sprintf(format, args...))
}
