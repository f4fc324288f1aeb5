#include "textflag.h"

// func cacheType() uint64
TEXT ·cacheType(SB), NOSPLIT, $0-8
	MRS  CTR_EL0, R0
	MOVD R0, ret+0(FP)
	RET

// func flushDCCVAP(p *byte, n, line uintptr)
TEXT ·flushDCCVAP(SB), NOSPLIT, $0-24
	MOVD p+0(FP), R0
	MOVD n+8(FP), R1
	MOVD line+16(FP), R2
	ADD  R0, R1, R1
	SUB  $1, R2, R3
	BIC  R3, R0, R0
loop:
	DC   CVAP, R0
	ADD  R2, R0, R0
	CMP  R1, R0
	BLO  loop
	RET

// func dropDCCIVAC(p *byte, n, line uintptr)
TEXT ·dropDCCIVAC(SB), NOSPLIT, $0-24
	MOVD p+0(FP), R0
	MOVD n+8(FP), R1
	MOVD line+16(FP), R2
	ADD  R0, R1, R1
	SUB  $1, R2, R3
	BIC  R3, R0, R0
loop:
	DC   CIVAC, R0
	ADD  R2, R0, R0
	CMP  R1, R0
	BLO  loop
	RET

// func flushFence()
TEXT ·flushFence(SB), NOSPLIT, $0-0
	DSB $15
	RET
