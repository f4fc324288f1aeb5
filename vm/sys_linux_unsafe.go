//go:build linux

package vm

import (
	"os"
	"runtime"
	"unsafe"

	"golang.org/x/sys/unix"
)

// area is the addresses of a view: reserved at once, and given back at once, so
// that everything in between replaces mappings inside it and nothing else of the
// process can come to lie there. The kernel keeps the memory alive, not the
// garbage collector.
type area struct {
	base   unsafe.Pointer
	length uintptr
}

// reserve finds length bytes of addresses that begin at want modulo unit, a power
// of two.
func reserve(length, unit, want uintptr) (area, error) {
	total := length + unit
	if total < length {
		return area{}, unix.ENOMEM
	}
	p, err := unix.MmapPtr(-1, 0, nil, total, unix.PROT_NONE, anonymous)
	if err != nil {
		return area{}, os.NewSyscallError("mmap", err)
	}
	skip := (want - uintptr(p)) & (unit - 1)
	a := area{unsafe.Add(p, skip), length} // inside the reservation, or just past a part that is given back
	if skip > 0 {
		err = unix.MunmapPtr(p, skip)
	}
	if err == nil && total > skip+length {
		err = unix.MunmapPtr(unsafe.Add(p, skip+length), total-skip-length)
	}
	if err != nil {
		return area{}, os.NewSyscallError("munmap", err)
	}
	return a, nil
}

// anonymous are the flags for memory without a file that is not accounted for.
const anonymous = unix.MAP_PRIVATE | unix.MAP_ANONYMOUS | unix.MAP_NORESERVE

// mmap replaces what is mapped at [off, off+n) of the area, in one step as other
// threads see it.
func (a area) mmap(off, n uintptr, prot, flags, fd int, fdOff int64) error {
	_, err := unix.MmapPtr(fd, fdOff, unsafe.Add(a.base, off), n, prot, flags|unix.MAP_FIXED)
	return os.NewSyscallError("mmap", err)
}

// unmap gives the addresses back.
func (a area) unmap() error {
	return os.NewSyscallError("munmap", unix.MunmapPtr(a.base, a.length))
}

// bytes is the area as a slice; valid until unmap.
func (a area) bytes() []byte {
	b := unsafe.Slice((*byte)(a.base), a.length)
	return b[:len(b):len(b)]
}

// addr is the address of an offset in the area.
func (a area) addr(off uintptr) uintptr { return uintptr(a.base) + off }

// madvise is madvise(2) of a part of the area.
func (a area) madvise(off, n uintptr, advice int) error {
	return unix.Madvise(a.bytes()[off:off+n], advice)
}

// uffdAPI is struct uffdio_api of linux/userfaultfd.h.
type uffdAPI struct{ api, features, ioctls uint64 }

// uffdRegister is struct uffdio_register.
type uffdRegister struct{ start, length, mode, ioctls uint64 }

// uffdProtect is struct uffdio_writeprotect.
type uffdProtect struct{ start, length, mode uint64 }

// pmScan is struct pm_scan_arg of linux/fs.h.
type pmScan struct {
	size, flags, start, end, walkEnd, vec, vecLen, maxPages uint64
	inverted, mask, anyof, returned                         uint64
}

// pageRegion is struct page_region: the addresses [start, end) have the
// categories.
type pageRegion struct{ start, end, categories uint64 }

func (a *uffdAPI) ioctl(fd int) error      { return ioctl(fd, uffdioAPI, unsafe.Pointer(a)) }
func (r *uffdRegister) ioctl(fd int) error { return ioctl(fd, uffdioRegister, unsafe.Pointer(r)) }
func (p *uffdProtect) ioctl(fd int) error  { return ioctl(fd, uffdioWriteProtect, unsafe.Pointer(p)) }

// ioctl runs the scan and returns the regions found in vec.
func (s *pmScan) ioctl(fd int, vec []pageRegion) ([]pageRegion, error) {
	s.size = uint64(unsafe.Sizeof(*s))
	var pin runtime.Pinner
	pin.Pin(&vec[0]) // the kernel writes to it by its address
	defer pin.Unpin()
	s.vec, s.vecLen = uint64(uintptr(unsafe.Pointer(&vec[0]))), uint64(len(vec))
	n, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), pagemapScan, uintptr(unsafe.Pointer(s)))
	if errno != 0 {
		return nil, os.NewSyscallError("ioctl PAGEMAP_SCAN", errno)
	}
	return vec[:n], nil
}

func ioctl(fd int, request uintptr, arg unsafe.Pointer) error {
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), request, uintptr(arg))
	if errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}
