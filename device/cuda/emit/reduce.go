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
// share a result, they store parts, which a further pass reduces in the same way. The last pass is done by those blocks
// of the one before that are the last of the cells they have in common.
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
		before := t
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
		if t.splits == 1 {
			p.joinLast(before, t)
		}
	}
	return p
}

// joinLast makes one launch of the last two, which are of these passes, if their texts can be joined.
func (p *Program) joinLast(a, b tiling) {
	n := len(p.Launches) - 2
	first, second := p.Launches[n], p.Launches[n+1]
	k, err := Join(Joint{
		Name:   "reduce",
		Beside: []Part{{first, p.Text[first.Module]}},
		Steps:  [][]Part{{{second, p.Text[second.Module]}}},
		Teams: Teams{
			Columns: a.grid() / a.splits, Width: max(1, b.blockCells()/a.blockCells()),
			Share: max(1, a.blockCells()/b.blockCells()),
		},
	})
	if err != nil {
		return
	}
	delete(p.Text, first.Module)
	delete(p.Text, second.Module)
	p.Text[k.Entry] = k.Text
	p.Counters = k.Counters
	p.Launches = append(p.Launches[:n], kernels.Launch{
		Module: k.Entry, Entry: k.Entry, Grid: first.Grid, Block: first.Block,
		Args: slices.Concat(first.Args, second.Args, []any{kernels.Operand{Number: kernels.Counter}}),
	})
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
	term := w.reg(x.class())
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
	sum := &summand{s: s, x: x, kinds: kinds, terms: terms, base: base, acc: acc, perCell: t.perCell}
	sum.all(t, term)
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

// A summand is what a thread adds up of its terms.
type summand struct {
	s       *space
	x       *index
	kinds   []kind.Reduce
	terms   []axis
	base    []string // the cell's address in each array
	acc     []string
	perCell int // from one term of the thread to the next
}

// ahead is how many terms of a thread are loaded before the first is used: the more loads are on their way, the better
// memory is used. There are at least 8, but for expressions so long that memory is not what they wait for.
func (u *summand) ahead(depth int) int {
	steps := 0
	for _, on := range u.s.on {
		if on {
			steps++
		}
	}
	const few = 16 // steps
	switch {
	case len(u.s.ins) == 0 || steps > longest:
		return 1
	case len(u.s.ins) > 1 && steps > few:
		return min(4, depth)
	}
	return min(8, depth)
}

// all adds up the terms of a thread, of which term is the first: in groups as long as a whole one is there, and then
// the rest.
func (u *summand) all(t tiling, term string) {
	x, w := u.x, u.x.w
	end := x.op("min", x.op("add", term, integer(t.depth*t.perCell)), integer(t.terms))
	ahead := u.ahead(t.depth)
	rest := ahead
	if t.depth > ahead {
		rest = max(1, ahead-1)
		w.label("AHEAD")
		last := x.op("add", term, integer((ahead-1)*t.perCell))
		w.when(w.p(x.compare("ge"), last, end), "bra", "REST")
		u.add(term, ahead, "")
		w.into("add."+x.unsigned(), term, term, integer(ahead*t.perCell))
		w.into("bra", "AHEAD")
		w.label("REST")
	}
	if ahead > 1 || t.depth == 1 {
		u.add(term, rest, end)
	}
}

// add takes so many terms from number term on: all loads, and then sums in order. With an end, there may be fewer
// terms.
func (u *summand) add(term string, count int, end string) {
	s, x, w := u.s, u.x, u.x.w
	x.memo = map[string]string{} // computed anew in each turn of a loop
	numbers, there := make([]string, count), make([]string, count)
	loaded := make([][]string, count) // by array
	for i := range count {
		numbers[i], loaded[i] = term, make([]string, len(s.ins))
		if end != "" {
			if i > 0 {
				numbers[i] = x.op("add", term, integer(i*u.perCell))
			}
			there[i] = w.p(x.compare("lt"), numbers[i], end)
		}
		for v := range s.ins {
			if i > 0 && len(u.terms) == 1 && u.terms[0].strides[v] == 0 {
				loaded[i][v] = loaded[0][v]
				continue
			}
			loaded[i][v] = w.reg(letters[s.types[v]])
			load := "ld.global." + words[s.types[v]]
			if end != "" {
				load = "@" + there[i] + " " + load
			}
			w.into(load, loaded[i][v], u.address(term, i, v))
		}
	}
	for i := range count {
		if end != "" {
			w.when("!"+there[i], "bra", "TREE")
		}
		results := eval(w, s.e, s.on, func(step expr.Step) string {
			if step.Fn == expr.Input {
				return loaded[i][s.input[step.Arg]]
			}
			v := s.iotas[step.Arg]
			a, b := u.base[v], x.offset(u.place(term, i), u.terms, v)
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
			w.into("st.global."+words[s.types[v]], u.address(term, i, v), results[k])
		}
	}
}

// place gives the coordinates of the i-th term from number term on.
func (u *summand) place(term string, i int) []string {
	if i > 0 {
		term = u.x.op("add", term, integer(i*u.perCell))
	}
	return u.x.coordinates(term, u.terms)
}

// address is that of array v at the i-th term from number term on, in brackets. Along one axis it lies at a fixed
// distance from that of the first.
func (u *summand) address(term string, i, v int) string {
	const far = 1 << 28 // elements, so that the distance in bytes is a number that an instruction holds
	if len(u.terms) == 1 && i*u.perCell*u.terms[0].strides[v] < far {
		first := u.x.offset(u.place(term, 0), u.terms, v)
		return step(u.x.address(u.base[v], first), i*u.perCell*u.terms[0].strides[v])
	}
	return "[" + u.x.address(u.base[v], u.x.offset(u.place(term, i), u.terms, v)) + "]"
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
