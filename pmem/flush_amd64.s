#include "textflag.h"

// func cpuid(leaf, subleaf uint32) (eax, ebx, ecx, edx uint32)
TEXT ·cpuid(SB), NOSPLIT, $0-24
	MOVL leaf+0(FP), AX
	MOVL subleaf+4(FP), CX
	CPUID
	MOVL AX, eax+8(FP)
	MOVL BX, ebx+12(FP)
	MOVL CX, ecx+16(FP)
	MOVL DX, edx+20(FP)
	RET

// LINES turns AX (first byte) and BX (byte count) into the start of the line that
// holds the first byte and the end of the bytes; CX is the line size.
#define LINES \
	ADDQ AX, BX; \
	MOVQ CX, DX; \
	NEGQ DX; \
	ANDQ DX, AX

// func flushCLWB(p *byte, n, line uintptr)
TEXT ·flushCLWB(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), AX
	MOVQ n+8(FP), BX
	MOVQ line+16(FP), CX
	LINES
loop:
	CLWB (AX)
	ADDQ CX, AX
	CMPQ AX, BX
	JCS  loop
	RET

// func flushCLFLUSHOPT(p *byte, n, line uintptr)
TEXT ·flushCLFLUSHOPT(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), AX
	MOVQ n+8(FP), BX
	MOVQ line+16(FP), CX
	LINES
loop:
	CLFLUSHOPT (AX)
	ADDQ CX, AX
	CMPQ AX, BX
	JCS  loop
	RET

// func flushCLFLUSH(p *byte, n, line uintptr)
TEXT ·flushCLFLUSH(SB), NOSPLIT, $0-24
	MOVQ p+0(FP), AX
	MOVQ n+8(FP), BX
	MOVQ line+16(FP), CX
	LINES
loop:
	CLFLUSH (AX)
	ADDQ CX, AX
	CMPQ AX, BX
	JCS  loop
	RET

// func flushFence()
TEXT ·flushFence(SB), NOSPLIT, $0-0
	SFENCE
	RET

// func dropFence()
TEXT ·dropFence(SB), NOSPLIT, $0-0
	MFENCE
	RET
