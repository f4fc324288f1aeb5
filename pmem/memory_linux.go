package pmem

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

const hugePageSize = 2 << 20

// NewMemory makes a device of size bytes of zeroed anonymous memory (a memory file,
// so that [Mappable] holds). Pages cost memory once they are stored to. size is
// rounded up to whole pages, of 2 MiB with HugePages. The contents end with Close.
//
// Errors: EINVAL for a size below 1, EFBIG for more than [MaxPages], ENOMEM when
// the reserved huge pages do not suffice, ENFILE when too many devices are open.
func NewMemory(size int64, o MemoryOptions) (Device, error) {
	d, err := newMemory(size, o)
	if err != nil {
		return nil, fmt.Errorf("pmem: memory of %d bytes: %w", size, err)
	}
	return d, nil
}

func newMemory(size int64, o MemoryOptions) (*mapped, error) {
	page, flags, kind := smallPageSize(), unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING, KindMemory
	if o.HugePages {
		page, flags, kind = hugePageSize, flags|unix.MFD_HUGETLB|unix.MFD_HUGE_2MB, KindHuge
	}
	switch {
	case size < 1:
		return nil, fmt.Errorf("no such size: %w", syscall.EINVAL)
	case size > maxSize:
		return nil, fmt.Errorf("more than the %d bytes a device can have: %w", int64(maxSize), syscall.EFBIG)
	}
	size = (size + page - 1) / page * page
	fd, err := unix.MemfdCreate("godax", flags)
	if err != nil {
		return nil, os.NewSyscallError("memfd_create", err)
	}
	d, err := mapMemory(fd, size, Info{Kind: kind, PageSize: page})
	if err != nil {
		unix.Close(fd)
		if o.HugePages && errors.Is(err, syscall.ENOMEM) {
			err = fmt.Errorf("%d huge pages of 2 MiB wanted, %s reserved and free (/proc/sys/vm/nr_hugepages reserves them): %w",
				size/page, freeHugePages(), err)
		}
		return nil, err
	}
	return d, nil
}

// mapMemory gives the memory file its size for good and makes a device of it.
func mapMemory(fd int, size int64, info Info) (*mapped, error) {
	if err := unix.Ftruncate(fd, size); err != nil {
		return nil, os.NewSyscallError("ftruncate", err)
	}
	// With its size sealed no access to the device can raise SIGBUS.
	if _, err := unix.FcntlInt(uintptr(fd), unix.F_ADD_SEALS, unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_SEAL); err != nil {
		return nil, os.NewSyscallError("fcntl", err)
	}
	d, err := newMapped(fd, size, flushNothing, info)
	if err != nil {
		return nil, err
	}
	if info.Kind == KindMemory {
		d.mapping.advise(unix.MADV_HUGEPAGE) // a wish; kernels without it say EINVAL
	}
	return d, nil
}

// smallPageSize is the page size of plain mappings: that of the kernel.
func smallPageSize() int64 { return max(PageSize, int64(os.Getpagesize())) }

// freeHugePages is the number of unused 2 MiB pages, for a message.
func freeHugePages() string {
	b, err := os.ReadFile("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages")
	if err != nil {
		return "none"
	}
	return strings.TrimSpace(string(b))
}
