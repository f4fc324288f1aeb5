package pmem

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// openDAXDevice makes a device of an open character device, if it is one for DAX.
// The descriptor is the caller's if there is an error.
func openDAXDevice(fd int, rdev uint64, o Options, info Info) (*mapped, error) {
	dir := fmt.Sprintf("/sys/dev/char/%d:%d", unix.Major(rdev), unix.Minor(rdev))
	size, align, err := daxGeometry(dir)
	if err != nil {
		return nil, err
	}
	if err := lock(fd, o); err != nil {
		return nil, err
	}
	if FlushInstruction() == "" && !o.ReadOnly {
		return nil, fmt.Errorf("no instruction to flush caches on this processor, and a DAX device has no msync: %w", errors.ErrUnsupported)
	}
	info.Kind, info.PageSize = KindDAXDevice, align
	info.MapSync = acceptsSync(fd, align, o.ReadOnly)
	return newMapped(fd, size, flushLines, info)
}

// daxGeometry reads size and alignment of the character device whose sysfs
// directory is dir, both in bytes. Sysfs, ABI/stable/sysfs-bus-dax: "size" and
// "align" of the device, whose subsystem is "dax". Kernels before 5.1 have no align;
// it is 2 MiB there unless it was configured otherwise. errors.ErrUnsupported for
// other character devices.
func daxGeometry(dir string) (size, align int64, err error) {
	bus, err := os.Readlink(filepath.Join(dir, "subsystem"))
	if err != nil || filepath.Base(bus) != "dax" {
		return 0, 0, unsupported("character device")
	}
	size, err = readNumber(filepath.Join(dir, "size"))
	if err != nil {
		return 0, 0, fmt.Errorf("size of the DAX device: %w", err)
	}
	align, err = readNumber(filepath.Join(dir, "align"))
	if errors.Is(err, fs.ErrNotExist) {
		align, err = hugePageSize, nil
	}
	switch {
	case err != nil:
		return 0, 0, fmt.Errorf("alignment of the DAX device: %w", err)
	case align < PageSize || align > 1<<40 || align&(align-1) != 0:
		return 0, 0, fmt.Errorf("alignment of the DAX device is %d: %w", align, syscall.EINVAL)
	case size <= 0 || size%align != 0:
		return 0, 0, fmt.Errorf("size of the DAX device is %d, alignment %d: %w", size, align, syscall.EINVAL)
	}
	return size, align, nil
}

func readNumber(path string) (int64, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return 0, err
	}
	return strconv.ParseInt(strings.TrimSpace(string(b)), 0, 64)
}
