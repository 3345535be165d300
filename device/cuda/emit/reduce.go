package emit

import (
	"fmt"
	"math"
	"slices"

	"bilevel/internal/expr"
	"bilevel/internal/kind"
	"bilevel/kernels"
)

// combine is the instruction of each kind, start its value for no terms.
var combine = [...]string{kind.Sum: "add.rn.f32", kind.Maximum: "max.NaN.f32"}
var start = [...]float64{kind.Sum: 0, kind.Maximum: math.Inf(-1)}

const (
	// run is the most terms that a thread adds one after the other.
	run  = 64
	warp = 32
	// SumBlock is the most terms that a Reduce adds one after the other: run in each of three passes. A pass takes
	// at least 8·run terms to one, so three are enough for 2²⁷ terms.
	SumBlock = 3 * run
	// enough is how many blocks a pass should have before threads take longer runs.
	enough = 512
)

// A shape of the work of one pass: the space is cells × terms, and a block has cells × threads of them.
type tiling struct {
	cells, terms int
	perCell      int  // threads that share a cell's terms: a power of two
	along        bool // neighbouring threads take neighbouring terms, not cells
	depth        int  // terms of a thread
	splits       int  // blocks that share a cell's terms
}

func (t tiling) blockCells() int { return block / t.perCell }
func (t tiling) grid() int       { return (t.cells + t.blockCells() - 1) / t.blockCells() * t.splits }

// tile chooses by sizes alone, so that the order of terms is the same on every card.
func tile(cells, terms int, along bool) tiling {
	t := tiling{cells: cells, terms: terms, along: along, perCell: 1}
	grow := func(most int) {
		for t.perCell < most && t.perCell < terms {
			t.perCell *= 2
		}
	}
	if along { // a warp at least, more where a thread would have more than 8 terms
		grow(32)
		for t.perCell < block && terms > 8*t.perCell {
			t.perCell *= 2
		}
	} else { // blocks are 32 cells wide, if there are so many
		width := 1
		for width < 32 && width < cells {
			width *= 2
		}
		grow(block / width)
	}
	t.depth = (terms + t.perCell - 1) / t.perCell
	t.splits = 1
	if blocks := t.grid(); t.depth > run || blocks < enough && t.depth > 8 {
		wanted := max((enough+blocks-1)/blocks, (t.depth+run-1)/run)
		t.depth = min(run, max(8, (t.depth+wanted-1)/wanted))
		t.splits = (terms + t.perCell*t.depth - 1) / (t.perCell * t.depth)
	}
	return t
}

// Reduce makes the kernels that evaluate the expression over shape and combine its first len(kinds) results over axes;
// further results are stored whole. There is at least one result of each.
//
// A thread combines at most run terms in a row, a block's threads by halves in shared memory. Where several blocks
// share a result, they store parts, which a further pass reduces in the same way.
func Reduce(e *expr.Expr, shape, axes []int, kinds []kind.Reduce, in, out []Array) Program {
	if slices.Contains(shape, 0) { // no terms
		return nothing(shape, axes, kinds, in, out)
	}
	over := func(a int) bool { return slices.Contains(axes, a) }
	s := newSpace(e, len(shape), in, out)
	kept := axesOf(shape, s.arrays, func(a int) bool { return !over(a) })
	terms := axesOf(shape, s.arrays, over)
	// The arrays of the reduced outputs end with the kept axes.
	p := Program{Text: map[string]string{}}
	t := tile(points(kept), points(terms), s.alongTerms(kept, terms))
	number := func(v int) kernels.Operand { // of an array
		if v < s.outs {
			return kernels.Operand{Number: s.ins[v], Off: s.offs[v]}
		}
		return kernels.Operand{Number: len(in) + v - s.outs, Off: s.offs[v]}
	}
	s.pass(&p, kinds, kept, terms, t, number, 0)
	for level := 1; t.splits > 1; level++ {
		// The parts are an array [kind, split, cell]; scratch memory alternates.
		cells, splits := t.cells, t.splits
		parts := &expr.Expr{}
		var ins []Array
		for k := range kinds {
			parts.Steps = append(parts.Steps, expr.Step{Fn: expr.Input, Arg: k})
			parts.Outs = append(parts.Outs, k)
			ins = append(ins, Array{Off: k * splits * cells})
		}
		next := newSpace(parts, 0, ins, out[:len(kinds)])
		var keptParts []axis
		stride := cells
		for _, x := range kept {
			stride /= x.n
			y := axis{x.n, nil}
			for range kinds {
				y.strides = append(y.strides, stride)
			}
			y.strides = append(y.strides, x.strides[s.outs:s.outs+len(kinds)]...)
			keptParts = append(keptParts, y)
		}
		split := axis{splits, make([]int, 2*len(kinds))}
		for k := range kinds {
			split.strides[k] = cells
		}
		t = tile(cells, splits, cells == 1)
		source := kernels.Scratch(level - 1)
		next.pass(&p, kinds, keptParts, []axis{split}, t, func(v int) kernels.Operand {
			if v < len(kinds) {
				return kernels.Operand{Number: source, Off: ins[v].Off}
			}
			return kernels.Operand{Number: len(in) + v - len(kinds), Off: out[v-len(kinds)].Off}
		}, level)
	}
	return p
}

// alongTerms says whether memory runs along the terms rather than along the cells.
func (s *space) alongTerms(kept, terms []axis) bool {
	if len(kept) == 0 || len(terms) == 0 {
		return len(kept) == 0
	}
	t, k := terms[len(terms)-1], kept[len(kept)-1]
	score := 0
	for v := range s.arrays[:s.outs] {
		if s.isIota(v) {
			continue
		}
		if t.strides[v] == 1 {
			score++
		}
		if k.strides[v] == 1 {
			score--
		}
	}
	return score > 0 || score == 0 && points(terms) >= points(kept)
}

// pass adds the kernel of one pass to the program. Operands of arrays are named by operand; with splits, the reduced
// results go to scratch memory of a level.
func (s *space) pass(p *Program, kinds []kind.Reduce, kept, terms []axis, t tiling, operand func(v int) kernels.Operand,
	level int) {
	n := t.cells * t.terms
	w := newWriter()
	x := newIndex(w, s.wide(append(slices.Clone(kept), terms...), max(n, len(kinds)*t.splits*t.cells)))
	w.note("%s", s.e)
	ptr := make([]string, len(s.arrays))
	var args []any
	for v := range s.arrays {
		if s.isIota(v) || t.splits > 1 && v >= s.outs && v < s.outs+len(kinds) {
			continue
		}
		ptr[v] = w.pointer(fmt.Sprintf("a%d", v))
		args = append(args, operand(v))
	}
	parts := ""
	if t.splits > 1 {
		parts = w.pointer("parts_out")
		args = append(args, kernels.Operand{Number: kernels.Scratch(level)})
		p.Workspace = append(p.Workspace, 4*len(kinds)*t.splits*t.cells)
	}

	// Where the thread is: lane among those of its cell, cell, and first term.
	tid, ctaid := w.r("mov.u32", "%tid.x"), w.r("mov.u32", "%ctaid.x")
	split := "0"
	if t.splits > 1 {
		split, ctaid = newIndex(w, false).divide(ctaid, t.grid()/t.splits)
	}
	lane, cell := w.r("and.b32", tid, integer(t.perCell-1)), w.r("shr.u32", tid, integer(log2(t.perCell)))
	if !t.along {
		cell, lane = w.r("and.b32", tid, integer(t.blockCells()-1)), w.r("shr.u32", tid, integer(log2(t.blockCells())))
	}
	cell = x.widen(w.r("mad.lo.u32", ctaid, integer(t.blockCells()), cell))
	inside := w.p(x.compare("lt"), cell, integer(t.cells))

	acc := make([]string, len(kinds))
	for k, kind := range kinds {
		acc[k] = w.f("mov.f32", number(start[kind]))
	}
	from := x.op("mad.lo", x.widen(split), integer(t.perCell*t.depth), x.widen(lane))
	term, left := w.reg(x.class()), w.r("mov.u32", integer(t.depth))
	w.into(x.move(), term, from)
	c := x.coordinates(cell, kept)
	base := make([]string, len(s.arrays)) // the cell's address in each array
	for v := range s.arrays {
		if s.isIota(v) {
			base[v] = x.offset(c, kept, v)
		} else if ptr[v] != "" {
			base[v] = x.address(ptr[v], x.offset(c, kept, v))
		}
	}
	w.when("!"+inside, "bra", "TREE")
	sum := &summand{s: s, x: x, kinds: kinds, terms: terms, base: base, acc: acc}
	if ahead := sum.ahead(t); ahead > 1 { // so many at once, while there are
		w.label("AHEAD")
		last := x.op("add", term, integer((ahead-1)*t.perCell))
		w.when(w.p(x.compare("ge"), last, integer(t.terms)), "bra", "TERMS")
		sum.add(term, ahead, t.perCell)
		w.into("add."+x.unsigned(), term, term, integer(ahead*t.perCell))
		w.into("add.s32", left, left, integer(-ahead))
		w.when(w.p("setp.ge.s32", left, integer(ahead)), "bra", "AHEAD")
		w.when(w.p("setp.eq.s32", left, "0"), "bra", "TREE")
	}
	w.label("TERMS")
	w.when(w.p(x.compare("ge"), term, integer(t.terms)), "bra", "TREE")
	sum.add(term, 1, t.perCell)
	w.into("add."+x.unsigned(), term, term, integer(t.perCell))
	w.into("add.s32", left, left, "-1")
	w.when(w.p("setp.ne.s32", left, "0"), "bra", "TERMS")
	w.label("TREE")
	x.memo = map[string]string{} // not every thread has been where its values were computed

	// Halves: lane i takes over what lane i + h has, within a warp from its register.
	mine := ""
	distance := 1 // of neighbouring lanes, in threads
	if !t.along {
		distance = t.blockCells()
	}
	shared := t.perCell*distance > warp
	if shared {
		mine = w.r("mad.lo.u32", tid, "4", w.r("mov.u32", "parts"))
		for k := range kinds {
			w.into("st.shared.f32", fmt.Sprintf("[%s+%d]", mine, 4*block*k), acc[k])
		}
	}
	for h := t.perCell / 2; h >= 1; h /= 2 {
		if h*distance < warp {
			for k, kind := range kinds {
				other := w.f("shfl.sync.down.b32", acc[k], integer(h*distance), integer(warp-1), "-1")
				w.into(combine[kind], acc[k], acc[k], other)
			}
			continue
		}
		w.into("bar.sync", "0")
		off := fmt.Sprintf("PAST%d", h)
		w.when(w.p("setp.ge.u32", lane, integer(h)), "bra", off)
		for k, kind := range kinds {
			other := w.f("ld.shared.f32", fmt.Sprintf("[%s+%d]", mine, 4*(block*k+h*distance)))
			w.into(combine[kind], acc[k], acc[k], other)
			if h*distance > warp {
				w.into("st.shared.f32", fmt.Sprintf("[%s+%d]", mine, 4*block*k), acc[k])
			}
		}
		w.label(off)
	}
	w.when("!"+inside, "bra", "END")
	w.when(w.p("setp.ne.u32", lane, "0"), "bra", "END")
	for k := range kinds {
		if t.splits == 1 {
			w.into("st.global.f32", "["+base[s.outs+k]+"]", acc[k])
			continue
		}
		at := x.op("mad.lo", x.widen(split), integer(t.cells), cell)
		w.into("st.global.f32", "["+x.address(parts, x.op("add", at, integer(k*t.splits*t.cells)))+"]", acc[k])
	}
	w.label("END")
	floats := 0
	if shared {
		floats = len(kinds) * block
	}
	entry, text := w.finish("reduce", floats)
	p.Launches = append(
		p.Launches,
		kernels.Launch{
			Module: entry, Entry: entry, Grid: [3]int{t.grid(), 1, 1}, Block: [3]int{block, 1, 1}, Args: args,
		},
	)
	p.Text[entry] = text
}

// summand is what a thread adds up of its terms.
type summand struct {
	s     *space
	x     *index
	kinds []kind.Reduce
	terms []axis
	base  []string // the cell's address in each array
	acc   []string
}

// ahead is how many terms are loaded before the first is used: the more are on their way, the better memory is used.
// Long expressions keep their registers for themselves.
func (u *summand) ahead(t tiling) int {
	steps := 0
	for _, on := range u.s.on {
		if on {
			steps++
		}
	}
	ahead := 8
	if steps > 16 {
		ahead = 4
	}
	if t.depth < ahead || steps > 48 || len(u.s.ins) == 0 {
		return 1
	}
	return ahead
}

// add takes so many terms, the first at number term, each perCell from the one before: all loads, and then sums in
// order.
func (u *summand) add(term string, count, perCell int) {
	s, x, w := u.s, u.x, u.x.w
	x.memo = map[string]string{} // computed anew in each turn of a loop
	points := make([][]string, count)
	loaded := make([]map[int]string, count)
	for i := range count {
		at := term
		if i > 0 {
			at = x.op("add", term, integer(i*perCell))
		}
		points[i] = x.coordinates(at, u.terms)
		loaded[i] = map[int]string{}
		for _, number := range s.ins {
			v := s.input[number]
			loaded[i][v] = w.op(letters[s.types[v]], "ld.global."+words[s.types[v]],
				"["+x.address(u.base[v], x.offset(points[i], u.terms, v))+"]")
		}
	}
	for i := range count {
		results := eval(w, s.e, s.on, func(step expr.Step) string {
			if step.Fn == expr.Input {
				return loaded[i][s.input[step.Arg]]
			}
			v := s.iotas[step.Arg]
			a, b := u.base[v], x.offset(points[i], u.terms, v)
			if a != "" && b != "" {
				b = x.op("add", a, b)
			} else {
				b = a + b
			}
			return x.counter(b)
		})
		for k, kind := range u.kinds {
			w.into(combine[kind], u.acc[k], u.acc[k], results[k])
		}
		for k := len(u.kinds); k < len(results); k++ {
			v := s.outs + k
			w.into(
				"st.global."+words[s.types[v]], "["+x.address(u.base[v], x.offset(points[i], u.terms, v))+"]",
				results[k],
			)
		}
	}
}

// widen brings a 32-bit register to the index's width.
func (x *index) widen(r string) string {
	if !x.wide {
		return r
	}
	return x.w.op('d', "cvt.u64.u32", r)
}

func (x *index) class() byte {
	if x.wide {
		return 'd'
	}
	return 'r'
}

func (x *index) unsigned() string { return map[bool]string{false: "u32", true: "u64"}[x.wide] }
func (x *index) move() string     { return "mov." + x.unsigned() }

// nothing stores what no terms give.
func nothing(shape, axes []int, kinds []kind.Reduce, in, out []Array) Program {
	kept := slices.Clone(shape)
	for _, a := range axes {
		kept[a] = 1
	}
	e := &expr.Expr{}
	for k, kind := range kinds {
		e.Steps = append(e.Steps, expr.Step{Fn: expr.Const, Const: start[kind]})
		e.Outs = append(e.Outs, k)
	}
	return Map(e, kept, in, out[:len(kinds)])
}
