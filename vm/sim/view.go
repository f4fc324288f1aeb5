package sim

import (
	"fmt"
	"slices"

	"godax/internal/hook"
	"godax/internal/rwsem"
	"godax/pmem"
	"godax/vm"
)

// View is one window of a file in a [Space]. It implements [vm.View] with demand
// faults: it is neither a Collector nor a Prefaulter. Its methods may be called by
// any number of goroutines.
type View struct {
	space   *Space
	handler vm.Handler
	page, n uint64 // file pages; immutable
	addr    uint64 // page number in the address space; immutable
	flags   vm.Flags

	// mm is held shared by an access from the walk to the end of its fault, and
	// exclusively by Close (Linux: mmap_lock, or the lock of one VMA). It comes before
	// every lock that a fault takes.
	mm     rwsem.RW
	closed bool // guarded by mm

	// mu is the page-table lock, innermost. It guards what follows.
	mu       hook.Mutex
	roots    map[uint64]*slot // by address >> order of the top level; never empty slots
	changes  uint64           // counts every change, to tell progress from none
	alive    alive            // what roots has of it
	failures []vm.Failure
	dead     bool // closed, and nothing may be installed any more
}

var _ vm.View = (*View)(nil)

// Bounds implements [vm.View].
func (v *View) Bounds() (page, n uint64) { return v.page, v.n }

// Flags implements [vm.View].
func (v *View) Flags() vm.Flags { return v.flags }

// Addr is the page number in the address space of the view's first page.
func (v *View) Addr() uint64 { return v.addr }

// addrOf is the address of a file page inside the view.
func (v *View) addrOf(page uint64) uint64 { return page - v.page + v.addr }

// pageOf is the file page at an address inside the view.
func (v *View) pageOf(addr uint64) uint64 { return addr - v.addr + v.page }

// contains reports whether the file pages lie inside the view.
func (v *View) contains(page, n uint64) bool {
	return page >= v.page && page-v.page < v.n && n <= v.n-(page-v.page)
}

// level returns the table level of an order.
func (v *View) level(order uint) (int, bool) {
	for l, o := range v.space.levels {
		if o == order {
			return l, true
		}
	}
	return 0, false
}

// Congruent implements [vm.View].
func (v *View) Congruent(page uint64, order uint) bool {
	if _, ok := v.level(order); !ok {
		return false
	}
	first := page &^ (1<<order - 1)
	return v.contains(first, 1<<order) && v.addrOf(first)&(1<<order-1) == 0
}

// Install implements [vm.View]. A private copy that is already there stays: a
// shared page meeting it is no error, a second private copy is [vm.ErrRetry].
// Whatever cannot be right is [ErrConflict].
func (v *View) Install(t vm.Translation) error {
	if v.flags&vm.NoHuge != 0 && t.N > 1 {
		return vm.ErrFallback
	}
	level, err := v.checkInstall(t)
	if err != nil {
		return err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.dead {
		return ErrClosed
	}
	addr := v.addrOf(t.Page)
	old, at := v.walkLocked(addr)
	present := old != nil && old.state == leaf
	switch {
	case at < level:
		return vm.ErrRetry // a table of smaller ones is there
	case present && at > level:
		return vm.ErrRetry // a huge one covers it
	case present && level > 0 && t.Kind == vm.Zero && old.kind != vm.Zero:
		return vm.ErrFallback // something else took the place first (F12)
	case present:
		return v.meetLocked(old, t)
	}
	v.storeLocked(addr, level, t)
	return nil
}

// checkInstall looks at what needs no lock and returns the level.
func (v *View) checkInstall(t vm.Translation) (int, error) {
	bad := func(why string) (int, error) {
		return 0, fmt.Errorf("%w: install of %d pages at page %d: %s", ErrConflict, t.N, t.Page, why)
	}
	order := uint(0)
	for order < 63 && uint64(1)<<order < t.N {
		order++
	}
	switch level, ok := v.level(order); {
	case t.N != 1<<order || !ok:
		return bad("not the size of a page")
	case t.Page&(t.N-1) != 0:
		return bad("not aligned")
	case !v.Congruent(t.Page, order):
		return bad("outside the view, or of another colour")
	case t.Write && (t.Kind != vm.Frames || !v.flags.SharedWrite()):
		return bad("stores are not allowed there")
	case t.Kind == vm.Frames && (t.PFN == 0 || uint64(t.PFN)&(t.N-1) != 0):
		return bad(fmt.Sprintf("frame %#x is none, or not aligned", uint64(t.PFN)))
	case t.Kind == vm.Private && (v.flags&vm.Shared != 0 || order != 0 || len(t.Copy) != pmem.PageSize):
		return bad("not a private page of a private view")
	case t.Kind > vm.Gone:
		return bad("no such kind")
	default:
		return level, nil
	}
}

// meetLocked installs t where old is a leaf of the same order.
func (v *View) meetLocked(old *slot, t vm.Translation) error {
	switch {
	case old.kind == vm.Private && t.Kind == vm.Private:
		return vm.ErrRetry // another store was first, and may have written already
	case old.kind == vm.Private:
		return nil
	case t.Kind == vm.Private:
		v.storeLocked(v.addrOf(t.Page), 0, t)
		return nil
	case old.kind == vm.Zero && t.Kind == vm.Frames:
		return vm.ErrRetry // who allocated is about to take the zero page away
	case old.kind != t.Kind || old.kind == vm.Frames && old.pfn != t.PFN:
		return fmt.Errorf("%w: page %d: kind %d frame %#x meets kind %d frame %#x",
			ErrConflict, t.Page, t.Kind, uint64(t.PFN), old.kind, uint64(old.pfn))
	case t.Write && !old.write:
		old.write, old.dirty = true, true
		v.changes++
	}
	return nil
}

func (v *View) storeLocked(addr uint64, level int, t vm.Translation) {
	l := slot{kind: t.Kind, write: t.Write, dirty: t.Write}
	switch t.Kind {
	case vm.Frames:
		l.pfn = t.PFN
	case vm.Private:
		l.copy, l.write, l.dirty = t.Copy, true, true
	}
	v.putLocked(addr, level, l)
	v.changes++
	v.space.stats.installs[level].Add(1)
}

// clip cuts a range of file pages to the view and returns it as addresses.
func (v *View) clip(page, n uint64) (addr, pages uint64) {
	if !vm.Overlap(v.page, v.n, page, n) {
		return 0, 0
	}
	if page < v.page {
		n -= v.page - page
		page = v.page
	}
	return v.addrOf(page), min(n, v.n-(page-v.page))
}

// Unmap implements [vm.View].
func (v *View) Unmap(page, n uint64, copies bool) {
	addr, pages := v.clip(page, n)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.eachLocked(addr, pages, func(_ uint64, _ int, s *slot) bool {
		if s.kind == vm.Private && !copies {
			return false
		}
		v.changes++
		return true
	})
}

// Protect implements [vm.View].
func (v *View) Protect(page, n uint64) {
	addr, pages := v.clip(page, n)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.eachLocked(addr, pages, func(_ uint64, _ int, s *slot) bool {
		if s.kind == vm.Frames && (s.write || s.dirty) {
			s.write, s.dirty = false, false
			v.changes++
		}
		return false
	})
}

var _ vm.FailureNotifier = (*View)(nil)

// NotifyFailure implements [vm.FailureNotifier]. A later access faults, and the handler
// says what it finds.
func (v *View) NotifyFailure(page, n uint64) {
	addr, pages := v.clip(page, n)
	v.mu.Lock()
	defer v.mu.Unlock()
	v.eachLocked(addr, pages, func(base uint64, level int, s *slot) bool {
		if s.kind != vm.Frames {
			return false
		}
		order := v.order(level)
		first, end := max(base, addr), min(base+1<<order, addr+pages)
		v.failures = append(v.failures, vm.Failure{Addr: first * pmem.PageSize, Page: v.pageOf(first), N: end - first, Order: order})
		v.changes++
		return true
	})
}

// Failures returns what the view was told by NotifyFailure, in that order.
func (v *View) Failures() []vm.Failure {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.failures)
}

// Close takes the view out of its space, with all translations and private
// copies, after the accesses under way have ended (munmap). The caller takes it off
// the file's list afterwards (dax.Mapping.Detach), or before, if nobody accesses it any
// more. Closing twice does nothing.
func (v *View) Close() {
	_ = v.mm.Lock(nil) // cannot fail without a context
	defer v.mm.Unlock()
	if !v.closed {
		_ = v.killLocked()
		v.space.remove(v)
	}
}

// killLocked ends the view's life, with mm held exclusively, and returns its
// translations, which are its no more.
func (v *View) killLocked() []placed {
	v.closed = true
	v.mu.Lock()
	defer v.mu.Unlock()
	v.dead = true
	return v.takeLocked()
}
