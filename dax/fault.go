package dax

import (
	"context"
	"errors"
	"fmt"
	"syscall"

	"godax/internal/hook"
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
	ctx := f.Ctx
	store := f.Access != vm.Load
	if f.NoWait {
		if ctx = NoWait(ctx); store && m.fills.Load() > 0 {
			return ErrWouldBlock
		}
	}
	err := m.faultShared(ctx, f, p, false)
	if err == ErrMetadataPending {
		hook.At(hook.SyncPending, m, f.Page)
	}
	if store {
		m.settle() // the fault may have filled a hole of views that do not fault
	}
	return err
}

// FinishSync makes the translation of the fault f for which Fault returned
// ErrMetadataPending, now that the metadata is durable that was pending then.
// vm.ErrRetry if the page may have got other storage in between, whose metadata may be
// pending again; vm.ErrFallback if its entry is smaller now.
func (m *Mapping) FinishSync(f *vm.Fault) error {
	ctx := f.Ctx
	if f.NoWait {
		ctx = NoWait(ctx)
	}
	return m.faultShared(ctx, f, PopulateFunc(func(*Request) error { return vm.ErrRetry }), true)
}

// faultShared is fault with the invalidate lock taken, and given back also if a
// PopulatePFNs panics.
func (m *Mapping) faultShared(ctx context.Context, f *vm.Fault, p Populator, synced bool) error {
	hold, err := m.inval.RLockAt(ctx, f.Page)
	if err != nil {
		return lockErr(err)
	}
	defer m.inval.RUnlockAt(hold)
	return m.fault(ctx, f, p, synced)
}

func (m *Mapping) fault(ctx context.Context, f *vm.Fault, p Populator, synced bool) error {
	end := m.pageEnd()
	if f.Page >= end {
		return ErrBeyondEnd
	}
	hook.At(hook.FaultChecked, m, f.Page)
	flags := f.View.Flags()
	store := f.Access != vm.Load
	if store && flags&vm.Shared == 0 {
		return m.cowFault(ctx, f, p)
	}
	if store && (flags&vm.Write == 0 || m.cfg.ReadOnly) {
		return syscall.EROFS
	}
	if f.Order > 0 {
		if reason := m.noHuge(f, end); reason != 0 {
			return m.fallback(reason)
		}
	}
	s, err := m.grab(ctx, f.Page, f.Order)
	if err != nil {
		if errors.Is(err, vm.ErrFallback) {
			return m.fallback(5)
		}
		return err
	}
	q := question{page: f.Page, n: min(runHint, end-f.Page), order: f.Order, fault: true}
	if store {
		q.intent, q.store = IntentWrite, true
		q.off, q.length = m.faultBytes(f.Page, f.Order)
		q.n = min(pages(f.Order), end-f.Page)
		q.sync = flags&vm.Sync != 0 && !synced
	}
	fresh := !s.word.is(wMapped)
	s, found, err := m.resolve(ctx, s, q, p)
	if err != nil {
		if reason := hugeReason(err); f.Order > 0 && reason != 0 {
			return m.fallback(reason)
		}
		return err
	}
	hook.At(hook.EntryStored, m, f.Page)
	switch {
	case synced && f.Seq != m.moved.Load():
		// What was made durable may not be what the entry says now, even if it is the same
		// frame: it may have been freed and given to the page again.
		m.ungrab(s)
		return vm.ErrRetry
	case s.order < f.Order:
		m.ungrab(s)
		return m.fallback(found.why)
	case f.Order > 0 && s.word.is(wZero) && m.cfg.NoHugeZero:
		m.ungrab(s)
		return m.fallback(11)
	case found.pending:
		f.Seq = m.moved.Load() // before the unlock: from here on the entry can change
		m.ungrab(s)
		return ErrMetadataPending
	}
	f.Major = fresh && s.word.is(wMapped)
	err = m.install(f, s, store)
	hook.At(hook.Installed, m, f.Page)
	m.ungrab(s)
	if err == nil {
		m.stats.Faults[min(f.Order, PMDOrder)].Add(f.Page, 1)
		m.stats.Accesses[min(f.Access, vm.MkWrite)].Add(f.Page, 1)
		return nil
	}
	if reason := hugeReason(err); f.Order > 0 && reason != 0 {
		return m.fallback(reason)
	}
	return err
}

// hugeReason is why a failure of a huge fault may be one page's, which the small fault
// will then report with page precision, or not have at all; 0 if it is none of those.
func hugeReason(err error) int {
	switch {
	case errors.Is(err, vm.ErrFallback):
		return 12 // the view's place is taken
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return 6 // not for so many pages
	case errors.Is(err, pmem.ErrPoisoned), errors.Is(err, pmem.ErrRemoved):
		return 9
	case errors.Is(err, ErrNotMappable), errors.Is(err, syscall.EIO):
		return 10
	}
	// A device may have words of its own for what it cannot do. Memory is not had by
	// asking for less: that is reported as it is, and so are waits that ended.
	if no, ok := errors.AsType[syscall.Errno](err); ok && no != syscall.ENOMEM && no != syscall.EAGAIN && no != syscall.EINTR {
		return 9
	}
	return 0
}

// noHuge returns the reason why a fault cannot be served at its order whatever the
// file says, or 0 (F1 to F4, F13, F14).
func (m *Mapping) noHuge(f *vm.Fault, end uint64) int {
	first, n := f.View.Bounds()
	run := base(f.Page, f.Order)
	switch {
	case f.Order != m.cfg.PMDOrder && f.Order != m.cfg.PUDOrder:
		return 14
	case m.cfg.NoHuge || f.View.Flags()&vm.NoHuge != 0:
		return 13
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
	hook.At(hook.DirtySet, m, f.Page)
	return f.View.Install(t)
}

// dirtyForStore sets DIRTY on a slot that the view is about to be able to store to,
// unless the view finds out from the hardware what was written.
func (m *Mapping) dirtyForStore(v vm.View, s slot) {
	if _, ok := v.(vm.Collector); ok || m.index.Marked(s.page, markDirty) {
		return // whoever would take the mark away has to lock the entry first
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.index.SetMark(s.page, markDirty)
}

// cowFault copies a page for a store to a private view (5.5). Nothing is allocated
// and nothing gets dirty; the entry lock is held until the copy is installed, so
// that a truncate cannot slip in between.
func (m *Mapping) cowFault(ctx context.Context, f *vm.Fault, p Populator) error {
	if f.Order > 0 {
		return m.fallback(2)
	}
	if len(f.CowPage) != pmem.PageSize {
		return fmt.Errorf("dax: private page of %d bytes: %w", len(f.CowPage), syscall.EINVAL)
	}
	s, err := m.grab(ctx, f.Page, 0)
	if err != nil {
		return err
	}
	s, _, err = m.resolve(ctx, s, question{page: f.Page, n: 1, intent: IntentSource, fault: true}, p)
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
	hook.At(hook.DirtySet, m, f.Page)
	return f.View.Install(vm.Translation{Page: f.Page, N: 1, Kind: vm.Private, Copy: f.CowPage})
}
