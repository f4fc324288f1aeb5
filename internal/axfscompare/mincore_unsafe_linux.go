package main

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// mincore returns a byte for each page of mapped memory: bit 0 is set if the page is in the
// page cache.
func mincore(b []byte) ([]byte, error) {
	in := make([]byte, (len(b)+4095)/4096)
	// b and in are alive until the call returns, since they are used after it.
	_, _, errno := unix.Syscall(unix.SYS_MINCORE, uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), uintptr(unsafe.Pointer(&in[0])))
	if errno != 0 {
		return nil, errno
	}
	return in, nil
}
