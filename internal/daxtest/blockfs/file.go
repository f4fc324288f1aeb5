package blockfs

import (
	"context"
	"errors"
	"io"
	"syscall"

	"godax/dax"
	"godax/internal/rwsem"
	"godax/vm"
	"godax/vm/sim"
)

// File is one file. Its methods take the locks that they need.
type File struct {
	FS *FS
	ID int
	M  *dax.Mapping

	inode rwsem.RW

	// Guarded by FS.mu.
	ext      map[uint64]Ext
	diskSize int64 // that the next commit makes durable
	calls    int   // of PopulatePFNs
	times    int   // how often the file's times were set
}

var (
	_ dax.Populator = (*File)(nil)
	_ vm.Handler    = (*File)(nil)
)

// begin takes freeze protection and the inode lock, exclusive.
func (f *File) begin(ctx context.Context) (end func(), err error) {
	if f.FS.cfg.Mapping.ReadOnly {
		return nil, syscall.EROFS
	}
	if err := f.FS.writes.RLock(ctx); err != nil {
		return nil, lockErr(err)
	}
	if err := f.inode.Lock(ctx); err != nil {
		f.FS.writes.RUnlock()
		return nil, lockErr(err)
	}
	return func() {
		f.inode.Unlock()
		f.FS.writes.RUnlock()
	}, nil
}

func lockErr(err error) error {
	if err == rwsem.ErrWouldBlock {
		return dax.ErrWouldBlock
	}
	return err
}

// Read is read(2): the error is nil at the end of the file.
func (f *File) Read(ctx context.Context, b []byte, off int64) (int, error) {
	if err := f.inode.RLock(ctx); err != nil {
		return 0, lockErr(err)
	}
	defer f.inode.RUnlock()
	n, err := f.M.ReadAt(ctx, b, off, f)
	if err == io.EOF {
		err = nil
	}
	return n, err
}

// Write is write(2).
func (f *File) Write(ctx context.Context, b []byte, off int64) (int, error) {
	end, err := f.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	f.touch()
	done := 0
	err = f.withRoom(func() error {
		n, err := f.M.WriteAt(ctx, b[done:], off+int64(done), f)
		done += n
		return err
	})
	if err != nil {
		f.trim()
	}
	return done, err
}

// WriteFrom writes n bytes that get puts straight into the frames.
func (f *File) WriteFrom(ctx context.Context, off, n int64, get func(b []byte) (int, error)) (int64, error) {
	end, err := f.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer end()
	f.touch()
	done, err := f.M.WriteFrom(ctx, off, n, f, get)
	if done < n {
		f.trim()
	}
	return done, err
}

// ReadTo gives put n bytes straight from the frames.
func (f *File) ReadTo(ctx context.Context, off, n int64, put func(b []byte) (int, error)) (int64, error) {
	if err := f.inode.RLock(ctx); err != nil {
		return 0, lockErr(err)
	}
	defer f.inode.RUnlock()
	return f.M.ReadTo(ctx, off, n, f, put)
}

// withRoom calls try again after a commit that gives freed blocks back, as long as there
// is no space (T32).
func (f *File) withRoom(try func() error) error {
	for {
		err := try()
		if !errors.Is(err, syscall.ENOSPC) || f.FS.cfg.NoRetry || !f.FS.makeRoom() {
			return err
		}
	}
}

// makeRoom commits if that gives blocks back.
func (fs *FS) makeRoom() bool {
	fs.mu.Lock()
	n := len(fs.space.freed)
	fs.mu.Unlock()
	return n > 0 && fs.Commit() == nil
}

// touch sets the file's times.
func (f *File) touch() {
	f.FS.mu.Lock()
	defer f.FS.mu.Unlock()
	f.times++
}

// Times is how often the file's times were set.
func (f *File) Times() int {
	f.FS.mu.Lock()
	defer f.FS.mu.Unlock()
	return f.times
}

// Calls is the number of PopulatePFNs calls.
func (f *File) Calls() int {
	f.FS.mu.Lock()
	defer f.FS.mu.Unlock()
	return f.calls
}

// Ext returns what a page has.
func (f *File) Ext(page uint64) (Ext, bool) {
	f.FS.mu.Lock()
	defer f.FS.mu.Unlock()
	e, ok := f.ext[page]
	return e, ok
}

// trim frees blocks past the end, which a write was given and did not get to.
func (f *File) trim() { f.drop(pagesUp(f.M.Size()), dax.ToEnd) }

func (f *File) drop(first, end uint64) {
	f.FS.mu.Lock()
	defer f.FS.mu.Unlock()
	f.dropLocked(first, end)
}

func pagesUp(n int64) uint64 { return uint64(n+PageSize-1) / PageSize }

// Truncate sets the size.
func (f *File) Truncate(ctx context.Context, size int64) error {
	end, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	f.touch()
	return f.truncate(ctx, size)
}

// truncate is Truncate with the locks held.
func (f *File) truncate(ctx context.Context, size int64) error {
	return f.withRoom(func() error {
		return f.M.Truncate(ctx, size, f, func() error {
			f.drop(pagesUp(size), dax.ToEnd)
			f.FS.mu.Lock()
			defer f.FS.mu.Unlock()
			f.diskSize = min(f.diskSize, size)
			return nil
		})
	})
}

// Punch makes a hole.
func (f *File) Punch(ctx context.Context, off, n int64) error {
	end, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	f.touch()
	return f.withRoom(func() error {
		return f.M.PunchHole(ctx, off, n, f, func() error {
			last := uint64(off+n) / PageSize
			if off+n >= f.M.Size() {
				last = pagesUp(f.M.Size())
			}
			f.drop(pagesUp(off), last)
			return nil
		})
	})
}

// Zero zeroes a range in place.
func (f *File) Zero(ctx context.Context, off, n int64) error {
	end, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	f.touch()
	return f.withRoom(func() error { return f.M.ZeroRange(ctx, off, n, f) })
}

// Allocate gives the pages that the range lies in storage, unwritten where they are holes,
// and extends the file to it (fallocate(2)).
func (f *File) Allocate(ctx context.Context, off, n int64) error {
	end, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	f.touch()
	err = f.withRoom(func() error { return f.reserve(uint64(off)/PageSize, pagesUp(off+n)) })
	if err == nil && off+n > f.M.Size() {
		err = f.truncate(ctx, off+n)
	}
	if err != nil {
		f.trim()
	}
	return err
}

// reserve makes holes unwritten. Nothing that DAX knows is wrong then: both read as zero.
func (f *File) reserve(first, end uint64) error {
	f.FS.mu.Lock()
	defer f.FS.mu.Unlock()
	for p := first; p < end; p++ {
		if _, ok := f.ext[p]; ok {
			continue
		}
		b, _, err := f.FS.allocLocked(f, p, 1)
		if err != nil {
			return err
		}
		if bytes, err := f.FS.devices[b.Dev].Bytes(int64(b.Page)*PageSize, PageSize); err == nil {
			for i := range bytes {
				bytes[i] = 0xee // must not be seen
			}
		}
		f.ext[p] = Ext{Block: b, Raw: true}
		f.FS.changes++
	}
	return nil
}

// Collapse takes a range out of the file.
func (f *File) Collapse(ctx context.Context, off, n int64) error {
	end, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	f.touch()
	return f.M.CollapseRange(ctx, off, n, func() error {
		f.FS.mu.Lock()
		defer f.FS.mu.Unlock()
		first, gone := uint64(off)/PageSize, uint64(n)/PageSize
		f.dropLocked(first, first+gone)
		f.shiftLocked(first, -gone)
		f.diskSize = f.M.Size() - n
		return nil
	})
}

// Insert puts a hole into the file.
func (f *File) Insert(ctx context.Context, off, n int64) error {
	end, err := f.begin(ctx)
	if err != nil {
		return err
	}
	defer end()
	f.touch()
	return f.M.InsertRange(ctx, off, n, func() error {
		f.FS.mu.Lock()
		defer f.FS.mu.Unlock()
		f.shiftLocked(uint64(off)/PageSize, uint64(n)/PageSize)
		f.diskSize = f.M.Size() + n
		return nil
	})
}

// shiftLocked moves what the pages from first on have by a number of pages, which wraps.
func (f *File) shiftLocked(first, by uint64) {
	moved := make(map[uint64]Ext, len(f.ext))
	for p, e := range f.ext {
		if p >= first {
			p += by
		}
		moved[p] = e
	}
	f.ext = moved
	f.FS.changes++
}

// Fsync makes a range durable, and all metadata.
func (f *File) Fsync(ctx context.Context, off, n int64) error {
	if err := f.flushData(ctx, off, n); err != nil {
		return err
	}
	return f.FS.Commit()
}

// flushData writes a range back, and what lies behind the end that is durable; then the
// size may become durable as well.
func (f *File) flushData(ctx context.Context, off, n int64) error {
	f.FS.mu.Lock()
	old, size := f.diskSize, f.M.Size()
	f.FS.mu.Unlock()
	if _, err := f.M.Writeback(ctx, off, n); err != nil {
		return err
	}
	if size > old {
		if _, err := f.M.Writeback(ctx, old, size-old); err != nil {
			return err
		}
	}
	f.FS.mu.Lock()
	defer f.FS.mu.Unlock()
	if f.diskSize == old && size != old { // nobody else has changed it meanwhile
		f.diskSize = min(size, f.M.Size())
		f.FS.changes++
	}
	return nil
}

// Fault implements [vm.Handler]: the duties of a store to the file first, none for
// anything else (4.6, T31).
func (f *File) Fault(ft *vm.Fault) error {
	fs := f.FS
	store := ft.Access != vm.Load && ft.View.Flags().SharedWrite() && !fs.cfg.Mapping.ReadOnly
	if !store {
		return f.M.Fault(ft, f)
	}
	ctx := ft.Ctx
	if ft.NoWait {
		ctx = dax.NoWait(ctx)
	}
	if err := fs.faults.RLock(ctx); err != nil {
		return lockErr(err)
	}
	defer fs.faults.RUnlock()
	f.touch()
	err := f.withRoom(func() error { return f.M.Fault(ft, f) })
	if errors.Is(err, dax.ErrMetadataPending) {
		if err := f.Fsync(ctx, int64(ft.Page)*PageSize, PageSize<<ft.Order); err != nil {
			return err
		}
		err = f.M.FinishSync(ft)
	}
	return err
}

// Map makes a view of the file.
func (f *File) Map(ctx context.Context, s *sim.Space, page, n uint64, flags vm.Flags) (*sim.View, error) {
	if flags&vm.Sync != 0 && f.FS.cfg.NoSync {
		return nil, syscall.EOPNOTSUPP
	}
	v, err := s.Map(f, page, n, flags)
	if err != nil {
		return nil, err
	}
	if err := f.M.Attach(ctx, v, f); err != nil {
		v.Close()
		return nil, err
	}
	return v, nil
}

// Unmap ends a view.
func (f *File) Unmap(v *sim.View) error {
	err := f.M.Detach(v)
	v.Close()
	return err
}

// Evict takes the file out of memory, as when the last user of an inode is gone: what is
// dirty is written back, pins are waited for. There are no views. Whoever uses the file
// next finds an empty mapping.
func (f *File) Evict(ctx context.Context) error {
	if err := f.inode.Lock(ctx); err != nil {
		return lockErr(err)
	}
	defer f.inode.Unlock()
	size := f.M.Size()
	if err := f.M.Evict(ctx, false); err != nil {
		return err
	}
	f.M = dax.NewMapping(f.FS.cfg.Mapping)
	f.M.SetSize(size)
	return nil
}

// Invalidate takes pages out of memory that are neither dirty nor pinned, as reclaim does.
// A page that is stops it: [dax.ErrBusy].
func (f *File) Invalidate(page, n uint64) error { return f.M.Invalidate(page, n) }

// Pin pins a range.
func (f *File) Pin(ctx context.Context, off, n int64, flags dax.PinFlags) (*dax.Pin, error) {
	if flags&dax.PinWrite == 0 {
		return f.M.Pin(ctx, off, n, flags, f)
	}
	if err := f.FS.faults.RLock(ctx); err != nil {
		return nil, lockErr(err)
	}
	defer f.FS.faults.RUnlock()
	return f.M.Pin(ctx, off, n, flags, f)
}
