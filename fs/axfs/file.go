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

var (
	_ vfs.File = (*file)(nil)
	_ vfs.Lazy = (*file)(nil)
)

// Mapped implements [vfs.Lazy].
func (fl *file) Mapped() *dax.Mapping { return fl.m.Load() }

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
		at, rest := uint64(off)+uint64(done), b[done:]
		n, err := fl.readNodes(rest, at, func(page, kind uint64) bool { return fl.copied(page, kind, once) })
		if n == 0 && err == nil {
			n, err = fl.Mapping().ReadAt(ctx, rest[:fl.indexed(at, uint64(len(rest)), once)], int64(at), fl)
		}
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, end
}

// indexed returns how many of the n bytes at off are read by way of the index, one after the
// other: those of one page at least. once is as in copied.
func (fl *file) indexed(off, n uint64, once bool) (have uint64) {
	for have < n {
		page := (off + have) / pmem.PageSize
		kind, _, err := fl.fs.kind(fl.node(page * pmem.PageSize))
		if have > 0 && err == nil && fl.copied(page, kind, once) {
			break
		}
		have += min(pmem.PageSize-(off+have)%pmem.PageSize, n-have)
	}
	return have
}

// copied reports whether reads take the bytes of a page, in a node of the kind, from where they are:
// those of byte-aligned pages, and of an XIP page that is not mapped where it is, or is read once.
func (fl *file) copied(page, kind uint64, once bool) bool {
	switch kind {
	case format.NodeByteAligned:
		return true
	case format.NodeXIP:
		if once {
			return true
		}
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
