package dax

import (
	"bytes"
	"context"
	"fmt"
	"syscall"

	"godax/pmem"
)

// Unshare gives the pages that the n bytes at off lie in storage of their own (5.11):
// p is asked with IntentUnshare for every page whose entry does not say already that it
// has, and answers with InsertCopy where storage is shared. Holes stay holes. n may
// reach past the end of the file. ctx may be nil.
//
// Errors: those of p; EROFS, EINVAL.
//
// Locks: the caller holds the inode lock exclusive. Takes the invalidate lock shared and
// entry locks.
func (m *Mapping) Unshare(ctx context.Context, off, n int64, p Populator) error {
	n, err := m.clip("unshare", off, n)
	if err != nil || n == 0 {
		return err
	}
	if m.mustRefill(ctx) {
		return ErrWouldBlock
	}
	defer m.settle()
	if err := m.lockShared(ctx); err != nil {
		return err
	}
	defer m.inval.RUnlock()
	for page, end := pageOf(off), pagesUp(off+n); page < end; {
		if err := canceled(ctx); err != nil {
			return err
		}
		q := question{page: page, n: end - page, intent: IntentUnshare, off: off, length: n}
		// Not more than asked for: copies outside the range could fail for want of space.
		s, err := m.answer(ctx, q, alignedOrder(page, end-page, m.cfg.PMDOrder), p)
		if err != nil {
			return err
		}
		m.ungrab(s)
		page = s.end()
	}
	return nil
}

// Range is a run of whole pages of one file.
type Range struct {
	Mapping *Mapping
	Page, N uint64
}

// Remap runs change, which makes files share storage or exchange it (reflink, exchange of
// ranges), while nothing refers to the pages of either range: no translation, no pin, no
// entry, so that permission to store is lost on both, and no fault can come. What was
// dirty in a is durable before; in b it is if flushB is set, otherwise it is destroyed
// with the bytes that change replaces. Both ranges may be of one file.
//
// The wait for pins gives up when ctx is done, and then nothing has changed.
//
// Locks: the caller holds both inode locks exclusive. Takes both invalidate locks
// exclusive; it never waits for one while it holds the other, so their order does not
// matter.
func Remap(ctx context.Context, a, b Range, flushB bool, change func() error) error {
	if a.Mapping.cfg.ReadOnly || b.Mapping.cfg.ReadOnly {
		return syscall.EROFS
	}
	return withBoth(ctx, a, b, func() error {
		if err := a.Mapping.cleanOut(ctx, a.Page, a.N); err != nil {
			return err
		}
		if flushB {
			if err := b.Mapping.cleanOut(ctx, b.Page, b.N); err != nil {
				return err
			}
		}
		return a.Mapping.changeLayout(a.Page, a.N, func() error {
			return b.Mapping.changeLayout(b.Page, b.N, change)
		})
	})
}

// Dedupe is Remap for ranges of equal length if their bytes are equal (5.11): then change
// runs, and the result is true. No store can come between the comparison and change.
// Nothing is allocated by comparing.
func Dedupe(ctx context.Context, a, b Range, pa, pb Populator, change func() error) (equal bool, err error) {
	if a.N != b.N {
		return false, fmt.Errorf("dax: dedupe of %d and %d pages: %w", a.N, b.N, syscall.EINVAL)
	}
	if a.Mapping.cfg.ReadOnly || b.Mapping.cfg.ReadOnly {
		return false, syscall.EROFS
	}
	err = withBoth(ctx, a, b, func() error {
		for _, r := range []Range{a, b} {
			if err := r.Mapping.cleanOut(ctx, r.Page, r.N); err != nil {
				return err
			}
		}
		equal, err = equalRanges(ctx, a, b, pa, pb)
		if err != nil || !equal {
			return err
		}
		return a.Mapping.changeLayout(a.Page, a.N, func() error {
			return b.Mapping.changeLayout(b.Page, b.N, change)
		})
	})
	return equal && err == nil, err
}

// withBoth runs f with the invalidate locks of both files held exclusively and no pin in
// either range, and fills views again afterwards.
func withBoth(ctx context.Context, a, b Range, f func() error) error {
	defer a.Mapping.settle()
	if a.Mapping == b.Mapping {
		// One lock, two ranges: nothing may be pinned between the first and the last page.
		page, n := cover(a, b)
		if err := a.Mapping.lockIdle(ctx, page, n); err != nil {
			return err
		}
		defer a.Mapping.inval.Unlock()
		return f()
	}
	defer b.Mapping.settle()
	for x, y := a, b; ; x, y = y, x {
		if err := x.Mapping.lockIdle(ctx, x.Page, x.N); err != nil {
			return err
		}
		if y.Mapping.tryLockIdle(y.Page, y.N) {
			defer x.Mapping.inval.Unlock()
			defer y.Mapping.inval.Unlock()
			return f()
		}
		x.Mapping.inval.Unlock() // wait for y next, without it
		x.Mapping.settle()
		if !mayWait(ctx) {
			return ErrWouldBlock
		}
	}
}

// cover is the smallest run that both ranges lie in.
func cover(a, b Range) (page, n uint64) {
	switch {
	case a.N == 0:
		return b.Page, b.N
	case b.N == 0:
		return a.Page, a.N
	}
	first, last := min(a.Page, b.Page), max(lastPage(a.Page, a.N), lastPage(b.Page, b.N))
	if first == 0 && last == ToEnd {
		return 0, ToEnd // one more does not fit
	}
	return first, last - first + 1
}

// equalRanges compares the bytes of two ranges, with their invalidate locks held.
func equalRanges(ctx context.Context, a, b Range, pa, pb Populator) (bool, error) {
	for i := uint64(0); i < a.N; i++ {
		x, err := a.Mapping.pageBytes(ctx, a.Page+i, pa)
		if err != nil {
			return false, err
		}
		y, err := b.Mapping.pageBytes(ctx, b.Page+i, pb)
		if err != nil || !bytes.Equal(x, y) {
			return false, err
		}
	}
	return true, nil
}

// pageBytes returns the bytes of a page to look at, with inval held.
func (m *Mapping) pageBytes(ctx context.Context, page uint64, p Populator) ([]byte, error) {
	for {
		b, err := m.readBytes(ctx, int64(page)*pmem.PageSize, pmem.PageSize)
		if err != errMiss {
			return b, err
		}
		if err := canceled(ctx); err != nil {
			return nil, err
		}
		if err := m.fillLocked(ctx, page, p); err != nil {
			return nil, err
		}
	}
}
