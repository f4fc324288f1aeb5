package vm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"godax/pmem"
)

// Requests and bits of linux/userfaultfd.h and linux/fs.h, as encoded on
// architectures with the generic ioctl numbers. On the others the requests fail,
// and everything falls back.
const (
	uffdioAPI          = 0xc018aa3f
	uffdioRegister     = 0xc020aa00
	uffdioWriteProtect = 0xc018aa06
	pagemapScan        = 0xc0606610

	uffdAPIVersion = 0xaa
	uffdUserMode   = 1 // UFFD_USER_MODE_ONLY
	uffdModeWP     = 2 // UFFDIO_REGISTER_MODE_WP
	uffdProtectWP  = 1 // UFFDIO_WRITEPROTECT_MODE_WP

	// Features: write protection, also for shared memory and huge pages, also of
	// pages that are not there yet, and resolved by the kernel itself.
	uffdFeatures = 1<<0 | 1<<12 | 1<<13 | 1<<15

	scanProtect   = 1 // PM_SCAN_WP_MATCHING
	scanMustTrack = 2 // PM_SCAN_CHECK_WPASYNC

	pageTracked = 1 << 0 // PAGE_IS_WPALLOWED
	pageWritten = 1 << 1 // PAGE_IS_WRITTEN
	pageFile    = 1 << 2 // PAGE_IS_FILE
	pagePresent = 1 << 3 // PAGE_IS_PRESENT
	pageSwapped = 1 << 4 // PAGE_IS_SWAPPED
	pageZero    = 1 << 5 // PAGE_IS_PFNZERO
)

// kernel is what this process asks the kernel about its page tables. Opened once
// and kept: closing the userfaultfd would end the tracking of every view. A child
// process inherits neither descriptor past exec, and no registration.
type kernel struct {
	uffd    int   // -1 if writes cannot be tracked
	why     error // then
	pagemap int   // -1 if it cannot be opened
	pmErr   error // then
	canScan bool  // PAGEMAP_SCAN works
}

var openKernel = sync.OnceValue(func() *kernel {
	k := &kernel{uffd: -1}
	if k.pagemap, k.pmErr = unix.Open("/proc/self/pagemap", unix.O_RDONLY|unix.O_CLOEXEC, 0); k.pmErr != nil {
		k.pagemap, k.pmErr = -1, &fs.PathError{Op: "open", Path: "/proc/self/pagemap", Err: k.pmErr}
		k.why = k.pmErr
		return k
	}
	var vec [1]pageRegion
	nothing := pmScan{mask: pageWritten, returned: pageWritten}
	if _, k.why = nothing.ioctl(k.pagemap, vec[:]); k.why == nil {
		k.canScan = true
		k.uffd, k.why = openUserfaultfd()
	}
	return k
})

func openUserfaultfd() (int, error) {
	fd, _, errno := unix.Syscall(unix.SYS_USERFAULTFD, unix.O_CLOEXEC|uffdUserMode, 0, 0)
	if errno != 0 {
		return -1, os.NewSyscallError("userfaultfd", errno)
	}
	api := uffdAPI{api: uffdAPIVersion, features: uffdFeatures}
	err := api.ioctl(int(fd))
	if err == nil && api.features&uffdFeatures != uffdFeatures {
		err = fmt.Errorf("userfaultfd features %#x, needed %#x: %w", api.features, uffdFeatures, errors.ErrUnsupported)
	}
	if err != nil {
		unix.Close(int(fd))
		return -1, err
	}
	return int(fd), nil
}

// WriteTracking says how this process finds the pages that were stored to through
// a writable shared view: "userfaultfd", or that it cannot and why.
func WriteTracking() string {
	if k := openKernel(); k.uffd < 0 {
		return fmt.Sprintf("none (writable views count as dirty): %v", k.why)
	}
	return "userfaultfd"
}

// register has the kernel track stores to the addresses from now on.
func (k *kernel) register(addr, n uintptr) error {
	r := uffdRegister{start: uint64(addr), length: uint64(n), mode: uffdModeWP}
	return r.ioctl(k.uffd)
}

// protect declares all pages unwritten, present or not. A store that raced with it
// is forgotten.
func (k *kernel) protect(addr, n uintptr) error {
	p := uffdProtect{start: uint64(addr), length: uint64(n), mode: uffdProtectWP}
	return p.ioctl(k.uffd)
}

// errNoAdvance: a scan that makes no headway would be repeated for ever.
var errNoAdvance = errors.New("vm: page scan does not advance")

// scan calls found for the regions of [start, end) that want describes, ascending.
// vec is its buffer.
func (k *kernel) scan(want pmScan, start, end uintptr, vec []pageRegion, found func(pageRegion)) error {
	for start < end {
		want.start, want.end, want.walkEnd = uint64(start), uint64(end), 0
		regions, err := want.ioctl(k.pagemap, vec)
		if err != nil {
			return err
		}
		for _, r := range regions {
			found(r)
		}
		if uintptr(want.walkEnd) <= start {
			return errNoAdvance
		}
		start = uintptr(want.walkEnd)
	}
	return nil
}

// copies calls found for the pages at the addresses [start, end) that hold private
// copies: memory of no file, but not the zero page.
func (k *kernel) copies(start, end uintptr, vec []pageRegion, found func(start, end uintptr)) error {
	want := pmScan{
		inverted: pageFile | pageZero, mask: pageFile | pageZero,
		anyof: pagePresent | pageSwapped, returned: pagePresent,
	}
	return k.scan(want, start, end, vec, func(r pageRegion) { found(uintptr(r.start), uintptr(r.end)) })
}

// copiesByEntry is copies for kernels before 6.7: one word per page, which does
// not tell the zero page from others. Views hold none of it then.
//
// Bits: kernel documentation, admin-guide/mm/pagemap: 63 present, 62 swapped, 61
// page of a file or shared.
func (k *kernel) copiesByEntry(start, end uintptr, found func(start, end uintptr)) error {
	if k.pmErr != nil {
		return k.pmErr
	}
	size := uintptr(os.Getpagesize())
	buf := make([]byte, 8*512)
	for start < end {
		b := buf[:8*min((end-start)/size, 512)]
		if n, err := unix.Pread(k.pagemap, b, int64(start/size*8)); err != nil || n < len(b) {
			return fmt.Errorf("vm: pagemap: %d of %d bytes: %w", n, len(b), errors.Join(err, io.ErrUnexpectedEOF))
		}
		for ; len(b) > 0; b = b[8:] {
			if e := binary.NativeEndian.Uint64(b); e>>62 != 0 && e&(1<<61) == 0 {
				found(start, start+size)
			}
			start += size
		}
	}
	return nil
}

// mappings is the number of segments of all views, about the mappings they cost.
var mappings atomic.Int64

// maxMappings bounds it: half of what the kernel allows a process. The Go runtime
// cannot go on when the kernel refuses it a mapping.
var maxMappings = sync.OnceValue(func() int64 {
	n := int64(65530) // the kernel's default
	if b, err := os.ReadFile("/proc/sys/vm/max_map_count"); err == nil {
		if m, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil {
			n = m
		}
	}
	return n / 2
})

// gone returns a file of no bytes: mapping it makes pages that raise SIGBUS. It is
// sealed, so that it stays so.
var gone = sync.OnceValues(func() (int, error) {
	return memfd("gone", 0, unix.F_SEAL_GROW)
})

// memfd makes a memory file.
func memfd(name string, size int64, seals int) (int, error) {
	fd, err := unix.MemfdCreate("godax-"+name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return -1, os.NewSyscallError("memfd_create", err)
	}
	err = unix.Ftruncate(fd, size)
	if err == nil && seals != 0 {
		_, err = unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, seals)
	}
	if err != nil {
		unix.Close(fd)
		return -1, os.NewSyscallError("memfd "+name, err)
	}
	return fd, nil
}

// bytesOf is a number of pages in bytes.
func bytesOf(pages uint64) uintptr { return uintptr(pages) * pmem.PageSize }
