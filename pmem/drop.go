package pmem

// DropCPU writes the cache lines that hold b back to memory and drops them from the
// caches, and waits for that: loads after it fetch what is in memory now, also if another
// host has stored it there and the hardware does not keep the caches of hosts coherent.
// Memory that may only be read will do. It reports false, having done nothing, on a
// processor that offers programs no such instruction; see [DropInstruction].
//
// CLWB is not enough here, since it leaves the line in the cache.
func DropCPU(b []byte) bool {
	if lineDrop.flush == nil {
		return false
	}
	for len(b) > 0 {
		n := min(len(b), flushChunk)
		lineDrop.flush(&b[0], uintptr(n), lineDrop.line)
		b = b[n:]
	}
	dropFence()
	return true
}

// DropInstruction names the instruction that [DropCPU] uses; empty if there is none.
func DropInstruction() string { return lineDrop.name }

// lineDrop is the processor's best way to drop lines; its flush is nil if there is none.
var lineDrop = bestDropper()

func bestDropper() flusher {
	if ds := cpuDroppers(); len(ds) > 0 {
		return ds[0]
	}
	return flusher{}
}
