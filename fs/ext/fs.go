// Package ext is the driver of the ext family of file systems. ext2 is complete;
// images with later features are read if nothing in them stands against it, or
// refused by the feature's name.
//
// The medium is memory, and so the metadata is used where it lies: no buffer cache,
// no in-core copy of inodes or bitmaps. What changes goes through a store, which
// also is where the rule about killed writers is written down. A regular file
// finds its page frames in populate.go.
//
// # Locks
//
// Above the driver, vfs locks inodes. Inside it, in this order:
//
//	FS.orphanMu    the orphan list
//	nameIndex.mu   where a directory's names are
//	inode.mu       an inode's block map and times
//	FS.xattrMu     reference counts of attribute blocks
//	group.mu       a group's bitmaps, counts and windows
//	FS.superMu     the superblock's counts
//	store.mu       the list of stores to flush
package ext

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"godax/dax"
	"godax/internal/extfmt"
	"godax/pmem"
	"godax/vfs"
)

// Driver is the driver of the ext family.
var Driver = vfs.Driver{Name: "ext", Probe: probe, Mount: mount}

// FS is one mounted file system.
type FS struct {
	dev pmem.Device
	st  *store
	sb  *extfmt.Superblock // as it was at mount; immutable, counts are below

	readOnly bool
	why      string // why it is read-only, if not by request
	useBH    bool   // carrier "bh"
	now      func() time.Time
	wasClean bool // set back to clean at Close

	groups     []group
	freeBlocks atomic.Int64
	freeInodes atomic.Int64
	generation atomic.Uint32 // of the next new inode
	compat     atomic.Uint32 // s_feature_compat as it is now
	roCompat   atomic.Uint32 // s_feature_ro_compat as it is now
	failed     atomic.Bool   // damage was met; the state stays "not clean"

	overhead uint64 // blocks that no file can have; immutable

	cacheBytes int64
	trace      func(dax.Trace) // sees every PopulatePFNs, in tests
	frames     frames          // where cached pages live (blocks smaller than a page)

	superMu  sync.Mutex // guards stores to the superblock
	orphanMu sync.Mutex // guards s_last_orphan, the chain behind it, and orphans
	orphans  []orphan   // the chain as it is on the medium
	xattrMu  sync.Mutex // guards the reference counts of attribute blocks
}

var (
	_ vfs.FileSystem = (*FS)(nil)
	_ vfs.Holder     = (*FS)(nil)
)

// Devices implements [vfs.Holder].
func (f *FS) Devices() []pmem.Device { return []pmem.Device{f.dev} }

// Root is the root directory's inode number.
func (f *FS) Root() uint64 { return extfmt.RootIno }

// Sync makes the metadata of everything that returned before durable.
func (f *FS) Sync(context.Context) error {
	if f.readOnly {
		return nil
	}
	if err := f.putCounts(); err != nil {
		return err
	}
	return f.st.flush()
}

// blockOff is the device offset of a block, in bytes.
func (f *FS) blockOff(b uint64) int64 { return int64(b) << f.sb.BlockShift }

// blockSize is the size of a block in bytes.
func (f *FS) blockSize() int64 { return int64(f.sb.BlockSize) }

// blockView returns the bytes of a block that a pointer in owner leads to. The
// block must be one that files may own: anything else is vfs.ErrCorrupt.
func (f *FS) blockView(owner string, b uint64) ([]byte, error) {
	if err := f.checkData(owner, b, 1); err != nil {
		return nil, err
	}
	return f.st.view(f.blockOff(b), f.blockSize())
}
