//go:build amd64 && !purego

#include "textflag.h"

// The canonical NaN in all lanes.
DATA canonical<>+0(SB)/8, $0x7fffffff7fffffff
DATA canonical<>+8(SB)/8, $0x7fffffff7fffffff
DATA canonical<>+16(SB)/8, $0x7fffffff7fffffff
DATA canonical<>+24(SB)/8, $0x7fffffff7fffffff
GLOBL canonical<>(SB), RODATA|NOPTR, $32

// STORE puts Y0 to Y3 into 128 bytes at DI, NaN replaced by the canonical one.
#define STORE \
	VCMPPS $3, Y0, Y0, Y4 \
	VCMPPS $3, Y1, Y1, Y5 \
	VCMPPS $3, Y2, Y2, Y6 \
	VCMPPS $3, Y3, Y3, Y7 \
	VMOVUPS canonical<>(SB), Y8 \
	VBLENDVPS Y4, Y8, Y0, Y0 \
	VBLENDVPS Y5, Y8, Y1, Y1 \
	VBLENDVPS Y6, Y8, Y2, Y2 \
	VBLENDVPS Y7, Y8, Y3, Y3 \
	VMOVUPS Y0, 0(DI) \
	VMOVUPS Y1, 32(DI) \
	VMOVUPS Y2, 64(DI) \
	VMOVUPS Y3, 96(DI) \
	VZEROUPPER \
	RET

#define BINARY(OP) \
	MOVQ d+0(FP), DI \
	MOVQ a+8(FP), SI \
	MOVQ b+16(FP), DX \
	VMOVUPS 0(SI), Y0 \
	VMOVUPS 32(SI), Y1 \
	VMOVUPS 64(SI), Y2 \
	VMOVUPS 96(SI), Y3 \
	OP 0(DX), Y0, Y0 \
	OP 32(DX), Y1, Y1 \
	OP 64(DX), Y2, Y2 \
	OP 96(DX), Y3, Y3 \
	STORE

// func addAVX2(d, a, b *vec[uint32])
TEXT ·addAVX2(SB), NOSPLIT, $0-24
	BINARY(VADDPS)

// func subAVX2(d, a, b *vec[uint32])
TEXT ·subAVX2(SB), NOSPLIT, $0-24
	BINARY(VSUBPS)

// func mulAVX2(d, a, b *vec[uint32])
TEXT ·mulAVX2(SB), NOSPLIT, $0-24
	BINARY(VMULPS)

// func fmaAVX2(d, a, b, c *vec[uint32])
TEXT ·fmaAVX2(SB), NOSPLIT, $0-32
	MOVQ d+0(FP), DI
	MOVQ a+8(FP), SI
	MOVQ b+16(FP), DX
	MOVQ c+24(FP), CX
	VMOVUPS 0(CX), Y0
	VMOVUPS 32(CX), Y1
	VMOVUPS 64(CX), Y2
	VMOVUPS 96(CX), Y3
	VMOVUPS 0(SI), Y4
	VMOVUPS 32(SI), Y5
	VMOVUPS 64(SI), Y6
	VMOVUPS 96(SI), Y7
	VFMADD231PS 0(DX), Y4, Y0
	VFMADD231PS 32(DX), Y5, Y1
	VFMADD231PS 64(DX), Y6, Y2
	VFMADD231PS 96(DX), Y7, Y3
	STORE

// EIGHT loads four words for each of eight lanes and transposes them into Y0 to Y3.
#define EIGHT(OFF) \
	MOVLQSX OFF+0(SI), R8 \
	MOVLQSX OFF+4(SI), R9 \
	MOVLQSX OFF+8(SI), R10 \
	MOVLQSX OFF+12(SI), R11 \
	MOVLQSX OFF+16(SI), R12 \
	MOVLQSX OFF+20(SI), R13 \
	VMOVUPS (AX)(R8*1), X4 \
	VMOVUPS (AX)(R9*1), X5 \
	VMOVUPS (AX)(R10*1), X6 \
	VMOVUPS (AX)(R11*1), X7 \
	MOVLQSX OFF+24(SI), R8 \
	MOVLQSX OFF+28(SI), R9 \
	VINSERTF128 $1, (AX)(R12*1), Y4, Y4 \
	VINSERTF128 $1, (AX)(R13*1), Y5, Y5 \
	VINSERTF128 $1, (AX)(R8*1), Y6, Y6 \
	VINSERTF128 $1, (AX)(R9*1), Y7, Y7 \
	VUNPCKLPS Y5, Y4, Y8 \
	VUNPCKHPS Y5, Y4, Y9 \
	VUNPCKLPS Y7, Y6, Y10 \
	VUNPCKHPS Y7, Y6, Y11 \
	VUNPCKLPD Y10, Y8, Y0 \
	VUNPCKHPD Y10, Y8, Y1 \
	VUNPCKLPD Y11, Y9, Y2 \
	VUNPCKHPD Y11, Y9, Y3 \
	VMOVUPS Y0, OFF(DI) \
	VMOVUPS Y1, OFF(DX) \
	VMOVUPS Y2, OFF(CX) \
	VMOVUPS Y3, OFF(BX)

// func gather4AVX2(at unsafe.Pointer, rel, d0, d1, d2, d3 *vec[uint32])
TEXT ·gather4AVX2(SB), NOSPLIT, $0-48
	MOVQ at+0(FP), AX
	MOVQ rel+8(FP), SI
	MOVQ d0+16(FP), DI
	MOVQ d1+24(FP), DX
	MOVQ d2+32(FP), CX
	MOVQ d3+40(FP), BX
	EIGHT(0)
	EIGHT(32)
	EIGHT(64)
	EIGHT(96)
	VZEROUPPER
	RET

// func sameOffsets32AVX2(a, rel *vec[uint32]) bool
TEXT ·sameOffsets32AVX2(SB), NOSPLIT, $0-17
	MOVQ a+0(FP), SI
	MOVQ rel+8(FP), DX
	VPBROADCASTD (SI), Y8
	VMOVDQU 0(SI), Y0
	VMOVDQU 32(SI), Y1
	VMOVDQU 64(SI), Y2
	VMOVDQU 96(SI), Y3
	VPSUBD Y8, Y0, Y0
	VPSUBD Y8, Y1, Y1
	VPSUBD Y8, Y2, Y2
	VPSUBD Y8, Y3, Y3
	VPXOR 0(DX), Y0, Y0
	VPXOR 32(DX), Y1, Y1
	VPXOR 64(DX), Y2, Y2
	VPXOR 96(DX), Y3, Y3
	VPOR Y1, Y0, Y0
	VPOR Y3, Y2, Y2
	VPOR Y2, Y0, Y0
	VPTEST Y0, Y0
	SETEQ ret+16(FP)
	VZEROUPPER
	RET

#define PART(OFF) \
	VMOVDQU OFF(SI), Y1 \
	VMOVDQU OFF+32(SI), Y2 \
	VPSUBQ Y8, Y1, Y1 \
	VPSUBQ Y8, Y2, Y2 \
	VPXOR OFF(DX), Y1, Y1 \
	VPXOR OFF+32(DX), Y2, Y2 \
	VPOR Y1, Y0, Y0 \
	VPOR Y2, Y0, Y0

// func sameOffsets64AVX2(a, rel *vec[uint64]) bool
TEXT ·sameOffsets64AVX2(SB), NOSPLIT, $0-17
	MOVQ a+0(FP), SI
	MOVQ rel+8(FP), DX
	VPBROADCASTQ (SI), Y8
	VPXOR Y0, Y0, Y0
	PART(0)
	PART(64)
	PART(128)
	PART(192)
	VPTEST Y0, Y0
	SETEQ ret+16(FP)
	VZEROUPPER
	RET
