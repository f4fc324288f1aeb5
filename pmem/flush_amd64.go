package pmem

//go:noescape
func flushCLWB(p *byte, n, line uintptr)

//go:noescape
func flushCLFLUSHOPT(p *byte, n, line uintptr)

//go:noescape
func flushCLFLUSH(p *byte, n, line uintptr)

// flushFence is SFENCE: it waits until every flush before it on this processor is
// accepted by the memory.
func flushFence()

// dropFence is MFENCE: it waits until every drop before it is done, and no load after it
// is served earlier. SFENCE does not hold loads back.
func dropFence()

// cpuDroppers lists the ways of this processor to drop lines, best first: those of
// cpuFlushers that do not keep the line.
func cpuDroppers() []flusher {
	var ds []flusher
	for _, f := range cpuFlushers() {
		if f.name != "clwb" {
			ds = append(ds, f)
		}
	}
	return ds
}

// cpuid executes CPUID.
func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)

// cpuFlushers lists the ways of this processor to flush lines, best first: CLWB
// keeps the line in the cache, CLFLUSHOPT drops it, CLFLUSH drops it and lets
// flushes wait for each other.
//
// Intel SDM volume 2, CPUID: leaf 1 EBX bits 15..8 are the line size in units of 8
// bytes, EDX bit 19 is CLFLUSH; leaf 7 EBX bit 23 is CLFLUSHOPT, bit 24 CLWB.
func cpuFlushers() []flusher {
	const (
		bitCLFLUSH    = 1 << 19
		bitCLFLUSHOPT = 1 << 23
		bitCLWB       = 1 << 24
	)
	most, _, _, _ := cpuid(0, 0)
	if most < 1 {
		return nil
	}
	_, sizes, _, features := cpuid(1, 0)
	line := uintptr(sizes>>8&0xff) * 8
	if features&bitCLFLUSH == 0 || line == 0 || line&(line-1) != 0 {
		return nil
	}
	var fs []flusher
	if most >= 7 {
		_, extended, _, _ := cpuid(7, 0)
		if extended&bitCLWB != 0 {
			fs = append(fs, flusher{"clwb", line, flushCLWB})
		}
		if extended&bitCLFLUSHOPT != 0 {
			fs = append(fs, flusher{"clflushopt", line, flushCLFLUSHOPT})
		}
	}
	return append(fs, flusher{"clflush", line, flushCLFLUSH})
}
