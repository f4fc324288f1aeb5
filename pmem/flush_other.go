//go:build !amd64 && !arm64

package pmem

func flushFence() {}

// cpuFlushers lists the ways of this processor to flush lines: none that a program
// may use.
func cpuFlushers() []flusher { return nil }
