package cpu

import (
	"math"
	"slices"
	"unsafe"

	"bilevel/internal/expr"
)

// taper makes a tape.
type taper struct {
	*tape
	i     int             // the instruction at hand
	holds place           // whose value the accumulators hold
	homes map[int]int     // where in the worker's memory the value of a register goes, if it goes there
	saved map[int]bool    // whether it is there
	rows  map[int]tapeRow // registers that stand for a repeated row
}

// tapeRow is a repeated row as an operand.
type tapeRow struct {
	mode tapeMode
	at   uintptr
}

func (b *taper) emit(op tapeOp, mode tapeMode, at uintptr) {
	b.steps = append(b.steps, tapeStep{b.machine.code[op.at(mode)], at})
}

// take reserves n elements of the worker's memory.
func (b *taper) take(n int) (at int) {
	at = b.memory
	b.memory += roundUp(n, b.machine.group)
	return at
}

// roomForSums prepares for sums of rows of so many columns; false: it cannot be done.
func (b *taper) roomForSums(columns int) bool {
	g := b.machine.group
	switch {
	case columns == 1 && g != sumLanes:
		return false
	case columns > g && columns%g == 0:
		b.row = columns
	case columns != 1 && columns != g/4 && columns != g/2 && columns != g:
		return false
	}
	b.columns = columns
	for range b.program.results {
		b.sums = append(b.sums, b.take(max(columns, g)))
	}
	return true
}

// add adds the accumulators to the sums of result j.
func (b *taper) add(j int) {
	op := tapeSumGroup
	switch g := b.machine.group; b.columns {
	case 1, g:
	case g / 4:
		op = tapeSumOne
	case g / 2:
		op = tapeSumTwo
	default:
		op = tapeSumRow
	}
	b.emit(op, 0, uintptr(4*b.sums[j]))
}

// lastSums adds up the results that no instruction computes: operands as they are, and products of two factors.
func (b *taper) lastSums() bool {
	for j, r := range b.program.results {
		switch {
		case r.b.at != nowhere:
			if !b.readable(r.a) || !b.readable(r.b) {
				return false
			}
			b.operate(tapeMul, tapeMul, r.a, r.b)
			b.holds = place{}
		case r.a.at == source || r.a.at == register && b.isRow(r.a):
			if !b.readable(r.a) {
				return false
			}
			b.bring(r.a)
		default:
			continue // it was added when it was computed
		}
		b.add(j)
	}
	return true
}

func (b *taper) isRow(x place) bool {
	_, ok := b.rows[x.n]
	return ok
}

// readable says whether a step can have a place as its operand.
func (b *taper) readable(x place) bool {
	return x.at != given && (x.at != source || b.program.sources[x.n].kind == dense)
}

// instruction writes the steps of one instruction; false: there are none for it.
func (b *taper) instruction(in *instr) bool {
	for _, x := range in.operands() {
		if in.form != formLoad && !b.readable(x) {
			return false
		}
	}
	switch in.form {
	case formLoad:
		return b.load(in)
	case formSpread:
		b.bring(in.a)
	case formStore:
		if b.program.sinks[in.dst.n].kind != dense {
			return false
		}
		b.bring(in.a)
		b.store(in.dst.n)
		return true
	case formV, formVV, formVS, formSV, formVVV, formVVS, formVSV, formVSS:
		if !b.compute(in) {
			return false
		}
	default:
		return false
	}
	return b.keep(in.dst)
}

// operands are the places that an instruction reads.
func (in *instr) operands() []place {
	n := 1
	switch in.form {
	case formVVV, formVVS, formVSV, formVSS:
		n = 3
	case formVV, formVS, formSV:
		n = 2
	}
	return []place{in.a, in.b, in.c}[:n]
}

// keep says that the accumulators hold the value of dst, which is stored where it is a sink and added up where it is a
// result.
func (b *taper) keep(dst place) bool {
	b.holds = dst
	switch dst.at {
	case register:
		delete(b.saved, dst.n)
		delete(b.rows, dst.n)
	case sink:
		if b.program.sinks[dst.n].kind != dense {
			return false
		}
		b.store(dst.n)
	}
	for j, r := range b.program.results {
		if r.a == dst && r.b.at == nowhere && !b.written(dst) {
			b.add(j)
		}
	}
	return true
}

// written says whether a later instruction writes to a place.
func (b *taper) written(dst place) bool {
	return slices.ContainsFunc(b.program.code[b.i+1:], func(in instr) bool { return in.dst == dst })
}

func (b *taper) store(sink int) {
	s := &b.program.sinks[sink]
	b.emit(tapeStore, 0, address(s.real, s.off))
}

func address(a []float32, off int) uintptr { return uintptr(unsafe.Pointer(&a[off])) }

// load makes a register stand for a repeated row, or loads an array.
func (b *taper) load(in *instr) bool {
	s := &b.program.sources[in.a.n]
	switch g := b.machine.group; {
	case s.real == nil || in.dst.at != register:
		return false
	case s.kind == dense:
		b.bring(in.a)
		return b.keep(in.dst)
	case s.kind != cycle:
		return false
	case g%s.shape[1] == 0:
		at := b.take(g)
		b.fills = append(b.fills, tapeFill{in.a.n, at})
		b.rows[in.dst.n] = tapeRow{ofWorker, uintptr(4 * at)}
	case s.shape[1]%g == 0 && (b.row == 0 || b.row == s.shape[1]):
		b.row = s.shape[1]
		b.rows[in.dst.n] = tapeRow{ofRow, address(s.real, s.off)}
	default:
		return false
	}
	if b.holds == in.dst {
		b.holds = place{}
	}
	delete(b.saved, in.dst.n)
	return true
}

// with writes a step with an operand.
func (b *taper) with(op tapeOp, x place) {
	p := b.program
	switch x.at {
	case slot:
		b.emit(op, ofNumber, address(p.reals, x.n))
	case source:
		b.emit(op, inOrder, address(p.sources[x.n].real, p.sources[x.n].off))
	case sink:
		b.emit(op, inOrder, address(p.sinks[x.n].real, p.sinks[x.n].off))
	default:
		if r, ok := b.rows[x.n]; ok {
			b.emit(op, r.mode, r.at)
			return
		}
		b.emit(op, ofWorker, uintptr(4*b.homes[x.n]))
	}
}

// bring loads x, unless it is there. unread are operands of the instruction that are still to be read.
func (b *taper) bring(x place, unread ...place) {
	if b.holds == x {
		return
	}
	b.spare(unread...)
	b.with(tapeLoad, x)
	b.holds = x
}

// spare saves what the accumulators hold, if it is read again and lies nowhere else.
func (b *taper) spare(unread ...place) {
	x := b.holds
	if x.at != register || b.saved[x.n] || b.isRow(x) || !slices.Contains(unread, x) && !b.needed(x) {
		return
	}
	if _, ok := b.homes[x.n]; !ok {
		b.homes[x.n] = b.take(b.machine.group)
	}
	b.emit(tapeSave, 0, uintptr(4*b.homes[x.n]))
	b.saved[x.n] = true
}

// needed says whether an instruction after this one, or a result, reads the value that a register has now.
func (b *taper) needed(x place) bool {
	for i := b.i + 1; i < len(b.program.code); i++ {
		in := &b.program.code[i]
		if slices.Contains(in.operands(), x) {
			return true
		}
		if in.dst == x {
			return false
		}
	}
	return slices.ContainsFunc(b.program.results, func(r result) bool {
		return r.b.at != nowhere && (r.a == x || r.b == x)
	})
}

// operate computes x ∘ y by the step op, or turned, which takes them the other way round.
func (b *taper) operate(op, turned tapeOp, x, y place, unread ...place) {
	if b.holds != x && (b.holds == y || x.at == slot) {
		x, y, op = y, x, turned
	}
	unread = append(unread, y)
	b.bring(x, unread...)
	b.spare(unread...)
	b.with(op, y)
	b.holds = place{}
}

// compute writes the steps of a function.
func (b *taper) compute(in *instr) bool {
	ops, ok := tapeFn[in.fn]
	switch {
	case ok && in.form == formV:
		b.bring(in.a)
		b.spare()
		b.emit(ops[0], 0, 0)
	case ok:
		b.operate(ops[0], ops[1], in.a, in.b)
	case in.fn == mulAdd:
		b.operate(tapeMul, tapeMul, in.a, in.b, in.c)
		b.with(tapeAdd, in.c)
	case in.fn == subMul:
		b.operate(tapeMul, tapeMul, in.a, in.b, in.c)
		b.with(tapeSubFrom, in.c)
	case in.fn == expr.Where:
		b.choose(in.a, in.b, in.c)
	case in.fn == expr.Clamp:
		b.operate(tapeMax, tapeMax, in.a, in.b, in.c)
		b.with(tapeMin, in.c)
	default:
		return false
	}
	return true
}

// choose is yes where mask is not 0, else no.
func (b *taper) choose(mask, yes, no place) {
	if b.holds == mask {
		b.emit(tapeTestAcc, 0, 0)
	} else {
		b.with(tapeTest, mask)
	}
	if b.isZero(no) {
		b.bring(yes)
		b.spare()
		b.emit(tapeKeep, 0, 0)
		return
	}
	b.bring(no, yes)
	b.spare(yes)
	b.with(tapeBlend, yes)
}

// isZero says whether a place is a slot that always holds +0.
func (b *taper) isZero(x place) bool {
	return x.at == slot && math.Float32bits(b.program.reals[x.n]) == 0 &&
		!slices.ContainsFunc(b.program.prelude, func(in instr) bool { return in.dst == x })
}
