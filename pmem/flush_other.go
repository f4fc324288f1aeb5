//go:build !amd64 && !arm64

package pmem

func flushFence() {}

func dropFence() {}

// cpuDroppers lists the ways of this processor to drop lines: none.
func cpuDroppers() []flusher { return nil }

// cpuFlushers lists the ways of this processor to flush lines: none that a program
// may use.
func cpuFlushers() []flusher { return nil }
