//go:build unix

package daxtest

import (
	"fmt"
	"syscall"
	"time"
)

// CPUTime is the processor time that this process has used. A bound on work is a bound on it,
// not on the clock: that goes on while others have the processor.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(fmt.Sprintf("daxtest: getrusage: %v", err)) // it has no reason to fail
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
