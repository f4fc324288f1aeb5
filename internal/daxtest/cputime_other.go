//go:build !unix

package daxtest

import "time"

var began = time.Now()

// CPUTime is the time since the process began: the processor time is not known here.
func CPUTime() time.Duration { return time.Since(began) }
