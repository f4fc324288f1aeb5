// Package famfs is the driver of famfs, the file system of memory that several hosts
// share: one superblock, one log that only grows, and file data that never moves.
//
// Everything but the data is rebuilt by replaying the log (replay.go). A mount is the
// master, which appends to the log (append.go), or a client, which follows it: each lookup
// and listing looks at the log's header first and takes in what is new, so that files appear
// without a remount. The frames of a file are arithmetic (populate.go).
//
// # What readers and the writer owe each other
//
// The master clears the storage of a new file and flushes it, writes the entry and
// flushes it, and only then counts it in the header; a reader looks at the header, then at
// the entry, then at the data, and drops its cache lines before each look at the log. So
// neither a reader nor a power cut meets a name without its place, or a place with what was
// there before. There is no state in between that a medium would have to be repaired from.
//
// # Locks
//
// Above the driver, vfs locks inodes. Inside it:
//
//	masters.mu   which devices have a master in this process; a leaf
//	FS.appendMu  one append to the log at a time, from the choice of space to the header
//	FS.mu        what was replayed: exclusive while entries are taken in; a leaf
//
// Nothing of them is needed to find frames: an entry never changes.
package famfs

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"godax/internal/famfsfmt"
	"godax/pmem"
	"godax/vfs"
)

// Config is what a driver can be told beside its mount options.
type Config struct {
	// HostUUID is this host's identity: it is the master of file systems that carry it. ""
	// means that of [HostUUID].
	HostUUID string

	// Identify returns the UUID of a further device; false if it has none. nil means the one in
	// the superblock that Format gave it. Hosts that know their devices otherwise have
	// their own.
	Identify func(dev pmem.Device) (uuid string, ok bool)
}

// Driver is the driver with the zero Config.
var Driver = NewDriver(Config{})

// NewDriver makes a driver for famfs.
func NewDriver(c Config) vfs.Driver {
	return vfs.Driver{
		Name: "famfs",
		Probe: func(dev pmem.Device) bool {
			b, err := dev.Bytes(0, 8)
			return err == nil && famfsfmt.IsSuper(b)
		},
		Mount: func(dev pmem.Device, o vfs.MountOptions) (vfs.FileSystem, error) {
			f, err := mount(dev, o, c)
			if err != nil {
				return nil, err
			}
			return f, nil
		},
		Clients: true,
		Check: func(ctx context.Context, dev pmem.Device, o vfs.MountOptions) (vfs.Report, error) {
			return check(ctx, dev, o, c)
		},
	}
}

// FS is one mounted file system.
type FS struct {
	med  medium
	sb   *famfsfmt.Superblock // as it was at mount; immutable, as all up to mu
	raw  [superCheck]byte     // its first bytes
	size int64                // bytes of the first device that are used
	unit int64                // allocation unit

	readOnly bool   // files cannot be stored to
	noAppend string // why none can be made, for a mount that is not the master
	now      func() time.Time
	mounted  time.Time // what files have for times
	supplied map[famfsfmt.UUID]supply
	forget   func() // ends the role of the master; nil for a client

	// appendMu serialises appends.
	appendMu sync.Mutex

	// replayed is how many entries were taken in. Written with mu exclusive.
	replayed atomic.Uint64

	// lost is why the medium is another one now; nil as long as it is not.
	lost atomic.Pointer[error]

	// mu guards what was replayed.
	mu       sync.RWMutex
	root     *node
	dirs     map[string]*node  // by path
	records  []record          // one for each entry
	devices  []device          // by index
	free     int64             // bytes
	torn     *vfs.CorruptError // why the entry after the last one replayed cannot be; nil if there is none
	findings []vfs.Finding
	dropped  int          // findings beyond maxFindings
	worst    vfs.Severity // of all findings
	files    uint64
}

var (
	_ vfs.FileSystem = (*FS)(nil)
	_ vfs.Holder     = (*FS)(nil)
	_ vfs.Follower   = (*FS)(nil)
)

// rootIno is the root directory's inode number. The file or directory of entry n has
// number n+firstIno.
const (
	rootIno  = 1
	firstIno = 2
)

// record is what became of an entry.
type record struct {
	node *node
	note string // what it was, or why it has no effect; "" for a file or directory
}

// node is a file or directory. Immutable, but for the children of a directory, which
// FS.mu guards.
type node struct {
	ino    uint64
	parent uint64
	name   string
	entry  *famfsfmt.Entry // nil for the root
	runs   []piece         // of a file
	broken error           // why a file cannot be opened; nil if it can

	children map[string]*node // of a directory
	list     []*node          // the same in the order of the log
	subdirs  uint32
}

// isDir reports whether the node is a directory.
func (n *node) isDir() bool { return n.entry == nil || n.entry.Type == famfsfmt.TypeDir }

// Devices implements [vfs.Holder]: the first device, and those that were supplied.
func (f *FS) Devices() []pmem.Device {
	devs := []pmem.Device{f.med.dev}
	for _, s := range f.supplied {
		devs = append(devs, s.dev)
	}
	return devs
}

// Root is the root directory's inode number.
func (f *FS) Root() uint64 { return rootIno }

// Inode returns a file or directory.
func (f *FS) Inode(ino uint64) (vfs.Inode, error) {
	f.mu.RLock()
	defer f.mu.RUnlock()
	var n *node
	switch {
	case ino == rootIno:
		n = f.root
	case ino >= firstIno && ino-firstIno < uint64(len(f.records)):
		n = f.records[ino-firstIno].node
	}
	if n == nil {
		return nil, fmt.Errorf("famfs: inode %d: %w", ino, syscall.ENOENT)
	}
	return f.newInode(n), nil
}

// Sync does nothing: an entry is durable when the call that made it returns.
func (f *FS) Sync(context.Context) error { return nil }

// Close ends the role of the master.
func (f *FS) Close(context.Context) error {
	if f.forget != nil {
		f.forget()
	}
	return nil
}
