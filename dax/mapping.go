package dax

import (
	"context"
	"fmt"
	"sync/atomic"
	"syscall"

	"godax/internal/hook"
	"godax/internal/rwsem"
	"godax/pmem"
	"godax/vm"
	"godax/xarray"
)

// PMDOrder is the order of a huge page: 2 MiB of 4 KiB pages.
const PMDOrder = 9

// ToEnd as a number of pages means up to the last possible page.
const ToEnd = ^uint64(0)

// Marks of entries.
const (
	markDirty   = xarray.Mark0
	markToWrite = xarray.Mark1
)

// Config is what a [Mapping] is made with. It does not change afterwards.
type Config struct {
	PMDOrder uint // order of a huge page; 0 means the constant PMDOrder

	// PUDOrder is the order of a page larger than PMDOrder's that faults may ask for; 0
	// means that there is none. An entry of that order is also flushed as a whole.
	PUDOrder uint

	NoHuge     bool // every fault above order 0 falls back (F13)
	NoHugeZero bool // there are no huge zero pages: huge loads of holes fall back (F11)

	// AlwaysAsk asks the file system at every fault, also where the entry answers, as
	// Linux does. Cached pages are the exception: the copy is the truth. An answer that
	// leads elsewhere than the entry replaces it, and counts as Stats.Stale.
	AlwaysAsk bool

	ReadOnly bool        // W is never given, shared writable views are refused
	Frames   *Frames     // where cached pages live; nil if the file has none
	Host     Host        // the inode; nil if the file has no cached pages
	Trace    func(Trace) // called after every PopulatePFNs, for tests; nil is none
}

// Host is what a mapping asks of its inode.
type Host interface {
	// WriteCached stores the bytes of a dirty cached page, clipped to the end of the
	// file, in the page's blocks, and flushes them to the device.
	//
	// Locks: called with the page's entry locked, and nothing else held by DAX.
	WriteCached(page uint64, b []byte) error
}

// Trace is one PopulatePFNs call and its answer.
type Trace struct {
	Page, N uint64
	Order   uint
	Intent  Intent
	Err     error
	Answers []Entry // in the order they were given; Dirty is not set
}

// Mapping is the index of one file: it knows which page frames hold which pages.
// There is one per inode, for as long as the inode is in memory.
//
// Locks, see the package comment: inval is the invalidate lock (3), fillMu comes
// just before it, wbMu comes after it (and needs neither inode lock nor inval), the
// entry locks (5) are bits in the index, mu is the index lock (8).
type Mapping struct {
	cfg  Config
	size atomic.Int64 // bytes; changed with the inode lock exclusive, see SetSize

	// fillMu is held exclusively while views without demand faults are filled, so that an
	// operation that took translations away returns only when they are back.
	fillMu rwsem.RW

	// inval is held shared by everything that makes translations or pins, and
	// exclusive by everything that takes storage away.
	inval rwsem.RW

	// wbMu, held exclusively, makes collecting written pages and marking them DIRTY one
	// step, so that no second writeback finds neither the written bit nor the mark.
	wbMu rwsem.RW

	views    vm.Views
	attached []attachment // the Prefaulters among them, guarded by fillMu
	fills    atomic.Int32 // len(attached)
	stale    atomic.Bool  // something was unmapped since the last fill began

	mu      hook.Mutex // guards changes of index but lock bits (see slot.go), stored, waiters, pins, devices, dead
	index   xarray.Array
	stored  map[uint64]struct{} // entries that were stored to while locked, see clean
	waiters map[uint64][]*waiter
	pins    pinSet
	devices []flushed // where the file's frames were found to lie, mostly one
	dead    bool      // evicted

	// moved counts how often an entry with frames was removed or got others. Changed with
	// the entry locked; see FinishSync.
	moved atomic.Uint64

	wbErr errSeq
	stats Stats
}

// NewMapping makes the index of a file of size 0 with nothing in it.
func NewMapping(c Config) *Mapping {
	if c.PMDOrder == 0 {
		c.PMDOrder = PMDOrder
	}
	m := &Mapping{cfg: c, waiters: make(map[uint64][]*waiter), stored: make(map[uint64]struct{})}
	m.fillMu.SetRank(hook.Fill)
	m.inval.SetRank(hook.Inval)
	m.wbMu.SetRank(hook.Writeback)
	m.mu.SetRank(hook.Index)
	return m
}

// maxOrder is the order of the largest entries.
func (m *Mapping) maxOrder() uint { return max(m.cfg.PMDOrder, m.cfg.PUDOrder) }

// unmap takes the translations of the pages [page, page+n) away from every view, and
// private copies if copies is set. Whoever does it calls settle afterwards.
func (m *Mapping) unmap(page, n uint64, copies bool) {
	m.views.Unmap(page, n, copies)
	m.stale.Store(true)
}

// lockShared takes the invalidate lock shared. ctx bounds the wait and may be nil.
func (m *Mapping) lockShared(ctx context.Context) error { return lockErr(m.inval.RLock(ctx)) }

// Size is the file's size in bytes as readers see it.
func (m *Mapping) Size() int64 { return m.size.Load() }

// SetSize sets the size of a file that nobody uses yet: when its inode is read in.
// Afterwards the size changes through WriteAt and Truncate.
func (m *Mapping) SetSize(n int64) { m.size.Store(n) }

// pageEnd is the first page wholly past the end of the file.
func (m *Mapping) pageEnd() uint64 { return pagesUp(m.size.Load()) }

// Busy returns how many views and pins refer to the file.
func (m *Mapping) Busy() (views, pins int) {
	views = m.views.Len()
	m.mu.Lock()
	defer m.mu.Unlock()
	return views, len(m.pins.list)
}

// Pages returns how many pages the index has entries for, and how many entries.
func (m *Mapping) Pages() (pages, entries uint64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.index.Pages(), uint64(m.index.Len())
}

// frameBytes returns the bytes of n frames from pfn on; fewer if the device
// answers with fewer.
func frameBytes(pfn pmem.PFN, n uint64, mode pmem.Mode) (pmem.Run, error) {
	dev, ok := pmem.Lookup(pfn)
	if !ok {
		return pmem.Run{}, fmt.Errorf("dax: frame %#x: %w", uint64(pfn), pmem.ErrRemoved)
	}
	run, err := dev.DirectAccess(pfn.Page(), n, mode)
	if err == nil && len(run.Bytes) < pmem.PageSize {
		err = fmt.Errorf("dax: frame %#x: the device answers with %d bytes: %w", uint64(pfn), len(run.Bytes), syscall.EIO)
	}
	return run, err
}

// canceled returns the context's error; a nil context is never done.
func canceled(ctx context.Context) error {
	if ctx == nil {
		return nil
	}
	return ctx.Err()
}
