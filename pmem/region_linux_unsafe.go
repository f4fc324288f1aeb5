//go:build linux

package pmem

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// regionAlign is what the first byte of a device is aligned to in memory, at
// least, when the device is large enough, so that the kernel can map it with 2 MiB
// pages. Files of larger pages must be aligned to those.
const regionAlign = 2 << 20

// region is a shared mapping of a file from its first byte. The kernel keeps the
// memory alive, not the garbage collector: it goes with unmap.
type region struct {
	base   unsafe.Pointer
	length uintptr // a multiple of the file's page size
}

// mapRegion maps the first size bytes (at least 1) of fd, in whole pages of
// pageSize bytes.
func mapRegion(fd int, size, pageSize int64, readOnly, mapSync bool) (region, error) {
	length := uintptr(size+pageSize-1) / uintptr(pageSize) * uintptr(pageSize)
	prot := unix.PROT_READ | unix.PROT_WRITE
	if readOnly {
		prot = unix.PROT_READ
	}
	flags := unix.MAP_SHARED
	if mapSync {
		flags = unix.MAP_SHARED_VALIDATE | unix.MAP_SYNC
	}
	var hint unsafe.Pointer
	if length >= regionAlign {
		hint = alignedHole(length, max(regionAlign, uintptr(pageSize)))
	}
	// The address is only asked for, not forced with MAP_FIXED: another thread may
	// have mapped something there meanwhile, and an address without the alignment
	// still works.
	base, err := unix.MmapPtr(fd, 0, hint, length, prot, flags)
	if err != nil {
		return region{}, os.NewSyscallError("mmap", err)
	}
	return region{base, length}, nil
}

// alignedHole returns an aligned address with length unused bytes of address space
// after it, or nil if none was found.
func alignedHole(length, align uintptr) unsafe.Pointer {
	total := length + align
	if total < length {
		return nil
	}
	p, err := unix.MmapPtr(-1, 0, nil, total, unix.PROT_NONE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil
	}
	if unix.MunmapPtr(p, total) != nil {
		return nil
	}
	return unsafe.Add(p, -uintptr(p)&(align-1)) // only a number now: nothing is mapped there
}

// bytes is the first n bytes of the region, until unmap.
func (r region) bytes(n int64) []byte {
	b := unsafe.Slice((*byte)(r.base), n)
	return b[:n:n]
}

// sync is msync(MS_SYNC) of the pages that hold the bytes [from, to).
func (r region) sync(from, to int64) error {
	page := uintptr(os.Getpagesize())
	start := uintptr(from) &^ (page - 1)
	end := min((uintptr(to)+page-1)&^(page-1), r.length)
	for {
		err := unix.Msync(unsafe.Slice((*byte)(unsafe.Add(r.base, start)), end-start), unix.MS_SYNC)
		if err != unix.EINTR {
			return err
		}
	}
}

// advise is madvise(2) of the whole region.
func (r region) advise(advice int) error {
	return unix.Madvise(unsafe.Slice((*byte)(r.base), r.length), advice)
}

// populate is madvise(MADV_POPULATE_WRITE) of the bytes [from, to), whole pages: it
// takes the page faults of stores to them, without the stores.
func (r region) populate(from, to int64) error {
	return unix.Madvise(unsafe.Slice((*byte)(unsafe.Add(r.base, from)), to-from), unix.MADV_POPULATE_WRITE)
}

// retire gives the region's memory back but keeps its addresses readable, as zeroes, as
// long as owner is referred to: a reader that takes no lock may have found its bytes just
// before, and finds out afterwards that it must not use what it got.
func (r region) retire(owner *mapped) {
	// If this fails the file's memory goes with the addresses, later.
	_, _ = unix.MmapPtr(-1, 0, r.base, r.length, unix.PROT_READ,
		unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE|unix.MAP_FIXED)
	runtime.AddCleanup(owner, func(r region) { _ = r.unmap() }, r)
}

// unmap gives the region back.
func (r region) unmap() error {
	return os.NewSyscallError("munmap", unix.MunmapPtr(r.base, r.length))
}

// acceptsSync reports whether the file can be mapped with MAP_SYNC: it is on a DAX
// mount, or a DAX character device, whose memory keeps what is flushed to it.
// pageSize is the smallest length that can be mapped. On kernels and file systems
// that do not know the flag the mapping fails, as it does for any other file.
func acceptsSync(fd int, pageSize int64, readOnly bool) bool {
	m, err := mapRegion(fd, pageSize, pageSize, readOnly, true)
	if err != nil {
		return false
	}
	m.unmap()
	return true
}
