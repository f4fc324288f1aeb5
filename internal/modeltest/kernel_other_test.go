//go:build !linux

package modeltest

import (
	"errors"

	"godax/pmem"
)

const errSkipped = "skipped"

func newKernelSystem(pmem.Device, int) (system, error) { return nil, errors.ErrUnsupported }
