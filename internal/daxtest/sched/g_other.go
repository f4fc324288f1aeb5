//go:build !amd64 && !arm64

package sched

import "runtime"

// self names the goroutine that calls it: its number, as stack traces tell it.
func self() uintptr {
	var b [64]byte
	var id uintptr
	for _, c := range b[len("goroutine "):runtime.Stack(b[:], false)] {
		if c < '0' || c > '9' {
			break
		}
		id = id*10 + uintptr(c-'0')
	}
	return id
}
