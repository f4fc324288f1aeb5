package ext

import (
	"golang.org/x/sys/unix"

	"godax/pmem"
)

// discard makes a range of a device read as zero by punching a hole into the file
// behind it, and reports whether that worked. Mappings of the file see it at once.
func discard(dev pmem.Device, off, n int64) bool {
	m, ok := dev.(pmem.Mappable)
	if !ok || dev.ReadOnly() {
		return false
	}
	fd, base, _ := m.Backing()
	return unix.Fallocate(fd, unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, base+off, n) == nil
}
