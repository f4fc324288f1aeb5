package dax

import (
	"context"
	"fmt"
	"math"
	"syscall"

	"godax/internal/hook"
	"godax/pmem"
	"godax/vm"
)

// CollapseRange takes the n bytes at off out of the file, which gets shorter by them
// (fallocate(2): FALLOC_FL_COLLAPSE_RANGE). change does that to the extent map and
// stores the new size; it runs while nothing refers to the pages from off on, all of
// which are durable.
//
// Errors: EINVAL if the range is not whole pages, or reaches the end of the file (which
// is a truncation); EROFS.
//
// Locks, waiting: as BreakLayout.
func (m *Mapping) CollapseRange(ctx context.Context, off, n int64, change func() error) error {
	size := m.size.Load()
	if off < 0 || n <= 0 || (off|n)%pmem.PageSize != 0 || off >= size || n >= size-off {
		return fmt.Errorf("dax: collapse of %d bytes at %d of %d: %w", n, off, size, syscall.EINVAL)
	}
	return m.shift(ctx, off, size-n, change)
}

// InsertRange puts a hole of n bytes into the file at off, which gets longer by it
// (FALLOC_FL_INSERT_RANGE). change as in CollapseRange.
//
// Errors: EINVAL if off or n is not whole pages or off not before the end of the file;
// EFBIG; EROFS.
//
// Locks, waiting: as BreakLayout.
func (m *Mapping) InsertRange(ctx context.Context, off, n int64, change func() error) error {
	size := m.size.Load()
	switch {
	case off < 0 || n <= 0 || (off|n)%pmem.PageSize != 0 || off >= size:
		return fmt.Errorf("dax: insert of %d bytes at %d of %d: %w", n, off, size, syscall.EINVAL)
	case n > math.MaxInt64-pmem.PageSize-size:
		return fmt.Errorf("dax: insert of %d bytes in %d: %w", n, size, syscall.EFBIG)
	}
	return m.shift(ctx, off, size+n, change)
}

// shift runs change, which moves the storage behind off and makes the file size bytes
// long.
func (m *Mapping) shift(ctx context.Context, off, size int64, change func() error) error {
	if m.cfg.ReadOnly {
		return syscall.EROFS
	}
	first := pageOf(off)
	defer m.settle()
	if err := m.lockIdle(ctx, first, ToEnd-first); err != nil {
		return err
	}
	defer m.inval.Unlock()
	// An entry that begins before off is removed in part; its rest is moved with the others.
	if err := m.cleanOut(ctx, first, ToEnd-first); err != nil {
		return err
	}
	if err := m.changeLayout(first, ToEnd-first, change); err != nil {
		return err
	}
	m.size.Store(size)
	hook.At(hook.SizePublished, m, first)
	end := pagesUp(size)
	m.unmap(end, ToEnd-end, true)
	return nil
}

// cleanOut makes what is dirty in the range durable (5.8 step 2): its bytes go on living,
// elsewhere or in other hands. inval has been held exclusively since lockIdle took the
// translations, so that nothing can be stored there but by write(2), which the inode lock
// excludes.
func (m *Mapping) cleanOut(ctx context.Context, page, n uint64) error {
	if n == 0 || page > math.MaxInt64/pmem.PageSize {
		return nil // no file has bytes there
	}
	off := int64(page) * pmem.PageSize
	length := int64(math.MaxInt64)
	if n < uint64(math.MaxInt64-off)/pmem.PageSize {
		length = int64(n) * pmem.PageSize
	}
	_, err := m.Writeback(ctx, off, length)
	return err
}

// storesUnseen reports whether a view may store to the pages without their entry being
// DIRTY: until it is collected.
func (m *Mapping) storesUnseen(page, n uint64) (unseen bool) {
	m.views.Each(page, n, func(v vm.View) bool {
		_, ok := v.(vm.Collector)
		unseen = ok && v.Flags().SharedWrite()
		return !unseen
	})
	return unseen
}
