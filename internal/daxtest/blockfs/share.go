package blockfs

import (
	"context"
	"fmt"
	"syscall"

	"godax/dax"
)

// beginBoth is begin for two files, which may be the same. Neither inode lock is waited
// for with the other held.
func beginBoth(ctx context.Context, f, g *File) (end func(), err error) {
	if f.FS.cfg.Carrier == BufferHead {
		return nil, fmt.Errorf("blockfs: a buffer head cannot say that a block is shared: %w", syscall.EOPNOTSUPP)
	}
	if f == g {
		return f.begin(ctx)
	}
	for {
		end, err := f.begin(ctx)
		if err != nil {
			return nil, err
		}
		if g.inode.TryLock() {
			return func() {
				g.inode.Unlock()
				end()
			}, nil
		}
		end()
		f, g = g, f
	}
}

// pageRange makes pages of a range of bytes, whose end may be the end of the file.
func (f *File) pageRange(off, n int64) (dax.Range, error) {
	if off < 0 || n <= 0 || off%PageSize != 0 || n%PageSize != 0 && off+n != f.M.Size() || off+n > f.M.Size() {
		return dax.Range{}, fmt.Errorf("blockfs: range of %d bytes at %d of %d: %w", n, off, f.M.Size(), syscall.EINVAL)
	}
	return dax.Range{Mapping: f.M, Page: uint64(off) / PageSize, N: pagesUp(n)}, nil
}

// Reflink makes n bytes of src at soff those of f at off, in the same blocks
// (FICLONERANGE). Ranges are whole pages, but for one that ends where src and f end.
func (f *File) Reflink(ctx context.Context, off int64, src *File, soff, n int64) error {
	end, err := beginBoth(ctx, f, src)
	if err != nil {
		return err
	}
	defer end()
	a, err := src.pageRange(soff, n)
	if err != nil {
		return err
	}
	if off < 0 || off%PageSize != 0 || n%PageSize != 0 && off+n < f.M.Size() {
		return syscall.EINVAL
	}
	if f == src && off < soff+n && soff < off+n {
		return syscall.EINVAL
	}
	f.touch()
	if off+n > f.M.Size() {
		if err := f.truncate(ctx, off+n); err != nil {
			return err
		}
	}
	b := dax.Range{Mapping: f.M, Page: uint64(off) / PageSize, N: a.N}
	return dax.Remap(ctx, a, b, false, func() error {
		f.shareFrom(b.Page, src, a.Page, a.N)
		return nil
	})
}

// shareFrom makes blocks of src those of f as well.
func (f *File) shareFrom(page uint64, src *File, spage, n uint64) {
	fs := f.FS
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for i := range n {
		e, ok := src.ext[spage+i]
		if ok {
			fs.space.addRef(e.Block) // before the other is dropped: it may be the same
		}
		f.dropLocked(page+i, page+i+1)
		if ok {
			f.ext[page+i] = e
		}
	}
	fs.changes++
}

// Dedupe makes n bytes of f at off and of src at soff lie in the same blocks, those of
// src, if they are equal (FIDEDUPERANGE).
func (f *File) Dedupe(ctx context.Context, off int64, src *File, soff, n int64) (bool, error) {
	end, err := beginBoth(ctx, f, src)
	if err != nil {
		return false, err
	}
	defer end()
	a, err := src.pageRange(soff, n)
	if err != nil {
		return false, err
	}
	b, err := f.pageRange(off, n)
	if err != nil {
		return false, err
	}
	return dax.Dedupe(ctx, a, b, src, f, func() error {
		f.shareFrom(b.Page, src, a.Page, a.N)
		return nil
	})
}

// Exchange swaps n bytes of f at off with those of g at goff: whole pages.
func (f *File) Exchange(ctx context.Context, off int64, g *File, goff, n int64) error {
	if n%PageSize != 0 || f == g && off < goff+n && goff < off+n {
		return syscall.EINVAL
	}
	end, err := beginBoth(ctx, f, g)
	if err != nil {
		return err
	}
	defer end()
	a, err := f.pageRange(off, n)
	if err != nil {
		return err
	}
	b, err := g.pageRange(goff, n)
	if err != nil {
		return err
	}
	f.touch()
	g.touch()
	return dax.Remap(ctx, a, b, true, func() error {
		f.FS.mu.Lock()
		defer f.FS.mu.Unlock()
		for i := range a.N {
			x, okx := f.ext[a.Page+i]
			y, oky := g.ext[b.Page+i]
			delete(f.ext, a.Page+i)
			delete(g.ext, b.Page+i)
			if oky {
				f.ext[a.Page+i] = y
			}
			if okx {
				g.ext[b.Page+i] = x
			}
		}
		f.FS.changes++
		return nil
	})
}

// Unshare gives a range blocks of its own.
func (f *File) Unshare(ctx context.Context, off, n int64) error {
	end, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	f.touch()
	return f.withRoom(func() error { return f.M.Unshare(ctx, off, n, f) })
}

// CopyRange copies n bytes of src at soff to f at off (copy_file_range(2), by copying).
func (f *File) CopyRange(ctx context.Context, off int64, src *File, soff, n int64) (int64, error) {
	if f == src {
		return 0, syscall.EINVAL
	}
	end, err := beginBoth(ctx, f, src)
	if err != nil {
		return 0, err
	}
	defer end()
	f.touch()
	done, err := src.M.ReadTo(ctx, soff, n, src, func(b []byte) (int, error) {
		n, err := f.M.WriteAt(ctx, b, off, f)
		off += int64(n)
		return n, err
	})
	if err != nil {
		f.trim()
	}
	return done, err
}
