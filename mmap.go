package godax

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"sync"
	"syscall"

	"godax/dax"
	"godax/pmem"
	"godax/vfs"
	"godax/vm"
)

// MapFlags say what a mapping is for.
type MapFlags uint8

const (
	MapRead    MapFlags = 1 << iota // loads; always allowed
	MapWrite                        // stores
	MapShared                       // stores reach the file
	MapPrivate                      // stores stay in the mapping

	// MapSync, with MapShared and MapWrite: the storage of all pages is durably allocated when
	// Mmap returns, so that stores need no Sync but the processor's own flush. Only on
	// persistent memory; EOPNOTSUPP elsewhere. For pages that were punched meanwhile
	// and came back, Sync is needed all the same.
	MapSync

	// MapPopulate enters all pages into the page tables now, so that the first accesses
	// raise no faults in the kernel.
	MapPopulate
)

// Mapping is a window of a file in this process's memory: the page frames of the file
// themselves, not a copy.
//
// Stores through it change the file's modification time when they are found: in Sync and
// Close.
//
// It is filled when it is made. Whatever takes pages away or brings new ones (truncate,
// punch, a write to a hole, another mapping) changes it before that call returns.
type Mapping struct {
	f    *File
	file vfs.File
	view *vm.ProcessView
	off  int64
	n    int

	// mu is held shared by Do; closed is written with it exclusive. Close does not wait
	// for it.
	mu     sync.RWMutex
	closed bool
}

// Mmap maps n bytes of the file at off, a multiple of the page size. Of MapShared and
// MapPrivate exactly one must be given. The file must be open for reading, and for
// writing too with MapShared and MapWrite: such a mapping allocates the holes in its
// range now. n may reach past the end of the file: an access to a page wholly past it
// is a SIGBUS, see [Mapping.Do].
//
// Errors: EINVAL, EBADF, EROFS, ENOSPC, EOPNOTSUPP for MapSync; ErrNotMappable if the
// device's memory cannot be mapped a second time.
func (f *File) Mmap(off int64, n int, flags MapFlags) (*Mapping, error) {
	m, err := f.mmap(off, n, flags)
	if err != nil {
		if errors.Is(err, vm.ErrNotMappable) {
			err = fmt.Errorf("%w: %w", ErrNotMappable, err)
		}
		return nil, f.wrap("mmap", err)
	}
	return m, nil
}

func (f *File) mmap(off int64, n int, flags MapFlags) (_ *Mapping, err error) {
	if err := f.h.Hold(vfs.UseMapping); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			f.h.Release(vfs.UseMapping)
		}
	}()
	vmFlags, err := f.mapFlags(flags)
	if err != nil {
		return nil, err
	}
	if off < 0 || off%pmem.PageSize != 0 || n <= 0 || int64(n) > math.MaxInt64-pmem.PageSize-off {
		return nil, syscall.EINVAL
	}
	file, err := f.regular(true, vmFlags.SharedWrite())
	if err != nil {
		return nil, err
	}
	page, npages := uint64(off)/pmem.PageSize, uint64(pageUp(int64(n)))/pmem.PageSize
	align, err := f.alignment(file, page, npages, vmFlags.SharedWrite())
	if err != nil {
		return nil, err
	}
	view, err := vm.NewView(page, npages, vmFlags, vm.ViewOptions{Align: align, Prefault: flags&MapPopulate != 0})
	if err != nil {
		return nil, err
	}
	f.tellHeld(off, int64(n), vmFlags.SharedWrite())
	if err := file.Mapping().Attach(background, view, file); err != nil {
		return nil, errors.Join(err, view.Close())
	}
	f.h.Touched(off, int64(n))
	m := &Mapping{f: f, file: file, view: view, off: off, n: n}
	if flags&MapSync != 0 {
		if _, err := f.h.SyncRange(background, off, int64(n)); err != nil {
			return nil, errors.Join(err, m.unmap())
		}
	}
	return m, nil
}

// tell lets other front ends know that the mapped bytes may have changed.
func (m *Mapping) tell() { m.f.tellHeld(m.off, int64(m.n), m.view.Flags().SharedWrite()) }

// mapFlags checks flags and translates them.
func (f *File) mapFlags(flags MapFlags) (vm.Flags, error) {
	v := vm.Read
	if flags&MapWrite != 0 {
		v |= vm.Write
	}
	switch flags & (MapShared | MapPrivate) {
	case MapShared:
		v |= vm.Shared
	case MapPrivate:
	default:
		return 0, syscall.EINVAL
	}
	if flags&MapSync != 0 {
		switch {
		case !v.SharedWrite():
			return 0, syscall.EINVAL
		case !f.fs.dev.Info().MapSync:
			return 0, syscall.EOPNOTSUPP
		}
		v |= vm.Sync
	}
	return v, nil
}

// alignment returns where the view should lie so that the kernel can use large pages.
// That depends on the first frame; if there is none yet and the mapping will need
// some, it allocates what is missing.
func (f *File) alignment(file vfs.File, page, n uint64, alloc bool) (uint64, error) {
	for e, err := range file.Mapping().Entries(background, page, n, file) {
		if err != nil {
			break // Attach will say so, or the bad page is none of this mapping's
		}
		if e.Kind == dax.Direct {
			return vm.AlignTo(page, e.Page, e.PFN), nil
		}
	}
	off := int64(page) * pmem.PageSize
	a, err := f.h.Attr()
	if err != nil || !alloc || off >= a.Size {
		return uint64(off), err
	}
	length := min(int64(n)*pmem.PageSize, a.Size-off)
	err = f.h.Allocate(background, vfs.AllocReserve, off, length)
	if err != nil && !errors.Is(err, errors.ErrUnsupported) {
		return 0, err
	}
	return f.alignment(file, page, n, false)
}

// Bytes is the mapped memory, n bytes. It must not be used after Close. Touching a
// page that was truncated, or that is bad, or storing to what may only be read, kills
// the process, unless it happens in Do.
func (m *Mapping) Bytes() []byte { return m.view.Bytes()[:m.n:m.n] }

// Do calls fn with the mapped memory. An access of fn, in the goroutine it was called
// in, that meets a truncated or bad page ends fn and becomes the error: a
// [*vm.BusError] that wraps ErrBeyondEnd, or what a read of the page says
// (ErrPoisoned), or EFAULT. What fn did before stays done. During fn the mapping cannot
// be closed.
func (m *Mapping) Do(fn func(b []byte) error) error {
	m.mu.RLock()
	defer m.mu.RUnlock()
	if m.closed {
		return m.f.wrap("access", fs.ErrClosed)
	}
	err := m.view.Do(func() error { return fn(m.Bytes()) })
	if bus, ok := err.(*vm.BusError); ok {
		return m.f.wrap("access", &vm.BusError{Page: bus.Page, Err: m.cause(bus.Page)})
	}
	return err
}

// cause finds out why an access to a page failed.
func (m *Mapping) cause(page uint64) error {
	off := int64(page) * pmem.PageSize
	if off >= m.file.Mapping().Size() {
		return ErrBeyondEnd
	}
	var b [pmem.PageSize]byte
	if _, err := m.f.h.ReadAt(background, b[:], off); err != nil {
		return err
	}
	return syscall.EFAULT
}

// Sync makes the stores through the mapping durable, with the metadata needed to
// find them.
func (m *Mapping) Sync() error {
	_, err := m.Writeback()
	return err
}

// Writeback is Sync that tells what it had to do.
func (m *Mapping) Writeback() (dax.WritebackStats, error) {
	st, err := m.f.h.SyncRange(background, m.off, int64(m.n))
	m.tell()
	return st, m.f.wrap("sync", err)
}

// MmapCalls is how many mmap(2) calls were made for the mapping so far.
func (m *Mapping) MmapCalls() uint64 { return m.view.MmapCalls() }

// Close unmaps. The bytes are gone; what was stored stays in the file. During a Do it
// is EBUSY; a second Close is fs.ErrClosed.
func (m *Mapping) Close() error {
	if !m.mu.TryLock() {
		return m.f.wrap("munmap", syscall.EBUSY)
	}
	defer m.mu.Unlock()
	if m.closed {
		return m.f.wrap("munmap", fs.ErrClosed)
	}
	m.closed = true
	err := m.unmap()
	m.tell()
	m.f.h.Release(vfs.UseMapping)
	return m.f.wrap("munmap", err)
}

// unmap takes the view off the file, which notes what was written, and frees it.
func (m *Mapping) unmap() error { return errors.Join(m.f.h.Detach(m.view), m.view.Close()) }
