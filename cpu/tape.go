package cpu

import (
	"math"
	"unsafe"

	"bilevel/internal/expr"
)

// A tape runs a program's arithmetic in registers. The loops of a level compute one instruction for a whole block, so
// that every value is written to a cache and read again: 2.7 cycles for a vector and an instruction, and none of it
// while memory is waited for. A tape computes all instructions for a group of four vectors, then for the next group. It
// is a list of steps; a step is a few machine instructions for the group, written beforehand (_asm/tape.go), which end
// with a jump to the next step. So no code is made at run time, and each value stays in the accumulators, four
// registers, until the step after it has used it; what is needed later goes to a few lines of the worker's memory.
//
//	relu((x - m)·s + b)       Load x, Sub m, Mul s, Add b, Relu, Store
//
// Steps give the bits of the loops. A program has a tape if all its instructions are among them and its operands are
// dense arrays, numbers, or rows that are repeated and whose length divides the group or is a multiple of it. What is
// left beyond the last whole group is computed by the loops.
type tape struct {
	program *program
	machine *tapeMachine
	steps   []tapeStep
	fills   []tapeFill
	row     int   // elements of the rows that are longer than a group, all of one length; 0: there are none
	memory  int   // elements of the worker's memory
	sums    []int // where in the worker's memory the sums of each kept result are
	columns int   // numbers in each of them, 0 where nothing is summed
}

// tapeStep is the address of a step's code, and the place of its operand: an address, or bytes from the beginning of
// the worker's memory. What addresses point at lives as long as the program, which holds it.
type tapeStep struct{ code, at uintptr }

// tapeFill is a short row, repeated in the worker's memory until it fills a group.
type tapeFill struct{ source, at int }

// tapeMachine are the steps of a level.
type tapeMachine struct {
	code  []uintptr
	run   func(steps *tapeStep, memory *float32, from, column, row, groups int)
	group int // elements
}

// tapeOp names a step, in the order of the table of codes.
type tapeOp uint8

const (
	tapeLoad tapeOp = iota
	tapeAdd
	tapeSub
	tapeSubFrom // operand - accumulator
	tapeMul
	tapeDiv
	tapeDivInto
	tapeMax
	tapeMin
	tapeLt
	tapeGt
	tapeLe
	tapeGe
	tapeEq
	tapeTest  // the mask of a choice: where the operand is not 0
	tapeBlend // the operand where the mask is set
	tapeNeg   // from here on without operand
	tapeAbs
	tapeSign
	tapeSqrt
	tapeRelu
	tapeFloor
	tapeTestAcc
	tapeKeep     // 0 where the mask is not set
	tapeSave     // to the worker's memory
	tapeStore    // in order
	tapeSumOne   // to the sums of a row of one vector
	tapeSumTwo   // two
	tapeSumGroup // four
	tapeSumRow   // more
	tapeEnd
	numTapeOps
)

// tapeMode is where an operand lies.
type tapeMode uint8

const (
	inOrder tapeMode = iota
	ofWorker
	ofRow
	ofNumber
	numTapeModes
)

// at is the place of a step's code in the table.
func (op tapeOp) at(mode tapeMode) int {
	if op < tapeNeg {
		return int(numTapeModes)*int(op) + int(mode)
	}
	return int(numTapeModes)*int(tapeNeg) + int(op-tapeNeg)
}

// tapeFn are the steps of functions: of the first operand and the second, and of the two in turn; of one operand both
// are the same.
var tapeFn = map[fn][2]tapeOp{
	expr.Add: {tapeAdd, tapeAdd}, expr.Sub: {tapeSub, tapeSubFrom}, expr.Mul: {tapeMul, tapeMul},
	expr.Div: {tapeDiv, tapeDivInto}, expr.Max: {tapeMax, tapeMax}, expr.Min: {tapeMin, tapeMin},
	expr.Lt: {tapeLt, tapeGt}, expr.Le: {tapeLe, tapeGe}, expr.Eq: {tapeEq, tapeEq},
	expr.Neg: {tapeNeg, tapeNeg}, expr.Abs: {tapeAbs, tapeAbs}, expr.Sign: {tapeSign, tapeSign},
	expr.Sqrt: {tapeSqrt, tapeSqrt}, expr.Relu: {tapeRelu, tapeRelu}, expr.Floor: {tapeFloor, tapeFloor},
}

// leastTape is the fewest instructions that a tape is made for: of fewer the loops wait for memory all the time too.
const leastTape = 2

// newTape makes the tape of a program whose kept results, if any, are to be summed: with columns of 1 all terms, else
// the rows of so many numbers. nil: there is none.
func newTape(p *program, level Level, columns int) *tape {
	m := tapeMachineOf(level)
	if m == nil || p.points < m.group || len(p.code) < leastTape {
		return nil
	}
	b := &taper{
		tape:  &tape{program: p, machine: m},
		homes: map[int]int{}, saved: map[int]bool{}, rows: map[int]tapeRow{},
	}
	if len(p.results) > 0 && !b.roomForSums(columns) {
		return nil
	}
	for i := range p.code {
		if b.i = i; !b.instruction(&p.code[i]) {
			return nil
		}
	}
	b.i = len(p.code)
	if !b.lastSums() {
		return nil
	}
	b.emit(tapeEnd, 0, 0)
	return b.tape
}

// run computes whole groups of the points lo…lo+n-1, and says how many points that were.
func (t *tape) run(w *Worker, lo, n int) (done int) {
	groups := n / t.machine.group
	column := 0
	if t.row > 0 {
		column = lo % t.row
	}
	if groups == 0 || column%t.machine.group != 0 {
		return 0
	}
	for _, f := range t.fills {
		s := &t.program.sources[f.source]
		load(&s.operandIter, w.real[f.at:][:t.machine.group], s.real, lo)
	}
	const bytes = 4
	t.machine.run(&t.steps[0], unsafe.SliceData(w.real), bytes*lo, bytes*column, bytes*t.row, groups)
	return groups * t.machine.group
}

// sum is run that adds up the kept results, from nothing: see result for the sums.
func (t *tape) sum(w *Worker, lo, n int) (done int) {
	zero := float32(0)
	if t.columns > 1 { // the first row is copied, not added to 0: -0 stays
		zero = float32(math.Copysign(0, -1))
	}
	for _, at := range t.sums {
		fill(w.real[at:][:max(t.columns, t.machine.group)], zero)
	}
	return t.run(w, lo, n)
}

// result gives the sums of result j to dst.
func (t *tape) result(w *Worker, j int, dst []float32) {
	if t.columns > 1 {
		copy(dst, w.real[t.sums[j]:])
		return
	}
	dst[0] = addHalves(w.real[t.sums[j]:][:sumLanes])
}

// scratch is the worker's memory that a tape needs, none where there is no tape.
func (t *tape) scratch() int {
	if t == nil {
		return 0
	}
	return t.memory
}
