package main

import (
	"bytes"
	"fmt"
	"strings"
)

// The steps of a tape, which package cpu explains in tape.go, in the order in which its table lists them. avo has no
// jumps to an address in a register, with which each step ends, so they are written as text.
//
// A step works on a group of four vectors in the accumulators, registers 0 to 3. Vectors 4 to 7 take its operand, and
// 12 is for what lies between; 13, 14 and 15 hold 1, the sign bit and 0. The masks of a selection are K1 to K4 of
// AVX-512, or vectors 8 to 11.
//
//	R8   the step at hand: the address of its code, then the place of its operand
//	R9   bytes from the beginning of what is read and written in order
//	R10  bytes from the beginning of a row; R13 is the length of a row
//	R11  the first step
//	R12  groups that are left
//	BX   memory of the worker
type tapeSteps struct {
	bytes.Buffer
	name string // of the instruction set
	reg  string // letter of its vectors
	size int    // bytes of a vector
}

func (s *tapeSteps) wide() bool { return s.reg == "Z" }

// v names vector register n.
func (s *tapeSteps) v(n int) string { return fmt.Sprint(s.reg, n) }

// k names the mask of vector i of the group.
func (s *tapeSteps) k(i int) string {
	if s.wide() {
		return fmt.Sprint("K", i+1)
	}
	return s.v(8 + i)
}

func (s *tapeSteps) line(format string, args ...any) { fmt.Fprintf(s, "\t"+format+"\n", args...) }

const tapeGroup = 4 // vectors

// tapeModes are the places of an operand: in order with the result, in memory of the worker, at the column of the row,
// and one number.
var tapeModes = []string{"InOrder", "OfWorker", "OfRow", "Number"}

// place gives the memory of vector i of an operand whose place is in AX.
func (s *tapeSteps) place(mode string, i int) string {
	return fmt.Sprintf(map[string]string{
		"InOrder": "%d(AX)(R9*1)", "OfWorker": "%d(BX)(AX*1)", "OfRow": "%d(AX)(R10*1)",
	}[mode], i*s.size)
}

// load brings vector i of the operand to a register, and says which.
func (s *tapeSteps) load(mode string, i int) string {
	if mode == "Number" {
		if i == 0 {
			s.line("VBROADCASTSS (AX), %s", s.v(4))
		}
		return s.v(4)
	}
	s.line("VMOVUPS %s, %s", s.place(mode, i), s.v(4+i))
	return s.v(4 + i)
}

// operand is vector i of the operand as an instruction takes it: a register or memory.
func (s *tapeSteps) operand(mode string, i int) string {
	if mode == "Number" {
		return s.load(mode, i)
	}
	return s.place(mode, i)
}

// tapeOperation writes what a step does to vector i of the group.
type tapeOperation struct {
	name  string
	write func(s *tapeSteps, mode string, i int)
}

// plain is acc ∘ operand, turned is operand ∘ acc.
func plain(instruction string) func(*tapeSteps, string, int) {
	return func(s *tapeSteps, mode string, i int) {
		s.line("%s %s, %s, %s", instruction, s.operand(mode, i), s.v(i), s.v(i))
	}
}

func turned(instruction string) func(*tapeSteps, string, int) {
	return func(s *tapeSteps, mode string, i int) {
		x := s.load(mode, i)
		s.line("%s %s, %s, %s", instruction, s.v(i), x, s.v(i))
	}
}

// compared is 1 where acc ? operand, or operand ? acc, else 0.
func compared(predicate int, turned bool) func(*tapeSteps, string, int) {
	return func(s *tapeSteps, mode string, i int) {
		a, b := s.v(i), s.load(mode, i)
		if turned {
			a, b = b, a
		}
		if s.wide() {
			s.line("VCMPPS $%d, %s, %s, K5", predicate, b, a)
			s.line("VMOVAPS.Z %s, K5, %s", s.v(13), s.v(i))
			return
		}
		s.line("VCMPPS $%d, %s, %s, %s", predicate, b, a, s.v(i))
		s.line("VANDPS %s, %s, %s", s.v(13), s.v(i), s.v(i))
	}
}

// extremum is Go's max or min: NaN wins, -0 < +0.
func extremum(instruction string, choice int, both string) func(*tapeSteps, string, int) {
	return func(s *tapeSteps, mode string, i int) {
		x := s.load(mode, i)
		if s.wide() {
			s.line("VCMPPS $3, %s, %s, K5", x, s.v(i))
			s.line("VADDPS %s, %s, %s", x, s.v(i), s.v(12))
			s.line("VRANGEPS $%d, %s, %s, %s", choice, x, s.v(i), s.v(i))
			s.line("VMOVAPS %s, K5, %s", s.v(12), s.v(i))
			return
		}
		t := s.v(5) // not the operand
		if mode != "Number" {
			t = s.v(4 + (i+1)%tapeGroup)
		}
		s.line("%s %s, %s, %s", instruction, x, s.v(i), s.v(12))
		s.line("%s %s, %s, %s", instruction, s.v(i), x, t)
		s.line("%s %s, %s, %s", both, t, s.v(12), s.v(12))
		s.line("VCMPPS $3, %s, %s, %s", x, s.v(i), t)
		s.line("VORPS %s, %s, %s", t, s.v(12), s.v(i))
	}
}

// nonzero is the mask of the lanes of x that are not 0, NaN among them.
func (s *tapeSteps) nonzero(x string, i int) {
	s.line("VCMPPS $4, %s, %s, %s", s.v(15), x, s.k(i))
}

// tapeOperations take an operand in each of the modes.
var tapeOperations = []tapeOperation{
	{"Load", func(s *tapeSteps, mode string, i int) {
		if mode == "Number" {
			s.line("VBROADCASTSS (AX), %s", s.v(i))
		} else {
			s.line("VMOVUPS %s, %s", s.place(mode, i), s.v(i))
		}
	}},
	{"Add", plain("VADDPS")},
	{"Sub", plain("VSUBPS")},
	{"SubFrom", turned("VSUBPS")},
	{"Mul", plain("VMULPS")},
	{"Div", plain("VDIVPS")},
	{"DivInto", turned("VDIVPS")},
	{"Max", extremum("VMAXPS", 5, "VANDPS")},
	{"Min", extremum("VMINPS", 4, "VORPS")},
	{"Lt", compared(0x11, false)},
	{"Gt", compared(0x11, true)},
	{"Le", compared(0x12, false)},
	{"Ge", compared(0x12, true)},
	{"Eq", compared(0, false)},
	{"Test", func(s *tapeSteps, mode string, i int) { s.nonzero(s.load(mode, i), i) }},
	{"Blend", func(s *tapeSteps, mode string, i int) {
		switch {
		case s.wide() && mode == "Number":
			s.line("VBROADCASTSS (AX), %s, %s", s.k(i), s.v(i))
		case s.wide():
			s.line("VMOVUPS %s, %s, %s", s.place(mode, i), s.k(i), s.v(i))
		default:
			x := s.load(mode, i)
			s.line("VBLENDVPS %s, %s, %s, %s", s.k(i), x, s.v(i), s.v(i))
		}
	}},
}

// tapeAlone need no operand.
var tapeAlone = []tapeOperation{
	{"Neg", func(s *tapeSteps, _ string, i int) { s.bits("XOR", 14, i) }},
	{"Abs", func(s *tapeSteps, _ string, i int) {
		if s.wide() {
			s.line("VPANDND %s, %s, %s", s.v(i), s.v(14), s.v(i))
		} else {
			s.line("VANDNPS %s, %s, %s", s.v(i), s.v(14), s.v(i))
		}
	}},
	{"Sign", func(s *tapeSteps, _ string, i int) {
		if s.wide() {
			s.line("VPANDD %s, %s, %s", s.v(14), s.v(i), s.v(12))
			s.line("VPORD %s, %s, %s", s.v(13), s.v(12), s.v(12))
			s.line("VCMPPS $4, %s, %s, K5", s.v(15), s.v(i))
			s.line("VCMPPS $3, %s, %s, K6", s.v(i), s.v(i))
			s.line("VMOVAPS.Z %s, K5, %s", s.v(12), s.v(12))
			s.line("VADDPS %s, %s, K6, %s", s.v(i), s.v(i), s.v(12))
			s.line("VMOVAPS %s, %s", s.v(12), s.v(i))
			return
		}
		s.line("VANDPS %s, %s, %s", s.v(14), s.v(i), s.v(12))
		s.line("VORPS %s, %s, %s", s.v(13), s.v(12), s.v(12))
		s.line("VCMPPS $4, %s, %s, %s", s.v(15), s.v(i), s.v(4))
		s.line("VCMPPS $3, %s, %s, %s", s.v(i), s.v(i), s.v(5))
		s.line("VANDPS %s, %s, %s", s.v(4), s.v(12), s.v(12))
		s.line("VORPS %s, %s, %s", s.v(5), s.v(12), s.v(i))
	}},
	{"Sqrt", func(s *tapeSteps, _ string, i int) { s.line("VSQRTPS %s, %s", s.v(i), s.v(i)) }},
	{"Relu", func(s *tapeSteps, _ string, i int) { // VMAXPS passes NaN on as its second operand, and -0 too
		s.line("VMAXPS %s, %s, %s", s.v(i), s.v(15), s.v(i))
		s.line("VADDPS %s, %s, %s", s.v(15), s.v(i), s.v(i))
	}},
	{"Floor", func(s *tapeSteps, _ string, i int) {
		if s.wide() {
			s.line("VRNDSCALEPS $9, %s, %s", s.v(i), s.v(i))
		} else {
			s.line("VROUNDPS $9, %s, %s", s.v(i), s.v(i))
		}
	}},
	{"TestAcc", func(s *tapeSteps, _ string, i int) { s.nonzero(s.v(i), i) }},
	{"Keep", func(s *tapeSteps, _ string, i int) {
		if s.wide() {
			s.line("VMOVAPS.Z %s, %s, %s", s.v(i), s.k(i), s.v(i))
		} else {
			s.line("VANDPS %s, %s, %s", s.k(i), s.v(i), s.v(i))
		}
	}},
	{"Save", func(s *tapeSteps, _ string, i int) { s.line("VMOVUPS %s, %s", s.v(i), s.place("OfWorker", i)) }},
	{"Store", func(s *tapeSteps, _ string, i int) { s.line("VMOVUPS %s, %s", s.v(i), s.place("InOrder", i)) }},
	{"SumOne", func(s *tapeSteps, _ string, i int) { s.sums(i, 1) }},
	{"SumTwo", func(s *tapeSteps, _ string, i int) { s.sums(i, 2) }},
	{"SumGroup", func(s *tapeSteps, _ string, i int) { s.sums(i, tapeGroup) }},
	{"SumRow", func(s *tapeSteps, _ string, i int) {
		if i == 0 {
			s.line("ADDQ BX, AX")
		}
		s.line("VADDPS %s, %s, %s", s.place("OfRow", i), s.v(i), s.v(4))
		s.line("VMOVUPS %s, %s", s.v(4), s.place("OfRow", i))
	}},
}

// bits is a bitwise operation with a constant register.
func (s *tapeSteps) bits(op string, with, i int) {
	if s.wide() {
		s.line("VP%sD %s, %s, %s", op, s.v(with), s.v(i), s.v(i))
	} else {
		s.line("V%sPS %s, %s, %s", op, s.v(with), s.v(i), s.v(i))
	}
}

// sums adds vector i of the group to running sums of n vectors in the worker's memory: the group holds 4/n rows.
func (s *tapeSteps) sums(i, n int) {
	sum := s.v(4 + i%n)
	if i < n {
		s.line("VADDPS %s, %s, %s", s.place("OfWorker", i), s.v(i), sum)
	} else {
		s.line("VADDPS %s, %s, %s", s.v(i), sum, sum)
	}
	if i >= tapeGroup-n {
		s.line("VMOVUPS %s, %s", sum, s.place("OfWorker", i%n))
	}
}

// step writes one step.
func (s *tapeSteps) step(name string, op tapeOperation, mode string) {
	fmt.Fprintf(s, "\nTEXT %s<>(SB), NOSPLIT, $0-0\n", name)
	s.line("MOVQ 8(R8), AX")
	for i := range tapeGroup {
		op.write(s, mode, i)
	}
	s.line("ADDQ $16, R8")
	s.line("MOVQ (R8), DX")
	s.line("JMP DX")
}

// set writes all steps of an instruction set, the table of their addresses, and what starts them.
func (s *tapeSteps) set() {
	var names []string
	add := func(op tapeOperation, mode string) {
		name := "tape" + op.name + mode + s.name
		s.step(name, op, mode)
		names = append(names, name)
	}
	for _, op := range tapeOperations {
		for _, mode := range tapeModes {
			add(op, mode)
		}
	}
	for _, op := range tapeAlone {
		add(op, "")
	}
	end := "tapeEnd" + s.name
	names = append(names, end)
	fmt.Fprintf(s, `
TEXT %s<>(SB), NOSPLIT, $0-0
	ADDQ $%d, R9
	ADDQ $%[2]d, R10
	CMPQ R10, R13
	JLT  within
	XORQ R10, R10
within:
	MOVQ R11, R8
	MOVQ (R8), DX
	DECQ R12
	JZ   done
	JMP  DX
done:
	VZEROUPPER
	RET
`, end, tapeGroup*s.size)

	table := tapeTable(&s.Buffer, s.name, names)
	s.line("LEAQ %s<>(SB), AX", table)
	s.line("MOVQ AX, ret+0(FP)")
	s.line("RET")

	tapeRunHead(&s.Buffer, s.name)
	for i, p := range []string{"steps R11", "memory BX", "from R9", "column R10", "row R13", "groups R12"} {
		param, reg, _ := strings.Cut(p, " ")
		s.line("MOVQ %s+%d(FP), %s", param, 8*i, reg)
	}
	s.line("MOVL $0x3f800000, AX")
	s.line("MOVL $0x80000000, CX")
	for i, from := range []string{"AX", "CX"} {
		s.line("VMOVD %s, X12", from)
		s.line("VBROADCASTSS X12, %s", s.v(13+i))
	}
	if s.wide() {
		s.line("VPXORD %s, %[1]s, %[1]s", s.v(15))
	} else {
		s.line("VXORPS %s, %[1]s, %[1]s", s.v(15))
	}
	s.line("MOVQ R11, R8")
	s.line("MOVQ (R8), DX")
	s.line("JMP DX")
}

const tapeParams = "steps *tapeStep, memory *float32, from, column, row, groups int"

// tapeTable writes the table of the steps of an instruction set, names its symbol, and opens the function that gives
// its address.
func tapeTable(w *bytes.Buffer, set string, names []string) (table string) {
	table = "tapeTable" + set
	fmt.Fprintln(w)
	for i, name := range names {
		fmt.Fprintf(w, "DATA %s<>+%d(SB)/8, $%s<>(SB)\n", table, 8*i, name)
	}
	fmt.Fprintf(w, "GLOBL %s<>(SB), RODATA, $%d\n", table, 8*len(names))
	fmt.Fprintf(w, "\n// func tapeCode%s() *[%d]uintptr\nTEXT ·tapeCode%[1]s(SB), NOSPLIT, $0-8\n", set, len(names))
	return table
}

// tapeRunHead opens the function that runs a tape.
func tapeRunHead(w *bytes.Buffer, set string) {
	fmt.Fprintf(w, "\n// func tapeRun%s(%s)\nTEXT ·tapeRun%[1]s(SB), NOSPLIT, $0-48\n", set, tapeParams)
}

// tapeStubs writes the Go declarations of an instruction set's tapes.
func tapeStubs(w *bytes.Buffer, set string) {
	code, run := "tapeCode"+set, "tapeRun"+set
	n := len(tapeOperations)*len(tapeModes) + len(tapeAlone) + 1
	stub(w, code+" gives the addresses of the steps", fmt.Sprintf("%s() *[%d]uintptr", code, n))
	stub(w, run+" runs a tape over some groups", run+"("+tapeParams+")")
}

// stub writes the Go declaration of a function in assembly.
func stub(w *bytes.Buffer, says, signature string) {
	fmt.Fprintf(w, "\n// %s.\n//\n//go:noescape\nfunc %s\n", says, signature)
}

// textFiles begins the assembly of a family that is written as text, and its declarations.
func textFiles(family string) (asm, stubs *bytes.Buffer) {
	head := "// Code generated by command: go run . " + family + ". DO NOT EDIT.\n\n//go:build !purego\n\n"
	return bytes.NewBufferString(head + "#include \"textflag.h\"\n"), bytes.NewBufferString(head + "package cpu\n")
}

// tapeFiles are the assembly and its stubs.
func tapeFiles() map[string][]byte {
	asm, stubs := textFiles("tape")
	for _, s := range []*tapeSteps{{name: "AVX2", reg: "Y", size: 32}, {name: "AVX512", reg: "Z", size: 64}} {
		s.set()
		asm.Write(s.Bytes())
		tapeStubs(stubs, s.name)
	}
	return map[string][]byte{"tape_amd64.s": asm.Bytes(), "tape_amd64.go": stubs.Bytes()}
}
