package pmem

import "golang.org/x/sys/cpu"

//go:noescape
func flushDCCVAP(p *byte, n, line uintptr)

//go:noescape
func dropDCCIVAC(p *byte, n, line uintptr)

// dropFence is DSB SY: no load after it is served before the drops are done.
func dropFence() { flushFence() }

// flushFence is DSB SY: it waits until every flush before it is complete.
func flushFence()

// cacheType reads CTR_EL0.
func cacheType() uint64

// cpuFlushers lists the ways of this processor to flush lines: DC CVAP, clean to
// the point of persistence, if the kernel reports it (HWCAP_DCPOP).
//
// Arm ARM, CTR_EL0: bits 19..16 (DminLine) are log2 of the words of 4 bytes in the
// smallest data cache line.
func cpuFlushers() []flusher {
	if !cpu.ARM64.HasDCPOP {
		return nil
	}
	line := uintptr(4) << (cacheType() >> 16 & 0xf)
	return []flusher{{"dc cvap", line, flushDCCVAP}}
}

// cpuDroppers lists the ways of this processor to drop lines: DC CIVAC, clean and
// invalidate to the point of coherency, which Linux allows programs on every arm64.
func cpuDroppers() []flusher {
	line := uintptr(4) << (cacheType() >> 16 & 0xf)
	return []flusher{{"dc civac", line, dropDCCIVAC}}
}
