// Package blockfs is a block file system for tests of what the DAX core asks of one:
// its metadata are Go values, its blocks are the pages of several devices. It has what
// a small file system would leave out (blocks that files share, unwritten blocks, both
// carriers, a limit of space, freezing, crashes), and does the surrounding duties of a
// file system that section 4.6 of the DAX semantics lists.
//
// # Durability
//
// Metadata changes are in force at once and durable after [FS.Commit]: all together, in
// one step, as by a journal. Before a commit, the blocks that it makes readable are
// flushed (I37). A freed block is not given out again before the commit that makes the
// freeing durable; so a full file system may have room after one (T32). [FS.Crash] gives
// what a crash leaves, [Image.Open] mounts it.
//
// # Locks
//
// Freeze, then the inode locks (of two files: never waited for with the other held), then
// those of package dax, and inside them mu, the extent lock. A fault has freeze protection
// of its own.
package blockfs

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"syscall"

	"godax/dax"
	"godax/internal/hook"
	"godax/internal/rwsem"
	"godax/pmem"
	psim "godax/pmem/sim"
)

// PageSize is the size of a block.
const PageSize = pmem.PageSize

// Carrier is how extents are told to package block.
type Carrier uint8

const (
	Iomap      Carrier = iota // copies are made by DAX: block.Iomap.Source
	BufferHead                // which has no source: copies are made here
)

func (c Carrier) String() string { return [...]string{"iomap", "bh"}[c] }

// Config is what a file system is made with.
type Config struct {
	Mapping dax.Config // of every file; PMDOrder 0 means 2
	Carrier Carrier
	Stripe  uint64 // pages of a file on one device before the next device's turn; 0: 16
	Scatter bool   // never give out a block that a huge page could use

	// SourceHoles has fresh blocks zeroed by DAX, as copies of a hole, instead of here.
	// For the carrier Iomap.
	SourceHoles bool

	NoRetry bool // a fault without space does not commit and try again
	NoSync  bool // views with vm.Sync are refused

	// Answered is called by PopulatePFNs when the extent is known, with the extent lock
	// held, before anything is inserted; nil for nothing.
	Answered func(r *dax.Request)
}

// FS is the file system.
type FS struct {
	cfg     Config
	devices []pmem.Device
	release []func() // of the holds on the devices

	writes rwsem.RW // freeze protection of system calls, held shared by them
	faults rwsem.RW // and of store faults

	commitMu hook.Mutex // one commit at a time

	mu      hook.Mutex // the extent lock: guards what follows, and the maps of all files
	files   []*File
	lastID  int
	space   space
	changes uint64  // of metadata, counted
	fresh   []Block // blocks that the next commit makes readable: flushed before it
	commits int

	durable atomic.Pointer[metadata]
}

// metadata is what is on the medium.
type metadata struct {
	changes uint64
	files   []inode
}

// inode is a file on the medium.
type inode struct {
	id   int
	size int64
	ext  map[uint64]Ext
}

// New makes an empty file system on the devices. It belongs to whoever made them; see
// [FS.Close].
func New(c Config, devices ...pmem.Device) *FS {
	if c.Mapping.PMDOrder == 0 {
		c.Mapping.PMDOrder = 2
	}
	if c.Stripe == 0 {
		c.Stripe = 16
	}
	fs := &FS{cfg: c, devices: devices}
	fs.writes.SetRank(hook.Freeze)
	fs.faults.SetRank(hook.FaultFreeze)
	fs.commitMu.SetRank(hook.Transaction)
	fs.mu.SetRank(hook.Extent)
	fs.space.init(devices)
	fs.durable.Store(&metadata{})
	for _, d := range devices {
		fs.release = append(fs.release, pmem.Hold(d, fs))
	}
	return fs
}

// Close evicts every file. Views have been unmapped. The devices stay open.
func (fs *FS) Close() error {
	var errs []error
	for _, f := range fs.Files() {
		errs = append(errs, f.M.Evict(nil, false))
	}
	errs = append(errs, fs.Commit())
	for _, release := range fs.release {
		release()
	}
	return errors.Join(errs...)
}

// Create makes an empty file.
func (fs *FS) Create() *File {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.lastID++
	fs.changes++
	return fs.addLocked(inode{id: fs.lastID, ext: map[uint64]Ext{}})
}

func (fs *FS) addLocked(i inode) *File {
	f := &File{FS: fs, ID: i.id, M: dax.NewMapping(fs.cfg.Mapping), ext: i.ext, diskSize: i.size}
	f.M.SetSize(i.size)
	f.inode.SetRank(hook.Inode)
	fs.files = append(fs.files, f)
	return f
}

// Remove deletes a file without views, and its blocks.
func (fs *FS) Remove(ctx context.Context, f *File) error {
	if err := fs.writes.RLock(ctx); err != nil {
		return err
	}
	defer fs.writes.RUnlock()
	if err := f.inode.Lock(ctx); err != nil {
		return err
	}
	defer f.inode.Unlock()
	if err := f.M.Evict(ctx, true); err != nil {
		return err
	}
	fs.mu.Lock()
	defer fs.mu.Unlock()
	f.dropLocked(0, dax.ToEnd)
	for i, g := range fs.files {
		if g == f {
			fs.files = append(fs.files[:i:i], fs.files[i+1:]...)
		}
	}
	return nil
}

// Files returns the files.
func (fs *FS) Files() []*File {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return append([]*File(nil), fs.files...)
}

// Commit makes all metadata durable as they are now, and then gives back what was freed.
// If the devices fail everything stays as it is.
func (fs *FS) Commit() error {
	fs.commitMu.Lock()
	defer fs.commitMu.Unlock()
	fs.mu.Lock()
	now := &metadata{changes: fs.changes}
	for _, f := range fs.files {
		i := inode{id: f.ID, size: f.diskSize, ext: make(map[uint64]Ext, len(f.ext))}
		for p, e := range f.ext {
			i.ext[p] = e
		}
		now.files = append(now.files, i)
	}
	fresh, freed := fs.fresh, fs.space.freed
	fs.fresh, fs.space.freed = nil, nil
	fs.mu.Unlock()

	err := fs.flush(fresh)

	fs.mu.Lock()
	defer fs.mu.Unlock()
	if err != nil {
		fs.fresh = append(fresh, fs.fresh...)
		fs.space.freed = append(freed, fs.space.freed...)
		return err
	}
	fs.commits++
	fs.durable.Store(now)
	for _, b := range freed {
		fs.space.reuse(b)
	}
	return nil
}

// flush makes blocks durable.
func (fs *FS) flush(blocks []Block) error {
	var errs []error
	for _, b := range blocks {
		errs = append(errs, fs.devices[b.Dev].Flush(int64(b.Page)*PageSize, PageSize))
	}
	for _, d := range fs.devices {
		if len(blocks) > 0 {
			errs = append(errs, d.Barrier())
		}
	}
	return errors.Join(errs...)
}

// Commits is how many commits there were.
func (fs *FS) Commits() int {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fs.commits
}

// Freeze stops everything that changes files, stores through views that are mapped
// already included, after making all durable (I38). The same goroutine calls Thaw.
func (fs *FS) Freeze(ctx context.Context) error {
	if err := fs.writes.Lock(ctx); err != nil {
		return err
	}
	if err := fs.faults.Lock(ctx); err != nil {
		fs.writes.Unlock()
		return err
	}
	// No store fault is under way or can come; the sync takes the permission to store away
	// that views still have.
	if err := fs.syncAll(ctx); err != nil {
		fs.Thaw()
		return err
	}
	return nil
}

// Thaw ends Freeze.
func (fs *FS) Thaw() {
	fs.faults.Unlock()
	fs.writes.Unlock()
}

// Sync makes everything durable.
func (fs *FS) Sync(ctx context.Context) error { return fs.syncAll(ctx) }

func (fs *FS) syncAll(ctx context.Context) error {
	for _, f := range fs.Files() {
		if err := f.flushData(ctx, 0, 1<<62); err != nil {
			return err
		}
	}
	return fs.Commit()
}

// Image is what a crash leaves.
type Image struct {
	cfg     Config
	meta    *metadata
	devices [][]byte
}

// Crash returns what a crash now leaves. It takes no lock, so that a hook of a device can
// call it. r chooses for each of the devices, which must be simulated ones, what of the
// stores that are not durable is there.
func (fs *FS) Crash(r *rand.Rand) (*Image, error) {
	im := &Image{cfg: fs.cfg, meta: fs.durable.Load()}
	im.cfg.Answered = nil
	for _, d := range fs.devices {
		sd, ok := d.(*psim.Device)
		if !ok {
			return nil, fmt.Errorf("blockfs: crash of a device of kind %s: %w", d.Info().Kind, syscall.EINVAL)
		}
		im.devices = append(im.devices, sd.Crash(r))
	}
	return im, nil
}

// Open mounts an image, on devices of its own. [FS.Discard] closes both.
func (im *Image) Open() (*FS, error) {
	var devices []pmem.Device
	for _, b := range im.devices {
		d, err := psim.FromImage(b)
		if err != nil {
			return nil, err
		}
		devices = append(devices, d)
	}
	fs := New(im.cfg, devices...)
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, i := range im.meta.files {
		i.ext = cloneExt(i.ext)
		for _, e := range i.ext {
			fs.space.addRef(e.Block)
		}
		fs.addLocked(i)
		fs.lastID = max(fs.lastID, i.id)
	}
	return fs, nil
}

// Discard closes a file system and its devices.
func (fs *FS) Discard() error {
	errs := []error{fs.Close()}
	for _, d := range fs.devices {
		errs = append(errs, d.Close())
	}
	return errors.Join(errs...)
}

// Owners returns the pages of all files that lie in the block: the reverse map, which
// several files of one block need (T80).
func (fs *FS) Owners(b Block) (owners []Owner) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for _, f := range fs.files {
		for p, e := range f.ext {
			if e.Block == b {
				owners = append(owners, Owner{f, p})
			}
		}
	}
	return owners
}

// Owner is a page of a file.
type Owner struct {
	File *File
	Page uint64
}

// NotifyFailure implements [pmem.Holder]: every file that has one of the frames is told.
func (fs *FS) NotifyFailure(pfn pmem.PFN, n uint64) {
	told := map[*File]bool{}
	for i := range n {
		for _, o := range fs.Owners(fs.blockOf(pfn + pmem.PFN(i))) {
			told[o.File] = true
		}
	}
	for f := range told {
		f.M.MemoryFailure(pfn, n)
	}
}

// NotifyRemoval implements [pmem.Holder].
func (fs *FS) NotifyRemoval(dev pmem.Device) {
	for _, f := range fs.Files() {
		f.M.Revoke(dev)
	}
}

func cloneExt(m map[uint64]Ext) map[uint64]Ext {
	out := make(map[uint64]Ext, len(m))
	for p, e := range m {
		out[p] = e
	}
	return out
}
