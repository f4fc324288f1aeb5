package vm

import (
	"fmt"
	"os"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"godax/internal/hook"
	"godax/pmem"
)

// ProcessView is a view in this process: real mappings of the devices' files. It
// raises no demand faults, so it is filled in advance ([Prefaulter]); consecutive
// frames that are installed one after the other become one mmap(2). Which pages
// of a writable shared view were stored to is known from the processor's page
// tables ([Collector]). Private copies are the kernel's own.
//
// What an access meets:
//   - a page installed as [Frames]: the frame; a store without permission raises
//     SIGSEGV;
//   - [Zero]: zeros; stores only in a private view, else SIGSEGV;
//   - [Gone]: SIGBUS;
//   - taken away by Unmap and not yet filled again: zeros, and a store there is lost,
//     as one that came just before the bytes went;
//   - before the first Complete: SIGSEGV.
//
// A private page that is stored to for the very first time in the instant in which
// Unmap replaces it may lose that store; pages copied before never do.
//
// In a tracked view (writable and shared, [WriteTracking] says "userfaultfd") the
// kernel maps 4 KiB pages, except on hugetlbfs and DAX devices: what it uses to
// find single written pages does not go together with huge pages of tmpfs.
type ProcessView struct {
	page, n uint64
	flags   Flags
	opts    ViewOptions
	area    area
	kernel  *kernel
	mmaps   atomic.Uint64

	// mu is the page-table lock, innermost. It guards what follows, and is held
	// during system calls that change the area.
	mu       hook.Mutex
	closed   bool
	live     bool     // Complete was called: somebody may be accessing the bytes
	segs     segments // what is mapped
	counted  int      // of segs in mappings
	pending  segment  // installed and not mapped yet, if n is not 0
	stale    runSet   // to be filled again
	written  runSet   // stored to, or not known not to be, and not collected
	failed   runSet   // Gone because NotifyFailure said so
	failures []Failure
	large    uint64 // pages of the largest page of memory that was met, if that is more than one
	zeroFD   int    // a sparse file for Zero pages where the zero page cannot be told from a copy; -1 if unused
	vec      []pageRegion

	// beforeTrack, if a test has set it, runs between mmap and the start of tracking,
	// with mu held.
	beforeTrack func()
}

var (
	_ Collector  = (*ProcessView)(nil)
	_ Prefaulter = (*ProcessView)(nil)
	_ Inspector  = (*ProcessView)(nil)
)

const (
	pmdOrder = 9
	pudOrder = 18

	// maxViewPages keeps sums and byte counts from wrapping.
	maxViewPages = 1 << 36
)

// NewView reserves addresses for the n pages of a file at page. Nothing is mapped:
// the whole view is stale. Errors: EINVAL for an empty or absurd range, or flags
// without Read; ENOMEM.
func NewView(page, n uint64, flags Flags, o ViewOptions) (*ProcessView, error) {
	if n == 0 || n > maxViewPages || page > 1<<62 || flags&Read == 0 {
		return nil, fmt.Errorf("vm: view of %d pages at page %d, flags %#x: %w", n, page, uint8(flags), unix.EINVAL)
	}
	unit := uintptr(1) << (pmdOrder + pmem.PageShift)
	if n >= 1<<pudOrder {
		unit = 1 << (pudOrder + pmem.PageShift)
	}
	v := &ProcessView{page: page, n: n, flags: flags, opts: o, kernel: openKernel(), zeroFD: -1}
	v.mu.SetRank(hook.PageTable)
	if v.copiesPages() && v.kernel.pagemap < 0 {
		return nil, fmt.Errorf("vm: writable private view: %w", v.kernel.pmErr)
	}
	var err error
	if v.area, err = reserve(bytesOf(n), unit, uintptr(o.Align)); err != nil {
		return nil, fmt.Errorf("vm: view of %d pages: %w", n, err)
	}
	v.mmaps.Add(1)
	v.stale.add(page, n)
	v.vec = make([]pageRegion, 512)
	return v, nil
}

// Bounds implements [View].
func (v *ProcessView) Bounds() (page, n uint64) { return v.page, v.n }

// Flags implements [View].
func (v *ProcessView) Flags() Flags { return v.flags }

// Bytes is the view's memory, all of it, whether filled or not; valid until Close.
func (v *ProcessView) Bytes() []byte { return v.area.bytes() }

// MmapCalls counts the mmap(2) calls made for the view, the reservation included.
func (v *ProcessView) MmapCalls() uint64 { return v.mmaps.Load() }

// Congruent implements [View]. Any run of frames can be installed in any case; the
// kernel uses a huge page where address and place in the backing file agree, for
// which there is [ViewOptions].Align.
func (v *ProcessView) Congruent(page uint64, order uint) bool {
	if order != 0 && order != pmdOrder && order != pudOrder {
		return false
	}
	size := uint64(1) << order
	first := page &^ (size - 1)
	return first >= v.page && first-v.page < v.n && size <= v.n-(first-v.page) &&
		v.area.addr(v.offset(first))&(bytesOf(size)-1) == 0
}

// offset is where in the area a page of the view lies.
func (v *ProcessView) offset(page uint64) uintptr { return bytesOf(page - v.page) }

// pageAt returns the file page at an address, if that lies in the view.
func (v *ProcessView) pageAt(addr uintptr) (uint64, bool) {
	off := addr - v.area.addr(0)
	return v.page + uint64(off)/pmem.PageSize, off < v.area.length
}

// tracks reports whether the kernel is to find the written pages.
func (v *ProcessView) tracks() bool {
	return v.flags.SharedWrite() && !v.opts.NoTracking && v.kernel.uffd >= 0
}

// copiesPages reports whether there can be private copies.
func (v *ProcessView) copiesPages() bool { return v.flags&(Shared|Write) == Write }

// scansCopies reports whether the kernel tells copies from the zero page.
func (v *ProcessView) scansCopies() bool { return v.kernel.canScan && !v.opts.NoTracking }

// clip cuts a range to the view; page == end if nothing is left.
func (v *ProcessView) clip(page, n uint64) (first, end uint64) {
	if !Overlap(v.page, v.n, page, n) {
		return v.page, v.page
	}
	end = v.page + v.n
	if page < v.page {
		n -= v.page - page
		page = v.page
	}
	if n < end-page {
		end = page + n
	}
	return page, end
}

// Install implements [View]. Translations of kind [Private] are refused: copies are
// the kernel's. What was installed before may become effective now, and its errors
// be returned: [ErrNotMappable], those of mmap(2). The pages then raise SIGBUS.
func (v *ProcessView) Install(t Translation) error {
	s := segment{page: t.Page, n: t.N, kind: t.Kind, write: t.Write}
	if first, end := v.clip(t.Page, t.N); t.N == 0 || first != t.Page || end-first != t.N {
		return fmt.Errorf("vm: install of %d pages at page %d: outside the view of %d at %d", t.N, t.Page, v.n, v.page)
	}
	switch {
	case t.Kind == Frames:
		s.pfn = t.PFN
	case t.Kind != Zero && t.Kind != Gone || t.Write:
		return fmt.Errorf("vm: install at page %d: kind %d, write %t: %w", t.Page, t.Kind, t.Write, unix.EINVAL)
	}
	if t.Write && !v.flags.SharedWrite() {
		return fmt.Errorf("vm: install at page %d: writable, in a view with flags %#x: %w", t.Page, uint8(v.flags), unix.EINVAL)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return ErrClosed
	}
	if v.pending.n != 0 && s.follows(v.pending) {
		v.pending.n += s.n
		return nil
	}
	err := v.flushLocked()
	v.pending = s
	return err
}

// Complete implements [Prefaulter].
func (v *ProcessView) Complete() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return ErrClosed
	}
	err := v.flushLocked()
	v.live = true
	return err
}

// TakeStale implements [Prefaulter].
func (v *ProcessView) TakeStale() (page, n uint64, ok bool) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || len(v.stale) == 0 {
		return 0, 0, false
	}
	r := v.stale[0]
	v.stale = v.stale[1:]
	return r.page, r.n, true
}

// flushLocked maps what is pending. On failure the pages raise SIGBUS.
func (v *ProcessView) flushLocked() error {
	s := v.pending
	v.pending = segment{}
	if s.n == 0 || v.segs.has(s) {
		return nil
	}
	err := v.apartFromCopiesLocked(s.page, s.end(), func(page, n uint64) error {
		return v.mapWholeLocked(s.part(page, page+n))
	})
	if err != nil {
		return fmt.Errorf("vm: map pages [%d, %d): %w", s.page, s.end(), err)
	}
	return nil
}

// apartFromCopiesLocked calls f for the runs of [page, end) that are not private
// copies, and goes on after errors.
func (v *ProcessView) apartFromCopiesLocked(page, end uint64, f func(page, n uint64) error) (err error) {
	copies, err := v.copiesLocked(page, end)
	copies.gaps(page, end, func(page, n uint64) {
		if e := f(page, n); err == nil {
			err = e
		}
	})
	return err
}

// copiesLocked returns the private copies in [page, end). If the kernel does not
// say, no page is one.
func (v *ProcessView) copiesLocked(page, end uint64) (copies runSet, err error) {
	if !v.copiesPages() {
		return nil, nil
	}
	v.segs.each(page, end, func(s segment) {
		if s.kind == Gone || err != nil {
			return
		}
		start, stop := v.area.addr(v.offset(s.page)), v.area.addr(v.offset(s.end()))
		add := func(start, end uintptr) {
			first, _ := v.pageAt(start)
			copies.add(first, uint64(end-start)/pmem.PageSize)
		}
		if v.scansCopies() {
			err = v.kernel.copies(start, stop, v.vec, add)
		} else {
			err = v.kernel.copiesByEntry(start, stop, add)
		}
	})
	return copies, err
}

// countLocked brings the count of all mappings up to date.
func (v *ProcessView) countLocked() {
	mappings.Add(int64(len(v.segs) - v.counted))
	v.counted = len(v.segs)
}

// mapLocked maps one segment. On failure its pages raise SIGBUS.
func (v *ProcessView) mapLocked(s segment) error {
	if page, end := v.widenLocked(s.page, s.end()); page != s.page || end != s.end() {
		v.dropLocked(page, end)
	}
	err := v.mapKindLocked(&s)
	if err != nil {
		s = segment{page: s.page, n: s.n, kind: Gone}
		if e := v.mapKindLocked(&s); e != nil {
			v.dropLocked(s.page, s.end())
			return err
		}
	}
	v.noteReplacedLocked(s.page, s.end())
	if s.kind != Gone {
		v.failed.take(s.page, s.end())
	}
	v.segs.put(s)
	v.countLocked()
	if s.kind == Frames && s.write {
		v.trackLocked(s)
	}
	return err
}

// mapKindLocked makes the mmap call for one segment and completes what it says
// about the memory.
func (v *ProcessView) mapKindLocked(s *segment) error {
	if have := mappings.Load(); s.kind != Gone && have >= maxMappings() {
		return fmt.Errorf("%d mappings in this process's views, half of vm.max_map_count: %w", have, unix.ENOMEM)
	}
	prot := unix.PROT_READ
	if s.write || v.copiesPages() {
		prot |= unix.PROT_WRITE
	}
	switch s.kind {
	case Frames:
		return v.mapFramesLocked(s, prot)
	case Gone:
		// Readable and writable, or a store would raise SIGSEGV instead.
		fd, err := gone()
		if err != nil {
			return err
		}
		return v.mmapLocked(s.page, s.end(), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED, fd, int64(v.offset(s.page)))
	}
	if !v.copiesPages() || v.scansCopies() {
		return v.mmapLocked(s.page, s.end(), prot, anonymous, -1, 0)
	}
	if v.zeroFD < 0 {
		fd, err := memfd("zero", int64(v.area.length), 0)
		if err != nil {
			return err
		}
		v.zeroFD = fd
	}
	return v.mmapLocked(s.page, s.end(), prot, unix.MAP_PRIVATE, v.zeroFD, int64(v.offset(s.page)))
}

// mapFramesLocked maps a run of frames from the file behind their device.
func (v *ProcessView) mapFramesLocked(s *segment, prot int) error {
	dev, ok := pmem.Lookup(s.pfn)
	if last, have := pmem.Lookup(s.pfn + pmem.PFN(s.n-1)); !ok || !have || last != dev {
		return fmt.Errorf("%d frames at %#x are not of one device: %w", s.n, uint64(s.pfn), pmem.ErrOutOfRange)
	}
	m, ok := dev.(pmem.Mappable)
	if !ok {
		return fmt.Errorf("device %d: %w", dev.ID(), ErrNotMappable)
	}
	fd, off, pageSize := m.Backing()
	off += int64(s.pfn.Page()) * pmem.PageSize
	addr, length := v.area.addr(v.offset(s.page)), bytesOf(s.n)
	if (uintptr(off)|addr|length)&uintptr(pageSize-1) != 0 {
		return fmt.Errorf("%d bytes at %#x of the device to %#x, memory has pages of %d bytes: %w", length, off, addr, pageSize, ErrNotMappable)
	}
	s.unit = uint64(pageSize) / pmem.PageSize
	info := dev.Info()
	flags := unix.MAP_SHARED
	switch {
	case v.flags&Shared == 0:
		flags = unix.MAP_PRIVATE
	case info.MapSync:
		flags = unix.MAP_SHARED_VALIDATE | unix.MAP_SYNC
	}
	if err := v.mmapLocked(s.page, s.end(), prot, flags, fd, off); err != nil {
		return err
	}
	if v.opts.Prefault && !v.live && info.Volatile {
		// Only an attempt: whatever is not entered now is entered by an access.
		_ = v.area.madvise(v.offset(s.page), length, unix.MADV_POPULATE_READ)
	}
	return nil
}

// mmapLocked replaces what is mapped at [page, end).
func (v *ProcessView) mmapLocked(page, end uint64, prot, flags, fd int, off int64) error {
	v.mmaps.Add(1)
	if err := v.area.mmap(v.offset(page), bytesOf(end-page), prot, flags, fd, off); err != nil {
		return err
	}
	if v.flags&NoHuge != 0 && fd >= 0 {
		// Memory on pages of a fixed size refuses it, and rightly.
		_ = v.area.madvise(v.offset(page), bytesOf(end-page), unix.MADV_NOHUGEPAGE)
	}
	return nil
}

// dropLocked puts memory of nobody at [page, end): zeros, and stores are lost. If
// the process has no mapping left for that, which splits one into three, the whole
// view is dropped, private copies and all: the old frames must not stay.
func (v *ProcessView) dropLocked(page, end uint64) {
	prot := unix.PROT_READ
	if v.flags&Write != 0 {
		prot |= unix.PROT_WRITE
	}
	if v.mmapLocked(page, end, prot, anonymous, -1, 0) != nil {
		page, end = v.page, v.page+v.n
		_ = v.mmapLocked(page, end, prot, anonymous, -1, 0)
	}
	v.noteReplacedLocked(page, end)
	v.segs.cut(page, end)
	v.countLocked()
	v.stale.add(page, end-page)
}

// Unmap implements [View].
func (v *ProcessView) Unmap(page, n uint64, copies bool) {
	page, end := v.clip(page, n)
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed || page == end {
		return
	}
	v.cutPendingLocked(page, end)
	page, end = v.widenLocked(page, end)
	if v.large > 1 && !v.copiesPages() {
		// Pages that could not be mapped because their neighbours did not fit may fit now.
		page, end = v.unitsLocked(page, end)
	}
	if copies {
		v.dropLocked(page, end)
		return
	}
	// An error leaves nothing known to be a copy.
	_ = v.apartFromCopiesLocked(page, end, func(page, n uint64) error {
		v.dropLocked(page, page+n)
		return nil
	})
}

// Protect implements [View]: Collect does it.
func (v *ProcessView) Protect(page, n uint64) {}

// Translations implements [Inspector]: one leaf per page, without those of pages
// that hold a private copy. Dirty is never set.
func (v *ProcessView) Translations() []Leaf {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return nil
	}
	_ = v.flushLocked()
	var all []Leaf
	_ = v.apartFromCopiesLocked(v.page, v.page+v.n, func(page, n uint64) error {
		v.segs.each(page, page+n, func(s segment) {
			for i := range s.n {
				l := Leaf{Page: s.page + i, Kind: s.kind, Write: s.write}
				if s.kind == Frames {
					l.PFN = s.pfn + pmem.PFN(i)
				}
				all = append(all, l)
			}
		})
		return nil
	})
	return all
}

// Close gives the addresses back; accessing the view's bytes afterwards is fatal,
// or hits what came to lie there. What was written and not collected is forgotten:
// the owner takes the view off the file's list, which collects, before. Closing
// twice returns [ErrClosed].
func (v *ProcessView) Close() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.closed {
		return ErrClosed
	}
	v.closed = true
	v.segs, v.pending, v.stale, v.written, v.failed = nil, segment{}, nil, nil, nil
	err := v.area.unmap()
	v.countLocked()
	if v.zeroFD >= 0 {
		err2 := os.NewSyscallError("close", unix.Close(v.zeroFD))
		if err == nil {
			err = err2
		}
	}
	return err
}
