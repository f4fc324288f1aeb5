package main

import (
	"sync/atomic"
	"unsafe"
)

// store and load access the first eight bytes of b, which are aligned, in one machine
// instruction, so that another process sees all of a number or nothing. b is in a
// mapping, which its owner keeps until it is done.

func store(b []byte, v int64) { atomic.StoreInt64((*int64)(unsafe.Pointer(&b[:8][0])), v) }

func load(b []byte) int64 { return atomic.LoadInt64((*int64)(unsafe.Pointer(&b[:8][0]))) }
