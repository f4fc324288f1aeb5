package ext

import (
	"context"
	"errors"
	"math"
	"sync"
	"syscall"

	"godax/dax"
	"godax/pmem"
	"godax/vfs"
	"godax/vm"
)

// file is a regular file.
//
// The size in memory is the mapping's; that on the medium follows it, after the bytes
// are in place.
type file struct {
	*inode
	once sync.Once
	m    *dax.Mapping
}

var (
	_ vfs.File = (*file)(nil)
	_ dax.Host = (*file)(nil)
)

func newFile(in *inode) *file { return &file{inode: in} }

// Mapping is the file's index, made when it is first asked for.
func (fl *file) Mapping() *dax.Mapping {
	fl.once.Do(func() {
		c := dax.Config{ReadOnly: fl.fs.readOnly, Host: fl, Trace: fl.fs.trace}
		if fl.fs.blockSize() != pmem.PageSize {
			c.Frames = fl.fs.frames.get(fl.fs)
		}
		fl.m = dax.NewMapping(c)
		fl.m.SetSize(fl.size())
	})
	return fl.m
}

// ReadAt copies bytes of the file.
func (fl *file) ReadAt(ctx context.Context, b []byte, off int64) (int, error) {
	return fl.Mapping().ReadAt(ctx, b, off, fl)
}

// WriteAt stores bytes, allocating blocks as needed. Errors: ENOSPC, EFBIG, EROFS.
func (fl *file) WriteAt(ctx context.Context, b []byte, off int64) (int, error) {
	f, m := fl.fs, fl.Mapping()
	if err := fl.writable(off, int64(len(b))); err != nil || len(b) == 0 {
		return 0, err
	}
	if err := fl.backTail(off); err != nil {
		fl.trimTail()
		return 0, err
	}
	var allocErr error
	if f.blockSize() != pmem.PageSize {
		// A cached page takes every store, so the blocks must be there before it does.
		var got int64
		got, allocErr = fl.allocatePrefix(off, int64(len(b)))
		b = b[:got]
	}
	n, err := m.WriteAt(ctx, b, off, fl)
	if err == nil {
		err = allocErr
	}
	if n > 0 {
		if terr := fl.touch(stampMtime | stampCtime); err == nil {
			err = terr
		}
	}
	if end := m.Size(); end > fl.size() {
		if serr := fl.setSize(end); err == nil {
			err = serr
		}
	}
	if err != nil {
		fl.trimTail() // blocks that were allocated and not reached
	}
	return n, err
}

// writable checks a range that is to become part of the file.
func (fl *file) writable(off, n int64) error {
	switch {
	case fl.fs.readOnly:
		return syscall.EROFS
	case off < 0 || n < 0:
		return syscall.EINVAL
	case off > fl.fs.maxFileSize() || n > fl.fs.maxFileSize()-off:
		return syscall.EFBIG
	}
	return nil
}

// trimTail frees blocks past the end. Errors leave them there, which a check of the
// image repairs.
func (fl *file) trimTail() {
	fl.mu.Lock()
	defer fl.mu.Unlock()
	_ = fl.bmap.free(fl.blocksFor(fl.size()), fl.fs.mapBlocks())
}

// Truncate sets the size. Growing leaves a hole; shrinking unlinks the blocks first
// and stores the size then, so that no check of the image finds blocks past the end.
func (fl *file) Truncate(ctx context.Context, size int64) error {
	if err := fl.writable(size, 0); err != nil {
		return err
	}
	return fl.Mapping().Truncate(ctx, size, fl, func() error {
		if size < fl.size() {
			if err := fl.cut(size); err != nil {
				return err
			}
		} else if err := fl.backTail(size); err != nil {
			fl.trimTail()
			return err
		}
		if size != fl.size() {
			if err := fl.setSize(size); err != nil {
				return err
			}
		}
		return fl.touch(stampMtime | stampCtime)
	})
}

// cut frees the blocks behind size, and zeroes the rest of the last one.
func (fl *file) cut(size int64) error {
	fl.mu.Lock()
	fl.dropWindow()
	err := fl.bmap.free(fl.blocksFor(size), fl.fs.mapBlocks())
	fl.mu.Unlock()
	if err != nil {
		return err
	}
	in := size % fl.fs.blockSize()
	if in == 0 {
		return nil
	}
	x, err := fl.blocks(uint64(size/fl.fs.blockSize()), 1, false)
	if err != nil || x.pblk == 0 {
		return err
	}
	off := fl.fs.blockOff(x.pblk) + in
	if err := fl.fs.st.zeroQuiet(off, fl.fs.blockSize()-in); err != nil {
		return err
	}
	return fl.fs.dev.Flush(off, fl.fs.blockSize()-in)
}

// Allocate changes what storage a range of the file has. The format has no unwritten
// blocks, so blocks past the end are not possible: AllocKeepSize beyond the last block is ENOTSUP.
func (fl *file) Allocate(ctx context.Context, mode vfs.AllocMode, off, n int64) error {
	if off < 0 || n <= 0 {
		return syscall.EINVAL
	}
	if err := fl.writable(off, n); err != nil {
		return err
	}
	var err error
	m := fl.Mapping()
	switch mode {
	case vfs.AllocReserve:
		err = fl.reserve(ctx, off, n)
	case vfs.AllocKeepSize:
		size := m.Size()
		if off >= size || fl.blocksFor(off+n) > fl.blocksFor(size) {
			return syscall.ENOTSUP
		}
		err = fl.reserve(ctx, off, min(n, size-off))
	case vfs.AllocPunch:
		err = m.PunchHole(ctx, off, n, fl, func() error { return fl.punch(off, n) })
	case vfs.AllocZero:
		err = m.ZeroRange(ctx, off, n, fl)
	default:
		return syscall.ENOTSUP
	}
	if err != nil {
		return err
	}
	return fl.touch(stampMtime | stampCtime)
}

// reserve gives the range blocks and the file a size that includes it. The range is free of
// index entries meanwhile: those that say "hole" would not be true any more.
func (fl *file) reserve(ctx context.Context, off, n int64) error {
	m := fl.Mapping()
	if _, err := m.Writeback(ctx, off, n); err != nil {
		return err
	}
	err := m.Invalidate(uint64(off)/pmem.PageSize, uint64(off+n-1)/pmem.PageSize-uint64(off)/pmem.PageSize+1)
	if err == nil || errors.Is(err, dax.ErrBusy) {
		// Pinned pages keep their entries, which are of storage, not of holes.
		err = fl.allocateBytes(off, n)
	}
	if err == nil {
		err = fl.backTail(off + n)
	}
	if err == nil && off+n > m.Size() {
		err = m.Truncate(ctx, off+n, fl, func() error { return fl.setSize(off + n) })
	}
	if err != nil {
		fl.trimTail()
	}
	return err
}

// used reports whether somebody may store to pages of the file without asking: through a view
// or a pin. A cached page of theirs has storage for all that is in the file, so that
// writing it back cannot meet ENOSPC, when it is too late to say so.
func (fl *file) used() bool {
	views, pins := fl.Mapping().Busy()
	return views+pins > 0
}

// backTail gives a cached page in use that the end of the file lies in storage up to the end
// that the file is about to have. Errors: ENOSPC.
func (fl *file) backTail(size int64) error {
	old := fl.Mapping().Size()
	if fl.fs.blockSize() == pmem.PageSize || size <= old || old%pmem.PageSize == 0 || !fl.used() {
		return nil
	}
	return fl.allocateBytes(old, min(size-old, pmem.PageSize-old%pmem.PageSize))
}

// punch frees the blocks that lie wholly inside the range. A range up to the end of
// the file includes the rest of its last block. Of a file in use only whole pages lose
// their blocks: the others stay mapped.
func (fl *file) punch(off, n int64) error {
	bs := fl.fs.blockSize()
	size := fl.size()
	if bs != pmem.PageSize && fl.used() {
		end := off + min(n, size-off)
		if end < size {
			end -= end % pmem.PageSize
		}
		off += (pmem.PageSize - off%pmem.PageSize) % pmem.PageSize
		if n = end - off; n <= 0 {
			return nil
		}
	}
	from, to := uint64((off+bs-1)/bs), uint64(0)
	if n >= size-off {
		to = fl.blocksFor(size)
	} else {
		to = uint64((off + n) / bs)
	}
	if to <= from {
		return nil
	}
	fl.mu.Lock()
	defer fl.mu.Unlock()
	return fl.bmap.free(from, to)
}

// Extent returns the run of storage or hole that byte off lies in.
func (fl *file) Extent(off int64) (vfs.Extent, error) {
	bs, size := fl.fs.blockSize(), fl.Mapping().Size()
	if off < 0 || off >= size {
		return vfs.Extent{}, syscall.ENXIO
	}
	x, err := fl.blocks(uint64(off/bs), fl.blocksFor(size)-uint64(off/bs), false)
	if err == nil && x.pblk == 0 && bs != pmem.PageSize && !fl.fs.readOnly {
		// A cached page may hold stores to a hole that has no blocks until it is written back.
		if _, err = fl.Mapping().Writeback(context.Background(), off, int64(x.n)*bs); err == nil {
			x, err = fl.blocks(uint64(off/bs), x.n, false)
		}
	}
	if err != nil {
		return vfs.Extent{}, err
	}
	e := vfs.Extent{Off: off, Kind: vfs.ExtentHole}
	if x.pblk != 0 {
		e.Kind = vfs.ExtentData
	}
	e.Len = min(int64(uint64(off/bs)+x.n)*bs, size) - off
	return e, nil
}

// Sync makes the file's data and all metadata durable.
func (fl *file) Sync(ctx context.Context, dataOnly bool) error {
	if fl.fs.readOnly {
		return nil
	}
	if _, err := fl.Mapping().Writeback(ctx, 0, math.MaxInt64); err != nil {
		return err
	}
	return fl.fs.st.flush()
}

// Fault serves one fault of a view: step 1.
func (fl *file) Fault(ft *vm.Fault) error {
	if ft.Access != vm.Load && ft.View.Flags().SharedWrite() {
		if fl.fs.readOnly {
			return syscall.EROFS
		}
		if err := fl.touch(stampMtime | stampCtime); err != nil {
			return err
		}
	}
	m := fl.Mapping()
	err := m.Fault(ft, fl)
	if errors.Is(err, dax.ErrMetadataPending) {
		if err := fl.fs.st.flush(); err != nil {
			return err
		}
		return m.FinishSync(ft)
	}
	return err
}

// Evict flushes the file and forgets its index; without links its storage goes as well.
func (fl *file) Evict(ctx context.Context) error {
	var err error
	fl.once.Do(func() {}) // from here on nobody makes a mapping
	if fl.m != nil {
		gone := fl.links() == 0
		if err = fl.m.Evict(ctx, gone); err != nil && !gone {
			// The bytes cannot be written back. They are given up, so that the others can go.
			_ = fl.m.Evict(ctx, true)
		}
	}
	if ierr := fl.inode.Evict(ctx); err == nil {
		err = ierr
	}
	return err
}
