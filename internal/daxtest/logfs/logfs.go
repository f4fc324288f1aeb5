// Package logfs is a file system without blocks for tests of the DAX core: one file, a log
// of pages on one device, to which everything that is written is appended. So data moves
// with every write, and before each move the file system takes back what DAX knows of the
// page (the removal protocol, section 5.8 of the DAX semantics); views follow.
//
// A page that was written since the last Fsync is open: stores go where it is. Fsync
// closes all pages, and the next store to one is a copy at the log's head. Clean moves
// pages without a cause, as a cleaner of a log does.
package logfs

import (
	"context"
	"fmt"
	"io"
	"syscall"

	"godax/dax"
	"godax/internal/hook"
	"godax/internal/rwsem"
	"godax/pmem"
	"godax/vm"
	"godax/vm/sim"
)

// PageSize is the size of a record of the log.
const PageSize = pmem.PageSize

// File is the file.
type File struct {
	M   *dax.Mapping
	dev pmem.Device

	inode rwsem.RW

	mu    hook.Mutex        // guards what follows
	at    map[uint64]uint64 // device page of each page that is no hole
	open  map[uint64]bool   // pages that may be stored to where they are
	used  []bool            // of the device's pages
	limbo []uint64          // pages that a store has left, see release
	head  uint64            // where the log goes on
	moves int
}

var (
	_ dax.Populator = (*File)(nil)
	_ vm.Handler    = (*File)(nil)
)

// New makes an empty file on the device.
func New(dev pmem.Device, c dax.Config) *File {
	f := &File{M: dax.NewMapping(c), dev: dev, at: map[uint64]uint64{}, open: map[uint64]bool{}, used: make([]bool, dev.Size()/PageSize)}
	f.inode.SetRank(hook.Inode)
	f.mu.SetRank(hook.Extent)
	return f
}

// PopulatePFNs implements [dax.Populator].
func (f *File) PopulatePFNs(r *dax.Request) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	old, ok := f.at[r.Page]
	if r.Intent == dax.IntentWrite && !f.open[r.Page] {
		src := dax.Source{Zero: !ok}
		if ok {
			src.PFN = f.pfn(old)
		}
		to, err := f.appendLocked()
		if err != nil {
			return err
		}
		if err := r.InsertCopy(r.Page, f.pfn(to), 1, dax.Writable, src); err != nil {
			f.used[to] = false
			return err
		}
		if ok {
			f.limbo = append(f.limbo, old)
			delete(f.at, r.Page)
		}
		f.moveLocked(r.Page, to)
		return nil
	}
	n := uint64(1)
	if !ok {
		for r.Page+n < r.End() {
			if _, ok := f.at[r.Page+n]; ok {
				break
			}
			n++
		}
		return r.Hole(r.Page, n)
	}
	for r.Page+n < r.End() && f.alikeLocked(r.Page, n, old) {
		n++
	}
	attr := dax.Attr(0)
	if f.open[r.Page] {
		attr = dax.Writable
	}
	return r.Insert(r.Page, f.pfn(old), n, attr)
}

func (f *File) alikeLocked(page, n, at uint64) bool {
	p, ok := f.at[page+n]
	return ok && p == at+n && f.open[page+n] == f.open[page]
}

func (f *File) pfn(page uint64) pmem.PFN { return pmem.MakePFN(f.dev.ID(), page) }

// appendLocked gives out the next free page of the log.
func (f *File) appendLocked() (uint64, error) {
	for range f.used {
		p := f.head % uint64(len(f.used))
		f.head = p + 1
		if !f.used[p] {
			f.used[p] = true
			return p, nil
		}
	}
	return 0, syscall.ENOSPC
}

// releaseLocked frees the pages that stores have left. It is called inside a change of the
// layout: before that a view may show them until the store's fault is over, and a read(2)
// may be copying from them.
func (f *File) releaseLocked() {
	for _, p := range f.limbo {
		f.used[p] = false
		f.scribble(p)
	}
	f.limbo = nil
}

// moveLocked makes the file's page the log's page, and what it was free. That is filled
// with a pattern, so that a use of it shows.
func (f *File) moveLocked(page, to uint64) {
	f.freeLocked(page)
	f.at[page], f.open[page] = to, true
	f.moves++
}

func (f *File) freeLocked(page uint64) {
	old, ok := f.at[page]
	if !ok {
		return
	}
	f.used[old] = false
	delete(f.at, page)
	delete(f.open, page)
	f.scribble(old)
}

// scribble is what happens to a free page sooner or later.
func (f *File) scribble(p uint64) {
	if b, err := f.dev.Bytes(int64(p)*PageSize, PageSize); err == nil {
		for i := range b {
			b[i] = 0xdb
		}
	}
}

// Moves is how often a page was put somewhere.
func (f *File) Moves() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.moves
}

// At is the device's page of a page of the file.
func (f *File) At(page uint64) (uint64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	p, ok := f.at[page]
	return p, ok
}

// Read is read(2).
func (f *File) Read(ctx context.Context, b []byte, off int64) (int, error) {
	if err := f.inode.RLock(ctx); err != nil {
		return 0, err
	}
	defer f.inode.RUnlock()
	n, err := f.M.ReadAt(ctx, b, off, f)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// Write is write(2): all pages that it touches are written anew, at the log's head.
func (f *File) Write(ctx context.Context, b []byte, off int64) (done int, err error) {
	if err := f.inode.Lock(ctx); err != nil {
		return 0, err
	}
	defer f.inode.Unlock()
	if end := off + int64(len(b)); len(b) > 0 && end > f.M.Size() {
		old := f.M.Size()
		if err := f.truncate(ctx, end); err != nil {
			return 0, err
		}
		defer func() {
			if err != nil {
				_ = f.truncate(ctx, max(old, off+int64(done)))
			}
		}()
	}
	for done < len(b) {
		at := off + int64(done)
		n := min(len(b)-done, PageSize-int(at%PageSize))
		page := uint64(at) / PageSize
		if err := f.M.BreakLayout(ctx, page, 1, func() error { return f.rewrite(page, b[done:done+n], int(at%PageSize)) }); err != nil {
			return done, err
		}
		done += n
	}
	return done, nil
}

// rewrite appends the page with some bytes changed. Nothing refers to it.
func (f *File) rewrite(page uint64, b []byte, in int) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.releaseLocked()
	to, err := f.appendLocked()
	if err != nil {
		return err
	}
	next, err := f.dev.Bytes(int64(to)*PageSize, PageSize)
	if err != nil {
		return err
	}
	clear(next)
	if old, ok := f.at[page]; ok {
		was, err := f.dev.Bytes(int64(old)*PageSize, PageSize)
		if err != nil {
			f.used[to] = false
			return err
		}
		copy(next, was)
	}
	copy(next[in:], b)
	f.moveLocked(page, to)
	return f.dev.Flush(int64(to)*PageSize, PageSize)
}

// Clean moves n pages from page on to the log's head, those that are no holes.
func (f *File) Clean(ctx context.Context, page, n uint64) error {
	if err := f.inode.Lock(ctx); err != nil {
		return err
	}
	defer f.inode.Unlock()
	for ; n > 0; page, n = page+1, n-1 {
		if _, ok := f.At(page); !ok {
			continue
		}
		if err := f.M.BreakLayout(ctx, page, 1, func() error { return f.rewrite(page, nil, 0) }); err != nil {
			return err
		}
	}
	return nil
}

// Truncate sets the size.
func (f *File) Truncate(ctx context.Context, size int64) error {
	if err := f.inode.Lock(ctx); err != nil {
		return err
	}
	defer f.inode.Unlock()
	return f.truncate(ctx, size)
}

func (f *File) truncate(ctx context.Context, size int64) error {
	return f.M.Truncate(ctx, size, f, func() error { return f.drop(pagesUp(size), dax.ToEnd) })
}

// Punch makes a hole.
func (f *File) Punch(ctx context.Context, off, n int64) error {
	if err := f.inode.Lock(ctx); err != nil {
		return err
	}
	defer f.inode.Unlock()
	return f.M.PunchHole(ctx, off, n, f, func() error {
		end := uint64(off+n) / PageSize
		if off+n >= f.M.Size() {
			end = pagesUp(f.M.Size())
		}
		return f.drop(pagesUp(off), end)
	})
}

// Zero zeroes a range.
func (f *File) Zero(ctx context.Context, off, n int64) error {
	if err := f.inode.Lock(ctx); err != nil {
		return err
	}
	defer f.inode.Unlock()
	return f.M.ZeroRange(ctx, off, n, f)
}

func (f *File) drop(first, end uint64) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.releaseLocked()
	for p := range f.at {
		if p >= first && p < end {
			f.freeLocked(p)
		}
	}
	return nil
}

func pagesUp(n int64) uint64 { return uint64(n+PageSize-1) / PageSize }

// Fsync makes the file durable and closes its pages.
func (f *File) Fsync(ctx context.Context) error {
	if err := f.inode.Lock(ctx); err != nil {
		return err
	}
	defer f.inode.Unlock()
	if _, err := f.M.Writeback(ctx, 0, 1<<62); err != nil {
		return err
	}
	// The permission to store is taken back. Pages that were stored to since stay open.
	for p := range pagesUp(f.M.Size()) {
		f.setOpen(p, false)
		if err := f.M.Invalidate(p, 1); err != nil {
			f.setOpen(p, true)
		}
	}
	return nil
}

func (f *File) setOpen(page uint64, open bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.open, page)
	if _, ok := f.at[page]; ok && open {
		f.open[page] = true
	}
}

// Fault implements [vm.Handler].
func (f *File) Fault(ft *vm.Fault) error { return f.M.Fault(ft, f) }

// Map makes a view of the file.
func (f *File) Map(ctx context.Context, s *sim.Space, page, n uint64, flags vm.Flags) (*sim.View, error) {
	v, err := s.Map(f, page, n, flags)
	if err != nil {
		return nil, err
	}
	return v, f.M.Attach(ctx, v, f)
}

// Check verifies, while no operation is in flight, the index, against the log as well.
func (f *File) Check() error {
	if err := f.M.CheckInvariants(true); err != nil {
		return err
	}
	absent := dax.PopulateFunc(func(*dax.Request) error { return syscall.ENOENT })
	for page := range pagesUp(f.M.Size()) {
		for e, err := range f.M.Entries(nil, page, 1, absent) {
			at, ok := f.At(page)
			if err == nil && (ok != (e.Kind == dax.Direct) || ok && e.PFN != f.pfn(at)) {
				return fmt.Errorf("logfs: I56: page %d: %+v, the log has %d, %t", page, e, at, ok)
			}
		}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	used := 0
	for _, u := range f.used {
		if u {
			used++
		}
	}
	if used != len(f.at)+len(f.limbo) {
		return fmt.Errorf("logfs: %d pages of the log are in use, the file has %d", used, len(f.at))
	}
	return nil
}
