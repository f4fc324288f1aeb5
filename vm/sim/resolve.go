package sim

import (
	"fmt"

	"godax/pmem"
)

// resolve finds a frame's bytes through the device that owns it.
func resolve(pfn pmem.PFN) ([]byte, error) {
	dev, ok := pmem.Lookup(pfn)
	if !ok {
		return nil, fmt.Errorf("frame %#x: %w", uint64(pfn), pmem.ErrRemoved)
	}
	run, err := dev.DirectAccess(pfn.Page(), 1, pmem.Normal)
	return run.Bytes, err
}
