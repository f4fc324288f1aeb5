package ext

import (
	"golang.org/x/sys/unix"

	"godax/pmem"
)

// nextData returns the first run of bytes in [from, to) of a device that may not be
// zeros, as the file behind it tells: an empty one at to if there is none. Blocks that were set
// aside and never stored to count as zeros.
func nextData(dev pmem.Device, from, to int64) (start, end int64) {
	m, ok := dev.(pmem.Mappable)
	if !ok {
		return from, to
	}
	fd, base, _ := m.Backing()
	start, err := unix.Seek(fd, base+from, unix.SEEK_DATA)
	if err == unix.ENXIO {
		return to, to
	}
	start -= base
	if err != nil || start < from { // a DAX device has one position whatever it is asked
		return from, to
	}
	if start >= to {
		return to, to
	}
	end, err = unix.Seek(fd, base+start, unix.SEEK_HOLE)
	if end -= base; err != nil || end <= start {
		return start, to
	}
	return start, min(end, to)
}
