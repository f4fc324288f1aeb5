package pmem

import "fmt"

// maxSize is the size in bytes of a device of MaxPages pages.
const maxSize = MaxPages * PageSize

// CheckPages tells whether the n pages at page lie on a device of the given number
// of pages, as [Device.DirectAccess] must (A2): nil, or an error that is
// [ErrOutOfRange]. No pages at all are out of range too.
func CheckPages(pages, page, n uint64) error {
	if n == 0 || n > pages || page > pages-n {
		return fmt.Errorf("%w: %d pages at page %d of %d", ErrOutOfRange, n, page, pages)
	}
	return nil
}

// CheckBytes tells whether the n bytes at off lie on a device of size bytes, as
// [Device.Bytes] and [Device.Flush] must: nil, or an error that is
// [ErrOutOfRange]. No bytes at all are in range up to the end of the device.
func CheckBytes(size, off, n int64) error {
	if off < 0 || n < 0 || n > size || off > size-n {
		return fmt.Errorf("%w: %d bytes at byte %d of %d", ErrOutOfRange, n, off, size)
	}
	return nil
}

// CheckRun tests an answer of dev's DirectAccess(page, n) against the contract: at
// least one page and not more than asked, the frames of just these pages, bytes to
// match. It is for tests and debug builds.
func CheckRun(dev Device, page, n uint64, run Run) error {
	switch {
	case run.Pages() == 0:
		return fmt.Errorf("pmem: empty answer for %d pages at page %d", n, page)
	case run.Pages() > n:
		return fmt.Errorf("pmem: answer of %d pages for %d pages at page %d", run.Pages(), n, page)
	case run.PFN != MakePFN(dev.ID(), page):
		return fmt.Errorf("pmem: frame %#x for page %d of device number %d", uint64(run.PFN), page, dev.ID())
	case len(run.Bytes)%PageSize != 0:
		return fmt.Errorf("pmem: %d bytes for whole pages at page %d", len(run.Bytes), page)
	case cap(run.Bytes) != len(run.Bytes):
		return fmt.Errorf("pmem: capacity %d of %d bytes at page %d", cap(run.Bytes), len(run.Bytes), page)
	}
	return nil
}
