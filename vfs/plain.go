package vfs

import (
	"context"
	"syscall"

	"godax/dax"
	"godax/vm"
)

// Plain is the [File] of a driver that finds frames and leaves the rest to DAX. A driver's
// inode embeds one, and replaces the methods that it can do better:
//
//   - Truncate zeroes the storage behind a new, smaller end, and keeps it;
//   - Allocate only zeroes;
//   - Extent calls everything data;
//   - Evict writes back and drops the index, whether or not the file has a name left.
type Plain struct {
	Index  *dax.Mapping
	Frames dax.Populator
}

// Mapping returns the Index.
func (p *Plain) Mapping() *dax.Mapping { return p.Index }

// PopulatePFNs asks Frames.
func (p *Plain) PopulatePFNs(r *dax.Request) error { return p.Frames.PopulatePFNs(r) }

// Fault is step 1, without times and transactions.
func (p *Plain) Fault(f *vm.Fault) error { return p.Index.Fault(f, p.Frames) }

// ReadAt implements [File].
func (p *Plain) ReadAt(ctx context.Context, b []byte, off int64) (int, error) {
	return p.Index.ReadAt(ctx, b, off, p.Frames)
}

// WriteAt implements [File].
func (p *Plain) WriteAt(ctx context.Context, b []byte, off int64) (int, error) {
	return p.Index.WriteAt(ctx, b, off, p.Frames)
}

// Truncate implements [File].
func (p *Plain) Truncate(ctx context.Context, size int64) error {
	if old := p.Index.Size(); size < old {
		if err := p.Index.ZeroRange(ctx, size, old-size, p.Frames); err != nil {
			return err
		}
	}
	return p.Index.Truncate(ctx, size, p.Frames, func() error { return nil })
}

// Allocate implements [File].
func (p *Plain) Allocate(ctx context.Context, mode AllocMode, off, n int64) error {
	if mode == AllocZero {
		return p.Index.ZeroRange(ctx, off, n, p.Frames)
	}
	return syscall.ENOTSUP
}

// Extent implements [File].
func (p *Plain) Extent(int64) (Extent, error) {
	return Extent{Len: p.Index.Size(), Kind: ExtentData}, nil
}

// Sync implements [File].
func (p *Plain) Sync(ctx context.Context, _ bool) error {
	_, err := p.Index.Writeback(ctx, 0, p.Index.Size())
	return err
}

// Evict implements [Inode].
func (p *Plain) Evict(ctx context.Context) error {
	return p.Index.Evict(ctx, false)
}

// NoChanges refuses every change of an inode's attributes and of a directory with
// ENOTSUP. A driver's inode embeds one, and replaces what it can do.
type NoChanges struct{}

// SetAttr implements [Inode].
func (NoChanges) SetAttr(SetAttr) error { return syscall.ENOTSUP }

// Create implements [Dir].
func (NoChanges) Create(string, NewInode) (Inode, error) { return nil, syscall.ENOTSUP }

// Link implements [Dir].
func (NoChanges) Link(string, Inode) error { return syscall.ENOTSUP }

// Unlink implements [Dir].
func (NoChanges) Unlink(string, Inode) error { return syscall.ENOTSUP }

// Rmdir implements [Dir].
func (NoChanges) Rmdir(string, Inode) error { return syscall.ENOTSUP }

// Rename implements [Dir].
func (NoChanges) Rename(string, Inode, Dir, string, Inode) error { return syscall.ENOTSUP }
