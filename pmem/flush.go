package pmem

// flushChunk is how many bytes of lines one assembly call flushes. The runtime
// cannot stop a goroutine inside assembly, so a large range is cut.
const flushChunk = 64 << 10

// FlushCPU writes the cache lines that hold b back to memory with the best
// instruction of the processor, and waits until they are accepted there. For
// memory in the persistence domain (MAP_SYNC) the stores before it are durable
// when it returns. It reports false, having done nothing, on a processor that
// offers programs no such instruction; see [FlushInstruction].
//
// The wait is part of the call, not left to [Device.Barrier], because a fence
// orders the flushes of its own processor only, and a goroutine may have moved to
// another one by then.
func FlushCPU(b []byte) bool {
	if lineFlush.flush == nil {
		return false
	}
	for len(b) > 0 {
		n := min(len(b), flushChunk)
		lineFlush.flush(&b[0], uintptr(n), lineFlush.line)
		b = b[n:]
	}
	flushFence()
	return true
}

// FlushInstruction names the instruction that [FlushCPU] uses, in the words of
// [Info]; empty if there is none.
func FlushInstruction() string { return lineFlush.name }

// flusher is a way to flush cache lines.
type flusher struct {
	name string
	line uintptr // bytes of a cache line, a power of two

	// flush writes back the lines of the n bytes at p (n at least 1), without
	// waiting.
	flush func(p *byte, n, line uintptr)
}

// lineFlush is the processor's best way; its flush is nil if there is none.
var lineFlush = bestFlusher()

func bestFlusher() flusher {
	if fs := cpuFlushers(); len(fs) > 0 {
		return fs[0]
	}
	return flusher{}
}
