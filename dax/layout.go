package dax

import (
	"context"
	"fmt"
	"math"
	"syscall"

	"godax/pmem"
)

// BreakLayout runs change while nothing refers to the pages [page, page+n): no
// entry, no translation, no pin, and no fault can come (5.8). n may be ToEnd.
// Dirty entries in the range are destroyed with the bytes they describe; an entry
// that is only partly inside keeps its outside part, dirty if it was.
//
// The wait for pins gives up when ctx is done, and then nothing has changed.
// Views are filled again before the return.
//
// Locks: the caller holds the inode lock exclusive. Takes the invalidate lock
// exclusive, except while waiting for pins.
func (m *Mapping) BreakLayout(ctx context.Context, page, n uint64, change func() error) error {
	defer m.settle()
	if err := m.lockIdle(ctx, page, n); err != nil {
		return err
	}
	defer m.inval.Unlock()
	m.views.Unmap(page, n, false)
	m.remove(page, n)
	return change()
}

// lockIdle takes the invalidate lock exclusive at a moment when the range has no
// pin. On an error the lock is not held. Translations are left alone: a wait that is
// given up must have changed nothing, and a view without demand faults would lose
// the stores made during the wait.
func (m *Mapping) lockIdle(ctx context.Context, page, n uint64) error {
	for {
		m.inval.Lock()
		err := m.waitIdle(ctx, page, n)
		if err == nil {
			return nil
		}
		if err != errPinned {
			return err
		}
	}
}

// waitIdle returns nil with inval still held if no pin is in the range; otherwise
// it drops inval, sleeps until a pin is released, and returns errPinned or the
// context's error. Pins of pages without any view count as well.
func (m *Mapping) waitIdle(ctx context.Context, page, n uint64) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.pins.overlaps(page, n) {
		return nil
	}
	m.inval.Unlock()
	if err := m.waitUnpinnedLocked(ctx); err != nil {
		return err
	}
	return errPinned
}

// remove deletes the entries of the range, waiting for those that a writeback
// holds. What a partly covered entry says about pages outside the range is stored
// again; with a view it counts as dirty, because the view's own record of what was
// written went with its translations.
//
// Locks: inval exclusive.
func (m *Mapping) remove(page, n uint64) {
	if n == 0 {
		return
	}
	last := lastPage(page, n)
	mapped := m.views.Len() > 0
	m.mu.Lock()
	defer m.mu.Unlock()
	for next := page; ; {
		first, order, val, ok := m.index.Next(next, last)
		if !ok {
			return
		}
		w := word(val)
		if w.is(wLocked) {
			_ = m.waitLocked(nil, first, false) // cannot fail without a context
			continue
		}
		keep := m.marksLocked(first)
		keep.dirty = keep.dirty || mapped && w.is(wWrite)
		m.eraseLocked(first)
		old := slot{first, order, w}
		m.restoreLocked(old, first, max(first, page), keep)
		if old.end()-1 > last {
			m.restoreLocked(old, last+1, old.end(), keep)
		}
		if w.is(wCached) {
			m.cfg.Frames.free(w.pfn())
		}
		if next = old.end(); next > last || next == 0 {
			return
		}
	}
}

// Truncate sets the file's size (5.8), MaxInt64-PageSize at most. change stores the size on the medium and,
// if the file gets shorter, frees the storage past it: it runs while nothing
// refers to that. If it fails when growing, the size stays.
//
// The bytes between the smaller of both sizes and the end of its page are zeroed.
// The wait for pins gives up when ctx is done, and then nothing has changed.
//
// Locks: the caller holds the inode lock exclusive. Takes the invalidate lock
// exclusive, except while waiting for pins.
func (m *Mapping) Truncate(ctx context.Context, size int64, p Populator, change func() error) error {
	if size < 0 {
		return fmt.Errorf("dax: truncate to %d: %w", size, syscall.EINVAL)
	}
	if size > math.MaxInt64-pmem.PageSize {
		return fmt.Errorf("dax: truncate to %d: %w", size, syscall.EFBIG)
	}
	if m.cfg.ReadOnly {
		return syscall.EROFS
	}
	defer m.settle()
	if old := m.size.Load(); size >= old {
		return m.extend(ctx, old, size, p, change)
	}
	end := pagesUp(size)
	if err := m.lockIdle(ctx, end, ToEnd-end); err != nil {
		return err
	}
	defer m.inval.Unlock()
	if rest := size % pmem.PageSize; rest != 0 {
		if err := m.zeroBytes(ctx, size, pmem.PageSize-rest, p); err != nil {
			return err
		}
	}
	m.size.Store(size)
	// A fault that passed the old size check may have left a page behind.
	m.views.Unmap(end, ToEnd-end, true)
	m.remove(end, ToEnd-end)
	return change()
}

// extend is the growing half of Truncate. Views that were past the end have pages
// to gain.
func (m *Mapping) extend(ctx context.Context, old, size int64, p Populator, change func() error) error {
	if err := m.zeroTail(ctx, p); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	m.size.Store(size)
	if first, end := pagesUp(old), pagesUp(size); end > first {
		m.views.Unmap(first, end-first, false)
	}
	return nil
}

// PunchHole makes the n bytes at off a hole (5.8): partial pages at the edges are
// zeroed, and change, which frees the storage wholly inside, runs while nothing
// refers to the whole pages. A range that reaches the end of the file includes the
// rest of its last page.
//
// Locks, waiting: as BreakLayout.
func (m *Mapping) PunchHole(ctx context.Context, off, n int64, p Populator, change func() error) error {
	if off < 0 || n < 0 {
		return fmt.Errorf("dax: punch of %d bytes at %d: %w", n, off, syscall.EINVAL)
	}
	if m.cfg.ReadOnly {
		return syscall.EROFS
	}
	size := m.size.Load()
	if off >= size || n == 0 {
		return nil
	}
	n = min(n, size-off)
	first, end := pagesUp(off), pageOf(off+n)
	if off+n == size {
		end = pagesUp(size)
	}
	if end <= first {
		first, end = pageOf(off), pageOf(off) // within one page, or two edges
	}
	defer m.settle()
	if err := m.lockIdle(ctx, first, end-first); err != nil {
		return err
	}
	defer m.inval.Unlock()
	if err := m.zeroEdges(ctx, off, n, first, end, p); err != nil {
		return err
	}
	m.views.Unmap(first, end-first, false)
	m.remove(first, end-first)
	return change()
}

// zeroEdges zeroes what of the range lies outside the pages [first, end).
func (m *Mapping) zeroEdges(ctx context.Context, off, n int64, first, end uint64, p Populator) error {
	if first == end {
		return m.zeroBytes(ctx, off, n, p)
	}
	if head := int64(first)*pmem.PageSize - off; head > 0 {
		if err := m.zeroBytes(ctx, off, head, p); err != nil {
			return err
		}
	}
	if tail := off + n - int64(end)*pmem.PageSize; tail > 0 {
		return m.zeroBytes(ctx, int64(end)*pmem.PageSize, tail, p)
	}
	return nil
}

// Invalidate takes back what DAX knows about the pages [page, page+n), after the
// file system changed the extent map under them (5.9): translations first, then
// the entries. A dirty or pinned page is refused: ErrBusy, and stays.
//
// Locks: the caller excludes whatever may read, write or allocate in the range.
// Takes the invalidate lock exclusive.
func (m *Mapping) Invalidate(page, n uint64) error {
	if n == 0 {
		return nil
	}
	defer m.settle()
	m.inval.Lock()
	defer m.inval.Unlock()
	// Once before the translations go, so that dirty pages keep theirs, and once
	// after, when no store can come any more.
	for range 2 {
		if _, err := m.collect(nil, page, n); err != nil {
			return err
		}
		m.mu.Lock()
		_, _, _, dirty := m.index.NextMarked(page, lastPage(page, n), markDirty)
		busy := dirty || m.pins.overlaps(page, n)
		m.mu.Unlock()
		if busy {
			return fmt.Errorf("dax: invalidate pages %d+%d: %w", page, n, ErrBusy)
		}
		m.views.Unmap(page, n, false)
	}
	m.remove(page, n)
	return nil
}

// Evict empties the mapping for good: it waits for pins, writes back what is dirty
// (unless discard says that the file is gone), and removes every entry. Views must
// be detached: ErrBusy. Afterwards every call fails with ErrGone.
//
// If the writeback fails the mapping stays as it is, with the error; call again
// with discard to drop the bytes. ctx bounds the wait for pins and may be nil.
func (m *Mapping) Evict(ctx context.Context, discard bool) error {
	if n := m.views.Len(); n > 0 {
		return fmt.Errorf("dax: evict with %d views: %w", n, ErrBusy)
	}
	for {
		if err := m.lockIdle(ctx, 0, ToEnd); err != nil {
			return err
		}
		m.mu.Lock()
		_, _, _, dirty := m.index.NextMarked(0, ToEnd, markDirty)
		m.mu.Unlock()
		if discard || !dirty {
			break
		}
		m.inval.Unlock()
		if _, err := m.Writeback(ctx, 0, 1<<63-1); err != nil {
			return err
		}
	}
	defer m.inval.Unlock()
	m.remove(0, ToEnd)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
	return nil
}
