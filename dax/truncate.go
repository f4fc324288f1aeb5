package dax

import (
	"context"
	"fmt"
	"math"
	"syscall"

	"godax/internal/hook"
	"godax/pmem"
)

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
	if err := m.lockRemovable(ctx, end, ToEnd-end); err != nil {
		return err
	}
	defer m.inval.Unlock()
	if rest := size % pmem.PageSize; rest != 0 {
		if err := m.zeroBytes(ctx, size, pmem.PageSize-rest, p); err != nil {
			return err
		}
	}
	m.size.Store(size)
	hook.At(hook.SizePublished, m, end)
	// No fault that passed the old size check can leave a page behind after this: it would
	// hold inval from the check until its page is mapped.
	m.unmap(end, ToEnd-end, true)
	hook.At(hook.LayoutIdle, m, end)
	m.forget(m.remove(end, ToEnd-end))
	hook.At(hook.LayoutRemoved, m, end)
	return change()
}

// extend is the growing half of Truncate. Views that were past the end have pages
// to gain.
func (m *Mapping) extend(ctx context.Context, old, size int64, p Populator, change func() error) error {
	if m.mustRefill(ctx) {
		return ErrWouldBlock
	}
	if err := m.zeroTail(ctx, p); err != nil {
		return err
	}
	if err := change(); err != nil {
		return err
	}
	m.size.Store(size)
	if first, end := pagesUp(old), pagesUp(size); end > first {
		m.unmap(first, end-first, false)
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
	n, err := m.clip("punch", off, n)
	if err != nil || n == 0 {
		return err
	}
	first, end := pagesUp(off), pageOf(off+n)
	if off+n == m.size.Load() {
		end = pagesUp(off + n)
	}
	if end <= first {
		first, end = pageOf(off), pageOf(off) // within one page, or two edges
	}
	defer m.settle()
	if err := m.lockRemovable(ctx, first, end-first); err != nil {
		return err
	}
	defer m.inval.Unlock()
	if err := m.zeroEdges(ctx, off, n, first, end, p); err != nil {
		return err
	}
	return m.changeLayout(first, end-first, change)
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
