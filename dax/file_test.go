package dax_test

import (
	"context"
	"sync"
	"syscall"
	"testing"

	"godax/block"
	"godax/dax"
	"godax/internal/hook"
	"godax/pmem"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

const (
	pageSize = pmem.PageSize
	pmdOrder = 2 // small, so that every huge path is near
	pmdPages = 1 << pmdOrder
)

// file is a small block file system of one file: the instrument of these tests.
// Page p of the file lies on device page blocks[p], or nowhere.
type file struct {
	t   testing.TB
	m   *dax.Mapping
	dev pmem.Device
	pmd uint // order of a huge page

	inode inodeLock // the inode lock, taken by the methods below

	mu       sync.Mutex // guards what follows: the extent lock
	blocks   map[uint64]uint64
	free     map[uint64]bool
	order    []uint64 // device pages in the order they are given out
	scatter  bool     // never give out the congruent page
	iomap    bool     // carrier
	onePage  bool     // answer one page at a time, as ext2's holes
	noSpace  bool
	scarce   bool // blocks were taken away that no file has
	calls    int
	raw      map[uint64]bool                             // pages whose blocks are unwritten
	shared   map[uint64]bool                             // device pages that another file has too
	populate func(r *dax.Request) (done bool, err error) // asked in the place of all this, if it answers
	onCall   func(r *dax.Request)                        // before the extent is looked up (HP2)
	answered func(r *dax.Request)                        // the extent is known, nothing is inserted (HP3)
	wrap     func(v vm.View) vm.View                     // the view that faults name
	change   func()                                      // in truncate and punch, before blocks are freed (HP15)
}

func newFile(t testing.TB, devPages int64, c dax.Config) *file {
	t.Helper()
	dev, err := pmem.NewMemory(devPages*pageSize, pmem.MemoryOptions{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return newFileOn(t, dev, c)
}

func newFileOn(t testing.TB, dev pmem.Device, c dax.Config) *file {
	t.Helper()
	if c.PMDOrder == 0 {
		c.PMDOrder = pmdOrder
	}
	f := &file{t: t, dev: dev, pmd: c.PMDOrder, blocks: map[uint64]uint64{}, free: map[uint64]bool{},
		raw: map[uint64]bool{}, shared: map[uint64]bool{}}
	f.m = dax.NewMapping(c)
	f.inode.l.SetRank(hook.Inode)
	for p := range uint64(dev.Size() / pageSize) {
		f.free[p] = true
		f.order = append(f.order, p)
	}
	return f
}

// PopulatePFNs answers through one of the two carriers.
func (f *file) PopulatePFNs(r *dax.Request) error {
	f.mu.Lock()
	f.calls++
	onCall, populate := f.onCall, f.populate
	f.mu.Unlock()
	if onCall != nil {
		onCall(r)
	}
	if populate != nil {
		if done, err := populate(r); done {
			return err
		}
	}
	if f.iomap {
		im, err := f.describe(r)
		if err != nil {
			return err
		}
		e, err := im.Extent()
		if err != nil {
			return err
		}
		return block.CreatePFNs(r, e)
	}
	return block.GetBlock(func(iblock uint64, bh *block.BufferHead, create bool) error {
		return f.getBlock(r, iblock, bh, create)
	}).Populate(r, pageSize)
}

// extent is the run of pages around page that are alike, from First on.
func (f *file) extent(r *dax.Request, page uint64, create bool) (first, n, dev uint64, mapped, fresh bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.answered != nil {
		defer func() {
			f.mu.Unlock()
			f.answered(r)
			f.mu.Lock()
		}()
	}
	if create {
		isNew, err := f.allocLocked(r.Page)
		if err != nil {
			return 0, 0, 0, false, false, err
		}
		fresh = isNew
		for p := r.From(); p < r.End() && int64(p)*pageSize < r.Off+r.Len; p++ {
			if f.shared[f.blocks[p]] && p >= r.First()+1<<r.Order {
				continue // only those of the slot may be unshared
			}
			isNew, err := f.allocLocked(p)
			if err != nil {
				break
			}
			fresh = fresh || isNew
		}
	}
	dev, mapped = f.blocks[page]
	first, n = page, 1
	if f.onePage {
		return first, n, dev, mapped, fresh, nil
	}
	for n < 4096 {
		d, ok := f.blocks[page+n]
		if ok != mapped || ok && d != dev+n || !f.alikeLocked(page, page+n) {
			break
		}
		n++
	}
	for first > r.First() {
		d, ok := f.blocks[first-1]
		if ok != mapped || ok && d+1 != dev || !f.alikeLocked(page, first-1) {
			break
		}
		first, n, dev = first-1, n+1, dev-1
	}
	return first, n, dev, mapped, fresh, nil
}

// alikeLocked reports whether two pages may be of one extent.
func (f *file) alikeLocked(p, q uint64) bool {
	return f.raw[p] == f.raw[q] && f.shared[f.blocks[p]] == f.shared[f.blocks[q]]
}

// prealloc gives the pages unwritten blocks, full of what must not be seen.
func (f *file) prealloc(page, n uint64) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := page; p < page+n; p++ {
		if _, err := f.allocLocked(p); err != nil {
			f.t.Fatal(err)
		}
		b, _ := f.dev.Bytes(int64(f.blocks[p])*pageSize, pageSize)
		for i := range b {
			b[i] = 0xee
		}
		f.raw[p] = true
	}
}

// share makes the pages' blocks shared: the next write gets copies.
func (f *file) share(page, n uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for p := page; p < page+n; p++ {
		f.shared[f.blocks[p]] = true
	}
}

func (f *file) allocLocked(page uint64) (bool, error) {
	if dev, ok := f.blocks[page]; ok {
		b, err := f.dev.Bytes(int64(dev)*pageSize, pageSize)
		switch {
		case err != nil:
			return false, nil // bad media: whoever asks the device finds out
		case f.raw[page]:
			delete(f.raw, page)
			clear(b)
			return true, nil
		case f.shared[dev]:
			delete(f.blocks, page)
			if _, err := f.allocLocked(page); err != nil {
				f.blocks[page] = dev
				return false, err
			}
			to, _ := f.dev.Bytes(int64(f.blocks[page])*pageSize, pageSize)
			copy(to, b)
			return true, nil
		}
		return false, nil
	}
	if f.noSpace || len(f.free) == 0 {
		return false, syscall.ENOSPC
	}
	dev := page
	if !f.free[dev] || f.scatter {
		for _, dev = range f.order {
			if f.free[dev] && (!f.scatter || dev%pmdPages != page%pmdPages) {
				break
			}
		}
		if !f.free[dev] {
			return false, syscall.ENOSPC
		}
	}
	delete(f.free, dev)
	b, err := f.dev.Bytes(int64(dev)*pageSize, pageSize)
	if err != nil {
		return false, err
	}
	clear(b)
	f.blocks[page] = dev
	return true, nil
}

func (f *file) describe(r *dax.Request) (*block.Iomap, error) {
	first, n, dev, mapped, fresh, err := f.extent(r, r.Page, r.Intent == dax.IntentWrite)
	if err != nil {
		return nil, err
	}
	im := &block.Iomap{Offset: int64(first) * pageSize, Length: int64(n) * pageSize, Addr: block.NullAddr, Type: block.IomapHole}
	if mapped {
		im.Type, im.Addr, im.Device = block.IomapMapped, int64(dev)*pageSize, f.dev
		if f.is(f.raw, r.Page) {
			im.Type = block.IomapUnwritten
		}
		if f.is(f.shared, dev) {
			im.Flags |= block.IomapShared
		}
		if fresh {
			im.Flags |= block.IomapNew
		}
	}
	return im, nil
}

func (f *file) getBlock(r *dax.Request, iblock uint64, bh *block.BufferHead, create bool) error {
	first, n, dev, mapped, fresh, err := f.extent(r, iblock, create)
	if err != nil {
		return err
	}
	n -= iblock - first
	bh.Size = min(bh.Size, int64(n)*pageSize)
	bh.State = block.BHHoleSize
	if mapped {
		bh.State, bh.BlockNr, bh.Device = block.BHMapped, dev+iblock-first, f.dev
		if f.is(f.raw, iblock) {
			bh.State = block.BHUnwritten
		}
		if fresh {
			bh.State |= block.BHNew
		}
	}
	return nil
}

func (f *file) is(set map[uint64]bool, p uint64) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return set[p]
}

// Fault is step 1.
func (f *file) Fault(ft *vm.Fault) error {
	f.mu.Lock()
	wrap := f.wrap
	f.mu.Unlock()
	if wrap != nil {
		ft.View = wrap(ft.View)
	}
	return f.m.Fault(ft, f)
}

// set changes the hooks.
func (f *file) set(change func(*file)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

// device is the device page of a file page.
func (f *file) device(page uint64) (uint64, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	d, ok := f.blocks[page]
	return d, ok
}

func (f *file) write(b []byte, off int64) (int, error) {
	f.inode.Lock()
	defer f.inode.Unlock()
	n, err := f.m.WriteAt(context.Background(), b, off, f)
	if err != nil {
		f.mu.Lock()
		f.dropLocked(uint64(f.m.Size()+pageSize-1)/pageSize, dax.ToEnd)
		f.mu.Unlock()
	}
	return n, err
}

func (f *file) read(b []byte, off int64) (int, error) {
	f.inode.RLock()
	defer f.inode.RUnlock()
	return f.m.ReadAt(context.Background(), b, off, f)
}

func (f *file) truncate(ctx context.Context, size int64) error {
	f.inode.Lock()
	defer f.inode.Unlock()
	return f.m.Truncate(ctx, size, f, func() error {
		f.runChange()
		f.mu.Lock()
		defer f.mu.Unlock()
		f.dropLocked(uint64(size+pageSize-1)/pageSize, dax.ToEnd)
		return nil
	})
}

func (f *file) punch(ctx context.Context, off, n int64) error {
	f.inode.Lock()
	defer f.inode.Unlock()
	return f.m.PunchHole(ctx, off, n, f, func() error {
		f.runChange()
		f.mu.Lock()
		defer f.mu.Unlock()
		end := uint64(off+n) / pageSize
		if off+n >= f.m.Size() {
			end = uint64(f.m.Size()+pageSize-1) / pageSize
		}
		f.dropLocked(uint64(off+pageSize-1)/pageSize, end)
		return nil
	})
}

func (f *file) zero(off, n int64) error {
	f.inode.Lock()
	defer f.inode.Unlock()
	return f.m.ZeroRange(context.Background(), off, n, f)
}

func (f *file) runChange() {
	f.mu.Lock()
	change := f.change
	f.mu.Unlock()
	if change != nil {
		change()
	}
}

// dropLocked frees the blocks of the pages [first, end). What is freed is filled
// with a pattern, so that a use after it shows.
func (f *file) dropLocked(first, end uint64) {
	for p, d := range f.blocks {
		if p >= first && p < end {
			b, err := f.dev.Bytes(int64(d)*pageSize, pageSize)
			if err == nil && !f.shared[d] {
				for i := range b {
					b[i] = 0xdb
				}
			}
			delete(f.blocks, p)
			delete(f.raw, p)
			if !f.shared[d] {
				f.free[d] = true
			}
		}
	}
}

func (f *file) populates() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.calls
}

// check verifies the invariants at quiescence.
func (f *file) check() {
	f.t.Helper()
	if err := f.m.CheckInvariants(true); err != nil {
		f.t.Fatal(err)
	}
}

// mapView attaches a simulated view.
func (f *file) mapView(s *sim.Space, page, n uint64, flags vm.Flags) *sim.View {
	f.t.Helper()
	v, err := s.Map(f, page, n, flags)
	if err != nil {
		f.t.Fatal(err)
	}
	if err := f.m.Attach(context.Background(), v, f); err != nil {
		f.t.Fatal(err)
	}
	return v
}

func (f *file) mustWrite(b []byte, off int64) {
	f.t.Helper()
	if n, err := f.write(b, off); n != len(b) || err != nil {
		f.t.Fatalf("write of %d bytes at %d: %d, %v", len(b), off, n, err)
	}
}

func (f *file) mustRead(off int64, n int) []byte {
	f.t.Helper()
	b := make([]byte, n)
	if got, err := f.read(b, off); got != n {
		f.t.Fatalf("read of %d bytes at %d: %d, %v", n, off, got, err)
	}
	return b
}

func (f *file) sync() dax.WritebackStats {
	f.t.Helper()
	st, err := f.m.Writeback(context.Background(), 0, 1<<62)
	if err != nil {
		f.t.Fatal(err)
	}
	return st
}

// sized makes a sparse file of n bytes.
func (f *file) sized(n int64) *file {
	f.t.Helper()
	if err := f.truncate(context.Background(), n); err != nil {
		f.t.Fatal(err)
	}
	return f
}

// newSimFile is a file on a simulated device.
func newSimFile(t testing.TB, pages int64, c dax.Config) (*file, *psim.Device) {
	t.Helper()
	dev, err := psim.New(pages * pageSize)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dev.Close() })
	return newFileOn(t, dev, c), dev
}

func psimFlushFault(off int64) psim.Fault {
	return psim.Fault{Op: psim.OpFlush, Off: off, N: 1, Err: syscall.EIO}
}

func psimBarrierFault() psim.Fault { return psim.Fault{Op: psim.OpBarrier, Err: syscall.EIO} }
