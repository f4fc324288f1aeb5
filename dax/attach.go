package dax

import (
	"context"
	"errors"
	"slices"
	"syscall"

	"godax/pmem"
	"godax/vm"
)

// attachment is a view without demand faults, and who answers for its pages.
type attachment struct {
	view vm.Prefaulter
	p    Populator
}

// Attach puts the view on the file's list. A view without demand faults
// (vm.Prefaulter) is filled before Attach returns, and from then on filled again
// by every operation that took translations from it: holes are allocated for a
// shared writable one, so that an ENOSPC comes now and not as a SIGBUS later. If
// that fails the view is not attached. Pages past the end of the file, and bad
// ones, raise SIGBUS when touched.
//
// Errors: EROFS for a shared writable view of a read-only file; EOPNOTSUPP for a sync
// view of a file with cached pages; what the file system says. ctx may be nil.
//
// Locks: the inode lock is not needed. Takes fillMu, the invalidate lock shared,
// and entry locks.
func (m *Mapping) Attach(ctx context.Context, v vm.View, p Populator) error {
	if v.Flags().SharedWrite() && m.cfg.ReadOnly {
		return syscall.EROFS
	}
	if v.Flags()&vm.Sync != 0 && m.cfg.Frames != nil {
		return syscall.EOPNOTSUPP // the user cannot flush a copy to the medium
	}
	m.mu.Lock()
	dead := m.dead
	m.mu.Unlock()
	if dead {
		return ErrGone
	}
	m.views.Add(v)
	pf, ok := v.(vm.Prefaulter)
	if !ok {
		return nil
	}
	if err := m.fillMu.Lock(ctx); err != nil {
		m.views.Remove(v)
		return lockErr(err)
	}
	defer m.fillMu.Unlock()
	a := attachment{pf, p}
	m.attached = append(m.attached, a)
	m.fills.Add(1)
	err := m.fillView(ctx, a, true)
	if err != nil {
		m.detachLocked(v)
	}
	m.settleLocked() // holes that were filled for v were zero pages elsewhere
	return err
}

// Detach takes the view off the list, after marking what it wrote DIRTY. Nobody may
// store through it any more. Its translations are the caller's to remove.
//
// Locks: takes wbMu and fillMu.
func (m *Mapping) Detach(v vm.View) error {
	page, n := v.Bounds()
	_, err := m.collect(nil, page, n)
	_ = m.fillMu.Lock(nil) // cannot fail without a context
	defer m.fillMu.Unlock()
	m.detachLocked(v)
	return err
}

// detachLocked is Detach with fillMu held, without collecting.
func (m *Mapping) detachLocked(v vm.View) {
	m.views.Remove(v)
	i := slices.IndexFunc(m.attached, func(a attachment) bool { return a.view == v })
	if i >= 0 {
		m.attached = slices.Delete(m.attached, i, i+1)
		m.fills.Add(-1)
	}
}

// mustRefill reports whether a change has to be refused because ctx forbids to wait and a
// view without demand faults would have to be filled again, which can take long.
func (m *Mapping) mustRefill(ctx context.Context) bool { return m.fills.Load() > 0 && !mayWait(ctx) }

// settle fills the views again that an operation took translations from. What
// cannot be had raises SIGBUS when touched. Called with neither inval nor an entry
// lock held.
//
// If somebody else is filling, it waits: that fill may have begun with what this
// operation took.
func (m *Mapping) settle() {
	if m.fills.Load() == 0 || !m.stale.Load() && !m.fillMu.Locked() {
		return
	}
	_ = m.fillMu.Lock(nil) // cannot fail without a context
	defer m.fillMu.Unlock()
	m.settleLocked()
}

// settleLocked is settle with fillMu held.
func (m *Mapping) settleLocked() {
	// A view that stores gives holes storage when it is filled, and so takes zero pages from
	// views that were filled before it: those are filled again.
	for m.stale.Swap(false) {
		for _, a := range m.attached {
			// With strict unset every failure becomes a page that raises SIGBUS.
			_ = m.fillView(nil, a, false)
		}
	}
}

// fillView fills what the view says is stale, with fillMu held. If strict is set
// the first failure but that of a bad page ends it.
func (m *Mapping) fillView(ctx context.Context, a attachment, strict bool) error {
	var done uint64
	failed := false
	for {
		page, n, ok := a.view.TakeStale()
		if !ok {
			return nil
		}
		err := m.fillRun(ctx, a, run{page, n}, strict)
		if err != nil && strict {
			return err
		}
		if failed && page < done {
			return err // the view cannot map what it gave back as stale
		}
		failed = failed || err != nil
		done = page + n
	}
}

// fillRun fills a run of a view, with the invalidate lock.
func (m *Mapping) fillRun(ctx context.Context, a attachment, r run, strict bool) error {
	if err := m.lockShared(ctx); err != nil {
		return err
	}
	defer m.inval.RUnlock()
	err := m.prefault(ctx, a, r, strict)
	return errors.Join(err, a.view.Complete())
}

// prefault installs translations for a run of a view, as large as the entries are.
// inval is held shared.
func (m *Mapping) prefault(ctx context.Context, a attachment, r run, strict bool) error {
	for page, end := r.page, r.page+r.n; page < end; {
		if err := canceled(ctx); err != nil {
			return err
		}
		fileEnd := m.pageEnd()
		if page >= fileEnd {
			return a.view.Install(vm.Translation{Page: page, N: end - page, Kind: vm.Gone})
		}
		next, err := m.prefaultEntry(ctx, a, run{page, min(end, fileEnd) - page}, strict)
		if err != nil {
			if strict && !errors.Is(err, pmem.ErrPoisoned) {
				return err
			}
			next = page + 1
			if err := a.view.Install(vm.Translation{Page: page, N: 1, Kind: vm.Gone}); err != nil && strict {
				return err
			}
		}
		page = next
	}
	return nil
}

// prefaultEntry installs the part of the run that the entry around its first page
// covers, and returns the page after that. An error of the view itself counts if
// strict is set only: it may be about pages before, and the view has made those it is
// about raise SIGBUS.
func (m *Mapping) prefaultEntry(ctx context.Context, a attachment, r run, strict bool) (uint64, error) {
	end := m.pageEnd()
	if r.page >= end {
		return 0, ErrBeyondEnd
	}
	q := question{page: r.page, n: min(max(r.n, 1), runHint*16)}
	order := m.readOrder(r.page, end)
	store := a.view.Flags().SharedWrite()
	if store {
		q.intent, q.store = IntentWrite, true
		q.off = int64(r.page) * pmem.PageSize
		q.length = min(m.size.Load()-q.off, int64(q.n)*pmem.PageSize)
		order = alignedOrder(r.page, q.n, m.cfg.PMDOrder)
	}
	s, err := m.answer(ctx, q, order, a.p)
	if err != nil {
		return 0, err
	}
	defer func() { m.ungrab(s) }()
	t := vm.Translation{Page: r.page, N: min(s.end(), r.page+r.n) - r.page, Write: store}
	if s.word.is(wZero) {
		t.Kind = vm.Zero
	} else {
		t.Kind, t.PFN = vm.Frames, s.word.at(r.page-s.page).pfn()
		// Pages may have gone bad after their entry was made.
		if _, err := frameBytes(t.PFN, t.N, pmem.Normal); err != nil {
			t.N = 1
			if _, err := frameBytes(t.PFN, 1, pmem.Normal); err != nil {
				return 0, err
			}
		}
	}
	if store {
		m.dirtyForStore(a.view, s)
	}
	if err := a.view.Install(t); err != nil && strict {
		return 0, err
	}
	return r.page + t.N, nil
}
