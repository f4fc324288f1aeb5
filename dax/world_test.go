package dax_test

import (
	"context"
	"fmt"
	"testing"

	"godax/dax"
	psim "godax/pmem/sim"
	"godax/vm"
	"godax/vm/sim"
)

// world is a file with a PMD order of its own, on a simulated device, and the sizes that
// follow from that order.
type world struct {
	*file
	pmd   uint
	pages uint64 // of a huge page
	run   int64  // its bytes
	dev   *psim.Device
}

var (
	smallOrders = []uint{1, 2, 3}
	realOrders  = realOrdersHere() // for a short list
)

// realOrdersHere leaves the real order out where it is too dear.
func realOrdersHere() []uint {
	if raceEnabled {
		return []uint{1, 2, 3}
	}
	return []uint{1, 2, 3, 9}
}

// thin is how many rounds a test of random operations does.
func thin(n int) int {
	if raceEnabled || testing.Short() {
		return n / 6
	}
	return n
}

// newWorld makes a file on a device of so many huge pages.
func newWorld(t testing.TB, pmd uint, runs int64, c dax.Config) *world {
	t.Helper()
	c.PMDOrder = pmd
	f, dev := newSimFile(t, runs<<pmd, c)
	return &world{file: f, pmd: pmd, pages: 1 << pmd, run: pageSize << pmd, dev: dev}
}

// way is how the file system is asked.
type way struct {
	name  string
	iomap bool
	ask   bool // at every fault
}

var ways = []way{{"bh", false, false}, {"iomap", true, false}, {"asked always", true, true}}

// eachWorld runs a test at each order, over both carriers, and with the file system asked
// at every fault: the same must come out. The file has a device of 16 huge pages.
func eachWorld(t *testing.T, orders []uint, c dax.Config, test func(t *testing.T, w *world)) {
	t.Helper()
	for _, pmd := range orders {
		for _, way := range ways {
			t.Run(fmt.Sprintf("order %d/%s", pmd, way.name), func(t *testing.T) {
				c.AlwaysAsk = way.ask
				w := newWorld(t, pmd, 16, c)
				w.iomap = way.iomap
				test(t, w)
				w.end()
			})
		}
	}
}

// end verifies what must hold when nothing is under way.
func (w *world) end() {
	w.t.Helper()
	w.check()
	if n := w.m.Stats().Stale.Load(); n != 0 {
		w.t.Errorf("%d answers differed from the entries", n)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	used := map[uint64]uint64{}
	for p, d := range w.blocks {
		if w.free[d] {
			w.t.Errorf("page %d has block %d, which is free", p, d)
		}
		if q, ok := used[d]; ok {
			w.t.Errorf("pages %d and %d have block %d", p, q, d)
		}
		used[d] = p
	}
	if n := len(used) + len(w.free); n != int(w.dev.Size()/pageSize) && len(w.shared) == 0 && !w.scarce {
		w.t.Errorf("%d blocks are used or free, the device has %d", n, w.dev.Size()/pageSize)
	}
}

// space is an address space with the world's huge pages.
func (w *world) space() *sim.Space { return sim.New(sim.Config{PMDOrder: w.pmd}) }

// view attaches a view in a space of its own.
func (w *world) view(page, n uint64, flags vm.Flags) *sim.View {
	w.t.Helper()
	return w.mapView(w.space(), page, n, flags)
}

// forget empties the index and the views; what is dirty is not flushed.
func (f *file) forget() {
	f.t.Helper()
	if err := f.m.BreakLayout(ctx, 0, dax.ToEnd, func() error { return nil }); err != nil {
		f.t.Fatal(err)
	}
}

// lay gives the pages blocks in a row, from a device page on, which are free.
func (f *file) lay(page, n, at uint64) {
	f.t.Helper()
	f.mu.Lock()
	defer f.mu.Unlock()
	for i := range n {
		if !f.free[at+i] {
			f.t.Fatalf("device page %d is not free", at+i)
		}
		delete(f.free, at+i)
		f.blocks[page+i] = at + i
		if b, err := f.dev.Bytes(int64(at+i)*pageSize, pageSize); err == nil {
			clear(b)
		}
	}
}

// keep leaves so many blocks free, the lowest.
func (f *file) keep(n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.scarce = true
	for _, p := range f.order {
		if f.free[p] {
			if n--; n < 0 {
				delete(f.free, p)
			}
		}
	}
}

// used is how many blocks the file has.
func (f *file) used() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.blocks)
}

// shift moves the blocks from a page on by so many pages.
func (f *file) shift(page uint64, by int64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	blocks, raw := map[uint64]uint64{}, map[uint64]bool{}
	for p, d := range f.blocks {
		to := p
		if p >= page {
			to = uint64(int64(p) + by)
		}
		blocks[to] = d
		if f.raw[p] {
			raw[to] = true
		}
	}
	f.blocks, f.raw = blocks, raw
}

// collapse takes a range out of the file, as fallocate(2) does.
func (f *file) collapse(ctx context.Context, off, n int64) error {
	f.inode.Lock()
	defer f.inode.Unlock()
	return f.m.CollapseRange(ctx, off, n, func() error {
		f.runChange()
		f.mu.Lock()
		f.dropLocked(uint64(off)/pageSize, uint64(off+n)/pageSize)
		f.mu.Unlock()
		f.shift(uint64(off+n)/pageSize, -n/pageSize)
		return nil
	})
}

// insert puts a hole into the file.
func (f *file) insert(ctx context.Context, off, n int64) error {
	f.inode.Lock()
	defer f.inode.Unlock()
	return f.m.InsertRange(ctx, off, n, func() error {
		f.runChange()
		f.shift(uint64(off)/pageSize, n/pageSize)
		return nil
	})
}
