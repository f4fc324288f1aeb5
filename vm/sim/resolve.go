package sim

import (
	"fmt"

	"godax/pmem"
)

// resolve is the default: there is no device to ask.
func resolve(pfn pmem.PFN) ([]byte, error) {
	return nil, fmt.Errorf("frame %#x: Config.Resolve is not set", uint64(pfn))
}
