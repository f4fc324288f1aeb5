package dax

import (
	"errors"
	"fmt"
	"math/bits"
	"syscall"

	"godax/pmem"
	"godax/vm"
)

// runHint is the widest run, in pages, that a read or a fault asks a file system
// for beyond what it needs: enough that a warm-up takes few calls, and that one
// call does not take long.
const runHint = 4096

// ErrMetadataPending: a store through a sync view has to wait until the file system
// has made the metadata of the page durable; then FinishSync makes the
// translation.
var ErrMetadataPending = errors.New("dax: metadata pending")

// Fault resolves one fault of a view: steps 2 to 6. The caller has taken freeze
// protection and updated times if it is a store to a shared view, and nothing for
// any other.
//
// Errors: vm.ErrFallback if the order asked for is not to be had here (F1 to F14);
// vm.ErrRetry; ErrMetadataPending; anything else raises SIGBUS: ErrBeyondEnd,
// EROFS, or what the file system or the device said.
//
// Locks: takes the invalidate lock shared, and the entry lock; afterwards fillMu, if
// there are views without demand faults.
func (m *Mapping) Fault(f *vm.Fault, p Populator) error {
	if f.NoWait {
		if !m.inval.TryRLock() {
			return ErrWouldBlock
		}
	} else {
		defer m.settle() // the fault may have filled a hole of theirs
		m.inval.RLock()
	}
	defer m.inval.RUnlock()
	return m.fault(f, p, false)
}

// FinishSync makes the translation of a fault for which Fault returned
// ErrMetadataPending, now that the metadata is durable. vm.ErrRetry if the page has
// changed in between.
func (m *Mapping) FinishSync(f *vm.Fault) error {
	m.inval.RLock()
	defer m.inval.RUnlock()
	return m.fault(f, PopulateFunc(func(*Request) error { return vm.ErrRetry }), true)
}

func (m *Mapping) fault(f *vm.Fault, p Populator, synced bool) error {
	end := m.pageEnd()
	if f.Page >= end {
		return ErrBeyondEnd
	}
	flags := f.View.Flags()
	store := f.Access != vm.Load
	if store && flags&vm.Shared == 0 {
		return m.cowFault(f, p)
	}
	if store && (flags&vm.Write == 0 || m.cfg.ReadOnly) {
		return syscall.EROFS
	}
	if f.Order > 0 {
		if reason := m.noHuge(f, end); reason != 0 {
			return m.fallback(reason)
		}
	}
	s, err := m.grab(wait{f.Ctx, f.NoWait}, f.Page, f.Order)
	if err != nil {
		if errors.Is(err, vm.ErrFallback) {
			return m.fallback(5)
		}
		return err
	}
	q := question{page: f.Page, n: min(runHint, end-f.Page), nowait: f.NoWait}
	if store {
		q.intent = IntentWrite
		q.off, q.length = m.faultBytes(f.Page, f.Order)
		q.n = min(pages(f.Order), end-f.Page)
		q.sync = flags&vm.Sync != 0 && !synced
	}
	fresh := !s.word.is(wMapped)
	s, pending, err := m.resolve(s, q, p)
	if err != nil {
		if f.Order > 0 && hugeOnly(err) {
			return m.fallback(9)
		}
		return err
	}
	if s.order < f.Order {
		m.ungrab(s)
		return m.fallback(6)
	}
	if pending {
		m.ungrab(s)
		return ErrMetadataPending
	}
	f.Major = fresh && s.word.is(wMapped)
	err = m.install(f, s, store)
	m.ungrab(s)
	switch {
	case err == nil:
		m.stats.Faults[min(f.Order, PMDOrder)].Add(1)
	case f.Order > 0 && hugeOnly(err):
		return m.fallback(9)
	}
	return err
}

// hugeOnly reports whether a failure of a huge fault may be one page's: the small
// fault will say so with page precision (F9, F10).
func hugeOnly(err error) bool {
	return errors.Is(err, pmem.ErrPoisoned) || errors.Is(err, ErrNotMappable) || errors.Is(err, syscall.ENOSPC)
}

// noHuge returns the reason why a fault cannot be served at its order whatever the
// file says, or 0 (F1 to F4, F13).
func (m *Mapping) noHuge(f *vm.Fault, end uint64) int {
	first, n := f.View.Bounds()
	run := base(f.Page, f.Order)
	switch {
	case f.Order >= bits.UintSize-pmem.PageShift:
		return 14
	case run < first || run+pages(f.Order) > first+n:
		return 3
	case !f.View.Congruent(f.Page, f.Order):
		return 1
	case run+pages(f.Order) > end:
		return 4
	}
	return 0
}

// fallback counts the reason and says so.
func (m *Mapping) fallback(reason int) error {
	m.stats.Fallbacks[reason].Add(1)
	return vm.ErrFallback
}

// faultBytes is the range that a store fault of an order may write: its pages, up
// to the end of the file.
func (m *Mapping) faultBytes(page uint64, order uint) (off, n int64) {
	off = int64(base(page, order)) * pmem.PageSize
	return off, min(m.size.Load()-off, int64(pages(order))*pmem.PageSize)
}

// install makes the translation of a fault from its locked slot: DIRTY first, then
// the permission to store (I13).
func (m *Mapping) install(f *vm.Fault, s slot, store bool) error {
	at := base(f.Page, f.Order)
	t := vm.Translation{Page: at, N: pages(f.Order), Write: store}
	switch {
	case s.word.is(wMapped):
		t.Kind, t.PFN = vm.Frames, s.word.at(at-s.page).pfn()
		if _, err := frameBytes(t.PFN, t.N, pmem.Normal); err != nil {
			return err // went bad, or away, after the entry was made
		}
	case store:
		return badAnswer("page %d: a hole under a store", f.Page)
	default:
		t.Kind = vm.Zero
	}
	if store {
		m.dirtyForStore(f.View, s)
	}
	return f.View.Install(t)
}

// dirtyForStore sets DIRTY on a slot that the view is about to be able to store to,
// unless the view finds out from the hardware what was written.
func (m *Mapping) dirtyForStore(v vm.View, s slot) {
	if _, ok := v.(vm.Collector); ok {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index.SetMark(s.page, markDirty)
}

// cowFault copies a page for a store to a private view (5.5). Nothing is allocated
// and nothing gets dirty; the entry lock is held until the copy is installed, so
// that a truncate cannot slip in between.
func (m *Mapping) cowFault(f *vm.Fault, p Populator) error {
	if f.Order > 0 {
		return m.fallback(2)
	}
	if len(f.CowPage) != pmem.PageSize {
		return fmt.Errorf("dax: private page of %d bytes: %w", len(f.CowPage), syscall.EINVAL)
	}
	s, err := m.grab(wait{f.Ctx, f.NoWait}, f.Page, 0)
	if err != nil {
		return err
	}
	s, _, err = m.resolve(s, question{page: f.Page, n: 1, intent: IntentSource, nowait: f.NoWait}, p)
	if err != nil {
		return err
	}
	defer func() { m.ungrab(s) }()
	if s.word.is(wZero) {
		clear(f.CowPage)
	} else {
		run, err := frameBytes(s.word.at(f.Page-s.page).pfn(), 1, pmem.Normal)
		if err != nil {
			return err
		}
		copy(f.CowPage, run.Bytes)
	}
	return f.View.Install(vm.Translation{Page: f.Page, N: 1, Kind: vm.Private, Copy: f.CowPage})
}
