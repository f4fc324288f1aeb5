package sim

import (
	"fmt"

	"godax/pmem"
)

// resolve asks the device that owns the frame for its bytes.
func resolve(pfn pmem.PFN) ([]byte, error) {
	dev, ok := pmem.Lookup(pfn)
	if !ok {
		return nil, fmt.Errorf("frame %#x has no device", uint64(pfn))
	}
	run, err := dev.DirectAccess(pfn.Page(), 1, pmem.Normal)
	if err != nil {
		return nil, err
	}
	return run.Bytes[:pmem.PageSize], nil
}
