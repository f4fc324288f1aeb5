// Package memfs is a file system without a format, for tests of what lies above a
// driver: its inodes are Go values, its data lies in the pages of a device. It does
// everything that package vfs knows of, in the simplest way.
package memfs

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"godax/dax"
	"godax/pmem"
	"godax/vfs"
)

const (
	rootIno = 1
	nameMax = 255
)

// FS is the file system. It outlives its mounts.
type FS struct {
	dev      pmem.Device
	readOnly bool
	now      func() time.Time

	// Hooks for tests; nil does nothing. They are set before the mount.
	OnInode func(ino uint64)               // the driver is asked for an inode
	OnEvict func(ino uint64, nlink uint32) // an inode is evicted
	OnSync  func(ino uint64) error         // a file is synced; the error is what Sync returns

	mu      sync.Mutex // guards the fields below and every record's blocks
	records map[uint64]*record
	lastIno uint64
	used    []bool // by device page
	inUse   map[uint64]bool
}

// record is an inode as it would be on a medium. Its fields are guarded by the lock
// that vfs holds, blocks by FS.mu.
type record struct {
	vfs.Attr
	parent  uint64
	entries map[string]entry
	seq     uint64 // of the newest entry
	target  string
	xattrs  map[string][]byte
	blocks  map[uint64]uint64 // file page to device page
}

// entry is a directory entry; entries are listed by their seq.
type entry struct{ ino, seq uint64 }

// New makes an empty file system whose data lies on dev.
func New(dev pmem.Device) *FS {
	f := &FS{
		dev:     dev,
		records: make(map[uint64]*record),
		lastIno: rootIno,
		used:    make([]bool, dev.Size()/pmem.PageSize),
		inUse:   make(map[uint64]bool),
		now:     time.Now,
	}
	f.records[rootIno] = f.newRecord(rootIno, rootIno, vfs.NewInode{Mode: fs.ModeDir | 0o755})
	f.records[rootIno].Nlink = 2
	return f
}

// Driver is a driver that mounts f on whatever device it is offered.
func (f *FS) Driver() vfs.Driver {
	return vfs.Driver{
		Name:  "memfs",
		Probe: func(pmem.Device) bool { return true },
		Mount: func(_ pmem.Device, o vfs.MountOptions) (vfs.FileSystem, error) {
			f.readOnly = o.ReadOnly
			if o.Now != nil {
				f.now = o.Now
			}
			return f, nil
		},
	}
}

// Plant puts an entry into a directory that nothing else refers to, as a damaged image might
// have. It must not be called while the directory is in use.
func (f *FS) Plant(dir uint64, name string, ino uint64) {
	f.records[dir].add(name, ino)
}

// SetParent makes a directory's ".." name another inode; as Plant.
func (f *FS) SetParent(dir, parent uint64) { f.records[dir].parent = parent }

func (f *FS) newRecord(ino, parent uint64, n vfs.NewInode) *record {
	now := f.now()
	return &record{
		Attr: vfs.Attr{
			Ino: ino, Mode: n.Mode, Nlink: 1, UID: n.UID, GID: n.GID,
			RdevMajor: n.RdevMajor, RdevMinor: n.RdevMinor, Size: int64(len(n.Target)),
			BlockSize: pmem.PageSize, Atime: now, Mtime: now, Ctime: now, Btime: now,
		},
		parent:  parent,
		entries: make(map[string]entry),
		target:  n.Target,
		xattrs:  make(map[string][]byte),
		blocks:  make(map[uint64]uint64),
	}
}

func (r *record) add(name string, ino uint64) {
	r.seq++
	r.entries[name] = entry{ino, r.seq}
}

// Root is the root directory's number.
func (f *FS) Root() uint64 { return rootIno }

// Inode returns an inode; it is an error to ask twice before Evict.
func (f *FS) Inode(ino uint64) (vfs.Inode, error) {
	if f.OnInode != nil {
		f.OnInode(ino)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	r := f.records[ino]
	if r == nil {
		return nil, fmt.Errorf("inode %d: %w", ino, fs.ErrNotExist)
	}
	return f.openLocked(r)
}

// openLocked makes the inode in memory of a record.
func (f *FS) openLocked(r *record) (*inode, error) {
	if f.inUse[r.Ino] {
		return nil, fmt.Errorf("inode %d is in memory already", r.Ino)
	}
	f.inUse[r.Ino] = true
	i := &inode{f: f, record: r}
	if r.Mode.IsRegular() {
		i.m = dax.NewMapping(dax.Config{ReadOnly: f.readOnly})
		i.m.SetSize(r.Size)
	}
	return i, nil
}

// Statfs counts pages and inodes.
func (f *FS) Statfs() vfs.Statfs {
	f.mu.Lock()
	defer f.mu.Unlock()
	st := vfs.Statfs{
		BlockSize: pmem.PageSize, Blocks: uint64(len(f.used)),
		Files: 1 << 32, FilesFree: 1<<32 - uint64(len(f.records)), NameMax: nameMax,
	}
	for _, used := range f.used {
		if !used {
			st.Free++
		}
	}
	st.Avail = st.Free
	return st
}

// Describe describes it.
func (f *FS) Describe() vfs.Description {
	return vfs.Description{Type: "memfs", ReadOnly: f.readOnly, Mappable: "every page"}
}

// Sync has nothing to do.
func (f *FS) Sync(context.Context) error { return nil }

// Close checks that every inode was evicted.
func (f *FS) Close(context.Context) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.inUse) > 0 {
		return fmt.Errorf("inodes %v are in memory", slices.Sorted(maps.Keys(f.inUse)))
	}
	return nil
}

// Records is the number of inodes there are.
func (f *FS) Records() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.records)
}

// allocLocked takes a free device page and zeroes it.
func (f *FS) allocLocked() (uint64, error) {
	b := slices.Index(f.used, false)
	if b < 0 {
		return 0, syscall.ENOSPC
	}
	run, err := f.dev.DirectAccess(uint64(b), 1, pmem.Normal)
	if err != nil {
		return 0, err
	}
	clear(run.Bytes)
	f.used[b] = true
	return uint64(b), nil
}

// freeBlocks gives the device pages of the file pages [page, end) back.
func (f *FS) freeBlocks(r *record, page, end uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p, b := range r.blocks {
		if p >= page && p < end {
			f.used[b] = false
			delete(r.blocks, p)
		}
	}
}
