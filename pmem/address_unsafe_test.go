package pmem_test

import "unsafe"

// addressOf is where b lies in memory: a number only, nothing is kept alive by it.
func addressOf(b []byte) uintptr { return uintptr(unsafe.Pointer(unsafe.SliceData(b))) }
