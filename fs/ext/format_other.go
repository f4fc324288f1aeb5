//go:build !linux

package ext

import "godax/pmem"

// discard reports that the range has to be cleared by hand.
func discard(pmem.Device, int64, int64) bool { return false }
