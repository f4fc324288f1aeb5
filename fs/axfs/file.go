package axfs

import (
	"context"
	"io"
	"sync/atomic"
	"syscall"

	"godax/dax"
	"godax/fs/axfs/internal/format"
	"godax/pmem"
	"godax/vfs"
	"godax/vm"
)

// file is a regular file.
type file struct {
	inode
	m    atomic.Pointer[dax.Mapping] // nil until it is asked for
	read atomic.Bool                 // it was read whole
}

var _ vfs.File = (*file)(nil)

// Mapping is the file's index, made when it is first asked for.
func (fl *file) Mapping() *dax.Mapping {
	if m := fl.m.Load(); m != nil {
		return m
	}
	// Without memory for cached pages the file has none, and says so when one is asked for.
	frames, _ := fl.fs.cache()
	m := dax.NewMapping(dax.Config{ReadOnly: true, Frames: frames, Trace: fl.fs.trace})
	m.SetSize(int64(fl.size))
	if !fl.m.CompareAndSwap(nil, m) {
		return fl.m.Load() // somebody else was first
	}
	return m
}

// ReadAt copies bytes of the file: those of direct and compressed pages by way of the
// index, where the next reader finds them without a lock; others, that no frame is needed for,
// from where they are. A file that is read whole, in one call, may not be read again: the first
// time its direct pages are copied from where they are, too, and no index is made.
func (fl *file) ReadAt(ctx context.Context, b []byte, off int64) (int, error) {
	if off < 0 {
		return 0, syscall.EINVAL
	}
	if uint64(off) >= fl.size {
		if len(b) == 0 {
			return 0, nil
		}
		return 0, io.EOF
	}
	var end error
	if left := fl.size - uint64(off); uint64(len(b)) > left {
		b, end = b[:left], io.EOF
	}
	once := off == 0 && uint64(len(b)) == fl.size && !fl.read.Swap(true)
	done := 0
	for done < len(b) {
		at := uint64(off) + uint64(done)
		n, copied := fl.stretch(at, uint64(len(b)-done), once)
		part := b[done:][:n]
		var err error
		if copied {
			if err = fl.readNodes(part, at); err != nil {
				n = 0
			}
		} else {
			var k int
			k, err = fl.Mapping().ReadAt(ctx, part, int64(at), fl)
			n = uint64(k)
		}
		done += int(n)
		if err != nil {
			return done, err
		}
	}
	return done, end
}

// stretch returns how many of the n bytes at off, at least one, are read in the same way:
// copied from where they are, or by way of the index. once is as in copied.
func (fl *file) stretch(off, n uint64, once bool) (have uint64, copied bool) {
	for have < n {
		c := fl.copied((off+have)/pmem.PageSize, once)
		if have > 0 && c != copied {
			break
		}
		copied = c
		have += min(pmem.PageSize-(off+have)%pmem.PageSize, n-have)
	}
	return have, copied
}

// copied reports whether reads take a page's bytes from where they are: those of
// byte-aligned pages, and of an XIP page that is not mapped where it is, or is read once.
func (fl *file) copied(page uint64, once bool) bool {
	kind, _, err := fl.fs.kind(fl.node(page * pmem.PageSize))
	switch {
	case err != nil:
		return false
	case kind == format.NodeByteAligned || once && kind == format.NodeXIP:
		return true
	case kind == format.NodeXIP:
		if fl.fs.mapDev != nil && (page+1)*pmem.PageSize <= fl.size {
			return false // the common case, without a look at the end
		}
		_, n := fl.direct(page, 1)
		return n == 0
	}
	return false
}

// Extent says that there are no holes.
func (fl *file) Extent(off int64) (vfs.Extent, error) {
	if off < 0 || uint64(off) >= fl.size {
		return vfs.Extent{}, syscall.ENXIO
	}
	return vfs.Extent{Len: int64(fl.size), Kind: vfs.ExtentData}, nil
}

// Fault serves one fault of a view: step 1. Errors: EROFS for a store to a shared page.
func (fl *file) Fault(ft *vm.Fault) error {
	if ft.Access != vm.Load && ft.View.Flags().SharedWrite() {
		return syscall.EROFS
	}
	return fl.Mapping().Fault(ft, fl)
}

// Evict forgets the file's index.
func (fl *file) Evict(ctx context.Context) error {
	if m := fl.m.Load(); m != nil {
		return m.Evict(ctx, false)
	}
	return nil
}

// WriteAt implements [vfs.File]; EROFS.
func (fl *file) WriteAt(context.Context, []byte, int64) (int, error) { return 0, syscall.EROFS }

// Truncate implements [vfs.File]; EROFS.
func (fl *file) Truncate(context.Context, int64) error { return syscall.EROFS }

// Allocate implements [vfs.File]; EROFS.
func (fl *file) Allocate(context.Context, vfs.AllocMode, int64, int64) error { return syscall.EROFS }

// Sync has nothing to do.
func (fl *file) Sync(context.Context, bool) error { return nil }
