package daxtest_test

import (
	"testing"
	"time"

	"godax/internal/daxtest"
)

// The time of the process goes on while it works.
func TestCPUTime(t *testing.T) {
	const enough = 20 * time.Millisecond
	first := daxtest.CPUTime()
	sum := 0
	for daxtest.CPUTime() < first+enough {
		for i := range 1 << 16 {
			sum += i
		}
	}
	if sum == 0 || first < 0 {
		t.Errorf("began at %v", first)
	}
}
