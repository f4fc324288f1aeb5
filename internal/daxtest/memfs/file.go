package memfs

import (
	"context"
	"syscall"

	"godax/dax"
	"godax/pmem"
	"godax/vfs"
	"godax/vm"
)

// Mapping is the file's index.
func (i *inode) Mapping() *dax.Mapping { return i.m }

// Fault is step 1.
func (i *inode) Fault(f *vm.Fault) error { return i.m.Fault(f, i) }

// PopulatePFNs is step 5a: it inserts the page's frame.
func (i *inode) PopulatePFNs(r *dax.Request) error {
	i.f.mu.Lock()
	defer i.f.mu.Unlock()
	if _, ok := i.blocks[r.Page]; !ok && r.Intent != dax.IntentWrite {
		n := uint64(1)
		for n < r.N && !i.hasBlock(r.Page+n) {
			n++
		}
		return r.Hole(r.Page, n)
	}
	for page := r.Page; page < r.Page+r.N; page++ {
		b, ok := i.blocks[page]
		var attr dax.Attr
		switch {
		case !ok && r.Intent == dax.IntentWrite && page == r.Page:
			var err error
			if b, err = i.f.allocLocked(); err != nil {
				return err
			}
			i.blocks[page] = b
			attr = dax.New
		case !ok:
			return nil
		}
		if !i.f.readOnly {
			attr |= dax.Writable
		}
		if err := r.Insert(page, pmem.MakePFN(i.f.dev.ID(), b), 1, attr); err != nil {
			return err
		}
	}
	return nil
}

func (i *inode) hasBlock(page uint64) bool {
	_, ok := i.blocks[page]
	return ok
}

// ReadAt reads.
func (i *inode) ReadAt(ctx context.Context, b []byte, off int64) (int, error) {
	return i.m.ReadAt(ctx, b, off, i)
}

// WriteAt writes.
func (i *inode) WriteAt(ctx context.Context, b []byte, off int64) (int, error) {
	n, err := i.m.WriteAt(ctx, b, off, i)
	if n > 0 {
		i.touch()
	}
	return n, err
}

// Truncate changes the size.
func (i *inode) Truncate(ctx context.Context, size int64) error {
	return i.m.Truncate(ctx, size, i, func() error {
		i.touch()
		i.f.freeBlocks(i.record, pagesUp(size), dax.ToEnd)
		return nil
	})
}

// Allocate changes what holds the range.
func (i *inode) Allocate(ctx context.Context, mode vfs.AllocMode, off, n int64) error {
	switch mode {
	case vfs.AllocPunch:
		return i.m.PunchHole(ctx, off, n, i, func() error {
			i.touch()
			if first, end := pagesUp(off), uint64(off+n)/pmem.PageSize; first < end {
				i.f.freeBlocks(i.record, first, end)
			}
			return nil
		})
	case vfs.AllocZero:
		return i.m.ZeroRange(ctx, off, n, i)
	case vfs.AllocReserve:
		first, end := uint64(off)/pmem.PageSize, pagesUp(off+n)
		if err := i.m.BreakLayout(ctx, first, end-first, func() error { return i.reserve(first, end) }); err != nil {
			return err
		}
		if off+n > i.m.Size() {
			return i.Truncate(ctx, off+n)
		}
		return nil
	}
	return syscall.ENOTSUP
}

// reserve gives the pages [page, end) zeroed blocks.
func (i *inode) reserve(page, end uint64) error {
	i.f.mu.Lock()
	defer i.f.mu.Unlock()
	for ; page < end; page++ {
		if i.hasBlock(page) {
			continue
		}
		b, err := i.f.allocLocked()
		if err != nil {
			return err
		}
		i.blocks[page] = b
	}
	return nil
}

// Extent returns the run of pages with or without blocks around off.
func (i *inode) Extent(off int64) (vfs.Extent, error) {
	i.f.mu.Lock()
	defer i.f.mu.Unlock()
	page, end := uint64(off)/pmem.PageSize, pagesUp(i.m.Size())
	e := vfs.Extent{Off: int64(page) * pmem.PageSize, Kind: vfs.ExtentHole}
	has := i.hasBlock(page)
	if has {
		e.Kind = vfs.ExtentData
	}
	for ; page < end && i.hasBlock(page) == has; page++ {
		e.Len += pmem.PageSize
	}
	return e, nil
}

// Sync writes back.
func (i *inode) Sync(ctx context.Context, _ bool) error {
	if i.f.OnSync != nil {
		if err := i.f.OnSync(i.Ino); err != nil {
			return err
		}
	}
	_, err := i.m.Writeback(ctx, 0, i.m.Size())
	return err
}

// pagesUp is the number of pages that n bytes reach into.
func pagesUp(n int64) uint64 { return (uint64(n) + pmem.PageSize - 1) / pmem.PageSize }
