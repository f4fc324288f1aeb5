//go:build amd64 || arm64

package sched

// self names the goroutine that calls it: a number that no other goroutine alive has,
// the address of what the runtime keeps of it. runtime.Stack would tell as well, but
// takes 20 microseconds, and hooks are called for every lock.
func self() uintptr
