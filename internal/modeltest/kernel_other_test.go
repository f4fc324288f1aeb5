//go:build !linux

package modeltest

import "godax/pmem"

const errSkipped = "skipped"

func newKernelSystem(pmem.Device, int) (system, error) { return nil, errNoMount }
