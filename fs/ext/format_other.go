//go:build !linux

package ext

import "godax/pmem"

// nextData returns the whole range: nothing is known about it.
func nextData(_ pmem.Device, from, to int64) (start, end int64) { return from, to }
