package main

import (
	"bytes"
	"fmt"
)

// Kernels for arm64: tiles of products, and the steps of tapes (tape.go). avo writes amd64 alone, so they are text.
// Go's assembler has no vector arithmetic in floating point but multiply-add: the rest are encoded here, all of them on
// four float32 (Arm Architecture Reference Manual, "Advanced SIMD three same" and "two-register miscellaneous").
type neon struct{ bytes.Buffer }

func (s *neon) line(format string, args ...any) { fmt.Fprintf(s, "\t"+format+"\n", args...) }

// Instructions of three registers, d = a ∘ b, and of two, d = ∘ a.
const (
	neonAdd, neonSub, neonMul, neonDiv = 0x4E20D400, 0x4EA0D400, 0x6E20DC00, 0x6E20FC00
	neonMax, neonMin                   = 0x4E20F400, 0x4EA0F400 // NaN wins, -0 < +0
	neonEq, neonGe, neonGt             = 0x4E20E400, 0x6E20E400, 0x6EA0E400
	neonAnd, neonOr, neonClear         = 0x4E201C00, 0x4EA01C00, 0x4E601C00 // Clear: a and not b
	neonIf, neonIfNot                  = 0x6EA01C00, 0x6EE01C00             // d = a where b is set, or not; else d
	neonNeg, neonAbs, neonSqrt         = 0x6EA0F800, 0x4EA0F800, 0x6EA1F800
	neonFloor, neonNot, neonIsZero     = 0x4E219800, 0x6E205800, 0x4EA0D800
)

func (s *neon) three(code, a, b, d int) { s.line("WORD $0x%08X", code|b<<16|a<<5|d) }
func (s *neon) two(code, a, d int)      { s.line("WORD $0x%08X", code|a<<5|d) }

// Vector registers of a tape: the group, its operand, the masks of a selection, what lies between, and constants.
const (
	neonOperand, neonMask, neonBetween  = 4, 8, 12
	neonOne, neonSign, neonZero         = 29, 30, 31
	neonMostRows                        = 8
	neonStep, neonCode, neonPlace       = "R0", "R8", "R7"
	neonFrom, neonColumn, neonRow       = "R1", "R2", "R3"
	neonFirst, neonGroups, neonWorkerAt = "R4", "R5", "R6"
)

// address completes the place of an operand.
func (s *neon) address(mode string) {
	if r := map[string]string{"InOrder": neonFrom, "OfWorker": neonWorkerAt, "OfRow": neonColumn}[mode]; r != "" {
		s.line("ADD %s, %s", r, neonPlace)
	}
}

// group names four registers from n on, as loads and stores take them.
func neonGroup(n int) string {
	return fmt.Sprintf("[V%d.S4, V%d.S4, V%d.S4, V%d.S4]", n, n+1, n+2, n+3)
}

// load brings an operand to four registers.
func (s *neon) load(mode string, to int) {
	s.address(mode)
	if mode != "Number" {
		s.line("VLD1 (%s), %s", neonPlace, neonGroup(to))
		return
	}
	for i := range tapeGroup {
		s.line("VLD1R (%s), [V%d.S4]", neonPlace, to+i)
	}
}

// neonOperations follow tapeOperations, and neonAlone tapeAlone: x is the operand's register for vector i of the group.
var neonOperations = []func(s *neon, i, x int){
	nil, // Load
	func(s *neon, i, x int) { s.three(neonAdd, i, x, i) },
	func(s *neon, i, x int) { s.three(neonSub, i, x, i) },
	func(s *neon, i, x int) { s.three(neonSub, x, i, i) },
	func(s *neon, i, x int) { s.three(neonMul, i, x, i) },
	func(s *neon, i, x int) { s.three(neonDiv, i, x, i) },
	func(s *neon, i, x int) { s.three(neonDiv, x, i, i) },
	func(s *neon, i, x int) { s.three(neonMax, i, x, i) },
	func(s *neon, i, x int) { s.three(neonMin, i, x, i) },
	func(s *neon, i, x int) { s.truth(neonGt, x, i, i) },
	func(s *neon, i, x int) { s.truth(neonGt, i, x, i) },
	func(s *neon, i, x int) { s.truth(neonGe, x, i, i) },
	func(s *neon, i, x int) { s.truth(neonGe, i, x, i) },
	func(s *neon, i, x int) { s.truth(neonEq, i, x, i) },
	func(s *neon, i, x int) { s.nonzero(x, neonMask+i) },
	func(s *neon, i, x int) { s.three(neonIf, x, neonMask+i, i) },
}

var neonAlone = []func(s *neon, i int){
	func(s *neon, i int) { s.two(neonNeg, i, i) },
	func(s *neon, i int) { s.two(neonAbs, i, i) },
	func(s *neon, i int) { // ±1, 0 where it is 0, itself where it is NaN
		s.three(neonAnd, i, neonSign, neonBetween)
		s.three(neonOr, neonBetween, neonOne, neonBetween)
		s.two(neonIsZero, i, neonBetween+1)
		s.three(neonClear, neonBetween, neonBetween+1, neonBetween)
		s.three(neonEq, i, i, neonBetween+1)
		s.three(neonIf, neonBetween, neonBetween+1, i)
	},
	func(s *neon, i int) { s.two(neonSqrt, i, i) },
	func(s *neon, i int) { s.three(neonMax, i, neonZero, i) },
	func(s *neon, i int) { s.two(neonFloor, i, i) },
	func(s *neon, i int) { s.nonzero(i, neonMask+i) },
	func(s *neon, i int) { s.three(neonAnd, i, neonMask+i, i) },
}

// truth is 1 where a ? b, else 0.
func (s *neon) truth(code, a, b, d int) {
	s.three(code, a, b, d)
	s.three(neonAnd, d, neonOne, d)
}

// nonzero is the mask of the lanes of a that are not 0, NaN among them.
func (s *neon) nonzero(a, d int) {
	s.two(neonIsZero, a, d)
	s.two(neonNot, d, d)
}

// step writes one step of a tape.
func (s *neon) step(name string, body func()) {
	fmt.Fprintf(s, "\nTEXT %s<>(SB), NOSPLIT, $0-0\n", name)
	s.line("MOVD 8(%s), %s", neonStep, neonPlace)
	body()
	s.line("ADD $16, %s", neonStep)
	s.line("MOVD (%s), %s", neonStep, neonCode)
	s.line("JMP (%s)", neonCode)
}

// sums adds the group to running sums of n vectors in memory.
func (s *neon) sums(n int) {
	at := neonGroup(neonOperand)
	switch n {
	case 1:
		at = fmt.Sprintf("[V%d.S4]", neonOperand)
	case 2:
		at = fmt.Sprintf("[V%d.S4, V%d.S4]", neonOperand, neonOperand+1)
	}
	s.line("VLD1 (%s), %s", neonPlace, at)
	for i := range tapeGroup {
		s.three(neonAdd, neonOperand+i%n, i, neonOperand+i%n)
	}
	s.line("VST1 %s, (%s)", at, neonPlace)
}

// tape writes all steps, the table of their addresses, and what starts them.
func (s *neon) tape() {
	var names []string
	add := func(name string, body func()) {
		name = "tape" + name + "NEON"
		s.step(name, body)
		names = append(names, name)
	}
	for k, op := range tapeOperations {
		for _, mode := range tapeModes {
			add(op.name+mode, func() {
				if k == 0 {
					s.load(mode, 0)
					return
				}
				s.load(mode, neonOperand)
				for i := range tapeGroup {
					neonOperations[k](s, i, neonOperand+i)
				}
			})
		}
	}
	for k, op := range tapeAlone {
		add(op.name, func() {
			if k < len(neonAlone) {
				for i := range tapeGroup {
					neonAlone[k](s, i)
				}
				return
			}
			mode := "OfWorker"
			if op.name == "Store" {
				mode = "InOrder"
			}
			s.address(mode)
			switch op.name {
			case "Save", "Store":
				s.line("VST1 %s, (%s)", neonGroup(0), neonPlace)
			case "SumOne":
				s.sums(1)
			case "SumTwo":
				s.sums(2)
			case "SumRow":
				s.address("OfRow")
				fallthrough
			default:
				s.sums(tapeGroup)
			}
		})
	}
	names = append(names, "tapeEndNEON")
	fmt.Fprintf(s, "\nTEXT tapeEndNEON<>(SB), NOSPLIT, $0-0\n")
	for _, l := range []string{
		"ADD $64, R1", "ADD $64, R2", "CMP R3, R2", "BLT within", "MOVD ZR, R2",
	} {
		s.line("%s", l)
	}
	fmt.Fprintln(s, "within:")
	for _, l := range []string{"MOVD R4, R0", "MOVD (R0), R8", "SUBS $1, R5", "BEQ done", "JMP (R8)"} {
		s.line("%s", l)
	}
	fmt.Fprintln(s, "done:")
	s.line("RET")

	s.line("MOVD $%s<>(SB), R0", tapeTable(&s.Buffer, "NEON", names))
	s.line("MOVD R0, ret+0(FP)")
	s.line("RET")

	tapeRunHead(&s.Buffer, "NEON")
	for i, p := range []string{"steps", "memory", "from", "column", "row", "groups"} {
		reg := []string{neonFirst, neonWorkerAt, neonFrom, neonColumn, neonRow, neonGroups}[i]
		s.line("MOVD %s+%d(FP), %s", p, 8*i, reg)
	}
	s.line("MOVD $0x3f800000, R8")
	s.line("VDUP R8, V%d.S4", neonOne)
	s.line("MOVD $0x80000000, R8")
	s.line("VDUP R8, V%d.S4", neonSign)
	s.line("VEOR V%d.B16, V%[1]d.B16, V%[1]d.B16", neonZero)
	s.line("MOVD %s, %s", neonFirst, neonStep)
	s.line("MOVD (%s), %s", neonStep, neonCode)
	s.line("JMP (%s)", neonCode)
}

const neonTileParams = "k int, a *float32, rs, cs int, b *float32, ldb int, c *float32, ldc int, add bool"

// tile writes the product of rows × vecs vectors: c[i,j] (+)= Σ_q a[i·rs + q·cs] · b[q·ldb + j].
func (s *neon) tile(rows, vecs int) {
	name := fmt.Sprintf("gemm%dx%dNEON", rows, vecs)
	fmt.Fprintf(s, "\n// func %s(%s)\nTEXT ·%[1]s(SB), NOSPLIT, $0-65\n", name, neonTileParams)
	for i, p := range []string{"k", "a", "rs", "cs", "b", "ldb", "c", "ldc"} {
		s.line("MOVD %s+%d(FP), R%d", p, 8*i, i)
	}
	s.line("MOVBU add+64(FP), R8")
	for _, stride := range []int{2, 3, 5, 7} {
		s.line("LSL $2, R%d", stride)
	}
	row := func(i int) string { return fmt.Sprint("R", []int{9, 10, 11, 12, 13, 14, 15, 19}[i]) }
	s.line("MOVD R1, %s", row(0))
	for i := 1; i < rows; i++ {
		s.line("ADD R2, %s, %s", row(i-1), row(i))
	}
	vectors := func(n int) string {
		if vecs == 1 {
			return fmt.Sprintf("[V%d.S4]", n)
		}
		return fmt.Sprintf("[V%d.S4, V%d.S4]", n, n+1)
	}
	const ofB, ofA = 16, 18
	for v := range rows * vecs {
		s.line("VEOR V%d.B16, V%[1]d.B16, V%[1]d.B16", v)
	}
	fmt.Fprintln(s, "terms:")
	s.line("VLD1 (R4), %s", vectors(ofB))
	s.line("ADD R5, R4")
	for i := range rows {
		s.line("VLD1R (%s), [V%d.S4]", row(i), ofA+i)
		s.line("ADD R3, %s", row(i))
	}
	for i := range rows {
		for v := range vecs {
			s.line("VFMLA V%d.S4, V%d.S4, V%d.S4", ofB+v, ofA+i, i*vecs+v)
		}
	}
	s.line("SUBS $1, R0")
	s.line("BNE terms")
	s.line("CBZ R8, store")
	s.line("MOVD R6, R4")
	for i := range rows {
		s.line("VLD1 (R4), %s", vectors(ofB))
		for v := range vecs {
			s.three(neonAdd, ofB+v, i*vecs+v, i*vecs+v)
		}
		s.line("ADD R7, R4")
	}
	fmt.Fprintln(s, "store:")
	for i := range rows {
		s.line("VST1 %s, (R6)", vectors(i*vecs))
		s.line("ADD R7, R6")
	}
	s.line("RET")
}

// neonFiles are the assembly and its stubs.
func neonFiles() map[string][]byte {
	asm, stubs := textFiles("neon")
	s := &neon{*asm}
	for rows := 1; rows <= neonMostRows; rows++ {
		for vecs := 1; vecs <= 2; vecs++ {
			s.tile(rows, vecs)
			const says = " computes c[i,j] (+)= Σ_q a[i·rs + q·cs] · b[q·ldb + j]; k at least 1"
			name := fmt.Sprintf("gemm%dx%dNEON", rows, vecs)
			stub(stubs, name+says, name+"("+neonTileParams+")")
		}
	}
	s.tape()
	tapeStubs(stubs, "NEON")
	return map[string][]byte{"neon_arm64.s": s.Bytes(), "neon_arm64.go": stubs.Bytes()}
}
