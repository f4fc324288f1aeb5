// Package sim is an address space in software: views with page tables of their
// own, whose loads and stores are function calls. It does what a processor and a
// kernel's memory manager do for a DAX file (walk the table, raise a fault, ask
// again smaller after a fallback, copy for a private store) and nothing depends
// on time, on the machine's page sizes or on what the kernel feels like.
//
// A [Space] holds views. [View.Load] and [View.Store] access the file's bytes
// through a view, [Space.Load] and [Space.Store] whatever is at an address;
// [View.PinFrame] holds a page for a transfer. [View.Split], Cut, Grow, Move and Fork
// do what mprotect, munmap, mremap and fork do to views. [View.Translations] and
// [View.Check] look at the tables.
//
// # Model
//
// A table slot is empty, holds a translation (a leaf), or leads to a table of the
// level below. Levels are the orders 0 (PTE), [Config.PMDOrder] and, if set,
// [Config.PUDOrder]. A table that becomes empty is freed at once, so a huge
// translation can take its place.
//
// An access that finds no fitting translation raises a fault at the largest order
// whose slot is empty and which the view's alignment allows. After [vm.ErrFallback]
// whatever huge translation is at the address is taken away first, then the next
// smaller order is asked for. After [vm.ErrRetry] the access starts over.
//
// # Data races
//
// Bytes are copied with the view's page-table lock held, so an access is over when
// Unmap or Protect returns, as after a TLB shoot-down. Two views of one frame, or a
// view and a write(2), may still copy to and from it at the same time, as on
// hardware. The race detector does not watch memory that came from mmap(2), which
// is what the devices of package pmem are made of; frames from the Go heap must
// not be accessed at the same time in two ways.
package sim

import (
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"

	"godax/internal/hook"
	"godax/pmem"
	"godax/vm"
)

// Config describes a [Space]. The zero value has the page sizes of the real world
// without 1 GiB pages.
type Config struct {
	// PMDOrder is the order of the smaller huge page; 0 means 9.
	PMDOrder uint

	// PUDOrder is the order of the larger huge page, above PMDOrder; 0 means that
	// there is none.
	PUDOrder uint

	// Resolve returns the PageSize bytes of a frame; an error raises SIGBUS. nil asks
	// the device that owns the frame.
	Resolve func(pmem.PFN) ([]byte, error)

	// TryAll raises faults also at orders that the view cannot map (wrong colour, or
	// the run leaves the view, or a store to a private view), for the handler to
	// decline, and huge ones in a view with vm.NoHuge. Without it such orders are skipped.
	TryAll bool

	// MaxRetries is how many times in a row an access is repeated while nothing
	// changes in the view's tables, before it fails with ErrNoProgress. 0 means 20000,
	// which takes some seconds.
	MaxRetries int
}

// Errors of accesses, beside [vm.BusError].
var (
	// ErrSegv: outside the view, or a store to a view without vm.Write. Also EFAULT.
	ErrSegv = fmt.Errorf("sim: segmentation violation: %w", syscall.EFAULT)
	// ErrClosed: the view was closed, or others have taken its place ([View.Split] and
	// the like).
	ErrClosed = errors.New("sim: view is closed")
	// ErrNoProgress: the handler asked for a retry again and again, and nothing
	// happened. Always a bug above.
	ErrNoProgress = errors.New("sim: retries without progress")
	// ErrConflict: Install met a translation that must not be there. Always a bug above.
	ErrConflict = errors.New("sim: conflicting translation")
)

// Space is an address space: a set of views at addresses that do not overlap. Its
// methods may be called by any number of goroutines.
type Space struct {
	levels     []uint // order of a leaf at each level, ascending; immutable after New
	resolve    func(pmem.PFN) ([]byte, error)
	tryAll     bool
	maxRetries int

	stats counters

	// mu guards views. It is never held during an access.
	mu    sync.Mutex
	views []*View // ascending by address
}

// New makes an empty address space. It panics if the orders make no sense, which
// is an error of the test.
func New(c Config) *Space {
	if c.PMDOrder == 0 {
		c.PMDOrder = 9
	}
	levels := []uint{0, c.PMDOrder}
	if c.PUDOrder != 0 {
		levels = append(levels, c.PUDOrder)
	}
	if !slices.IsSorted(levels) || c.PUDOrder == c.PMDOrder || levels[len(levels)-1] > 30 {
		panic(fmt.Sprintf("sim: orders %v: must ascend, at most 30", levels))
	}
	if c.MaxRetries == 0 {
		c.MaxRetries = 20000
	}
	if c.Resolve == nil {
		c.Resolve = resolve
	}
	return &Space{levels: levels, resolve: c.Resolve, tryAll: c.TryAll, maxRetries: c.MaxRetries}
}

// Orders returns the orders of the translations, ascending; the first is 0.
func (s *Space) Orders() []uint { return slices.Clone(s.levels) }

// Map makes a view of the n file pages at page, at an address of the same colour
// as the file page at every order, so that all orders can be used. Faults go to h.
// The caller puts the view on the file's list (dax.Mapping.Attach).
func (s *Space) Map(h vm.Handler, page, n uint64, flags vm.Flags) (*View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	top := uint64(1) << s.levels[len(s.levels)-1]
	addr := top
	if last := len(s.views) - 1; last >= 0 {
		addr = roundUp(s.views[last].addr+s.views[last].n, top) + top // a gap between any two
	}
	return s.mapLocked(h, page, n, flags, addr+page%top)
}

// MapAt is [Space.Map] at the address (in pages) of the caller's choice, whatever
// its colour. It fails if another view is there.
func (s *Space) MapAt(h vm.Handler, page, n uint64, flags vm.Flags, addr uint64) (*View, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.mapLocked(h, page, n, flags, addr)
}

// maxPages bounds page numbers and addresses, so that sums cannot wrap.
const maxPages = 1 << 62

func (s *Space) mapLocked(h vm.Handler, page, n uint64, flags vm.Flags, addr uint64) (*View, error) {
	if h == nil || n == 0 || page > maxPages || n > maxPages-page || addr > maxPages || n > maxPages-addr {
		return nil, fmt.Errorf("sim: map %d pages at page %d, address %d: bad arguments", n, page, addr)
	}
	at, _ := slices.BinarySearchFunc(s.views, addr, func(v *View, a uint64) int {
		if v.addr < a {
			return -1
		}
		return 1
	})
	for _, i := range []int{at - 1, at} {
		if i >= 0 && i < len(s.views) && vm.Overlap(s.views[i].addr, s.views[i].n, addr, n) {
			return nil, fmt.Errorf("sim: map %d pages at address %d: a view is there", n, addr)
		}
	}
	v := &View{space: s, handler: h, page: page, n: n, addr: addr, flags: flags, roots: map[uint64]*slot{}}
	v.mm.SetRank(hook.Mmap)
	v.mu.SetRank(hook.PageTable)
	s.views = slices.Insert(s.views, at, v)
	s.stats.views.Add(1)
	return v, nil
}

// at returns the view at an address, in pages, or nil.
func (s *Space) at(addr uint64) *View {
	s.mu.Lock()
	defer s.mu.Unlock()
	i, _ := slices.BinarySearchFunc(s.views, addr, func(v *View, a uint64) int {
		if v.addr+v.n <= a {
			return -1
		}
		return 1
	})
	if i < len(s.views) && s.views[i].addr <= addr {
		return s.views[i]
	}
	return nil
}

func (s *Space) remove(v *View) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.removeLocked(v)
}

func (s *Space) removeLocked(v *View) {
	if i := slices.Index(s.views, v); i >= 0 {
		s.views = slices.Delete(s.views, i, i+1)
		s.stats.views.Add(-1)
	}
}

// Views returns the open views, ascending by address.
func (s *Space) Views() []*View {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.views)
}

// Check runs [View.Check] on every view. If there is none it verifies that nothing of
// one is left: no table, no deposited table, no private copy.
func (s *Space) Check() error {
	var errs []error
	for _, v := range s.Views() {
		errs = append(errs, v.Check())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c := &s.stats
	left := [...]int64{c.views.Load(), c.tables.Load(), c.deposits.Load(), c.copies.Load()}
	if len(s.views) == 0 && left != [...]int64{0, 0, 0, 0} {
		errs = append(errs, fmt.Errorf("sim: no view, but %d views, %d tables, %d deposits, %d private copies are alive", left[0], left[1], left[2], left[3]))
	}
	return errors.Join(errs...)
}

// Close closes every view.
func (s *Space) Close() {
	for _, v := range s.Views() {
		v.Close()
	}
}

// Stats are counts since New, and of what is alive now.
type Stats struct {
	Faults    map[FaultKind]uint64 // handler calls
	Fallbacks uint64               // vm.ErrFallback answers
	Retries   uint64               // vm.ErrRetry answers
	Errors    uint64               // all other errors of the handler
	Splits    uint64               // huge translations taken away for a small fault
	Major     uint64               // faults that the handler called major
	Installs  map[uint]uint64      // translations put in place, by order
	Views     int64                // views alive
	Tables    int64                // page tables alive; 0 when all views are empty
	Deposits  int64                // tables laid by, one for each huge translation alive
	Copies    int64                // private copies alive
}

// FaultKind is the key of [Stats.Faults].
type FaultKind struct {
	Access vm.Access
	Order  uint
}

type counters struct {
	faults                                     [3][3]atomic.Uint64 // by access and level
	installs                                   [3]atomic.Uint64    // by level
	fallbacks, retries, errors, splits, majors atomic.Uint64
	views, tables, deposits, copies            atomic.Int64
}

// Stats returns the counts. Kinds that never happened are absent from the maps.
func (s *Space) Stats() Stats {
	c := &s.stats
	st := Stats{
		Faults: map[FaultKind]uint64{}, Installs: map[uint]uint64{},
		Fallbacks: c.fallbacks.Load(), Retries: c.retries.Load(), Errors: c.errors.Load(),
		Splits: c.splits.Load(), Major: c.majors.Load(),
		Views: c.views.Load(), Tables: c.tables.Load(), Deposits: c.deposits.Load(), Copies: c.copies.Load(),
	}
	for level, order := range s.levels {
		for a := range c.faults {
			if n := c.faults[a][level].Load(); n != 0 {
				st.Faults[FaultKind{vm.Access(a), order}] = n
			}
		}
		if n := c.installs[level].Load(); n != 0 {
			st.Installs[order] = n
		}
	}
	return st
}

func roundUp(n, unit uint64) uint64 { return (n + unit - 1) / unit * unit }
