package cpu

import "bilevel/internal/expr"

// blockLen is the number of points that a program computes at a time: 8 KiB per register, so that a few registers stay
// in the first-level cache while the cost of calling a loop (a few ns) is spread over many elements.
const blockLen = 2048

// lineLen is the number of elements of a cache line.
const lineLen = 16

// program is an expression made ready: straight-line code over blocks of at most blockLen consecutive points of a
// space, one loop of its level per instruction. compile makes it.
//
// A value lies in a scratch register, in place in an operand that is dense, or, where it is the same at all points, in
// a slot that prelude computes once per run.
type program struct {
	points  int
	code    []instr
	prelude []instr

	sources []operand // inputs, and the indices along axes
	sinks   []operand // stored results
	results []result  // kept results
	reals   []float32 // slots
	ints    []int32

	loops *loops

	realRegs, intRegs int     // scratch registers of blockLen elements
	cost              float64 // nanoseconds per point, roughly
	far               bool    // the sources lie in memory, not in a cache, and are worth a prefetch
}

// operand is memory that a program reads or writes.
type operand struct {
	operandIter
	real []float32
	int  []int32
}

// result is a value that the program leaves in place for its caller: a, or a ⊙ b where b is somewhere.
type result struct{ a, b place }

// place says where a value lies.
type place struct {
	at spot
	n  int
}

type spot uint8

const (
	nowhere  spot = iota
	register      // scratch register n of the worker
	source        // source n in place
	sink          // sink n in place
	given         // the slice that the caller hands to run
	slot          // slot n
)

// instr is one instruction. k and ik say which loop, form which kind of it.
type instr struct {
	form         form
	fn           fn // where k or ik is set
	k            *realKernel
	ik           *intKernel
	dst, a, b, c place
}

type form uint8

const (
	formV form = iota
	formVV
	formVS
	formSV
	formVVV
	formVVS
	formVSV
	formVSS
	formInt       // Int, Int → Int
	formCompare   // Int, Int → Real
	formCast      // Int → Real
	formTruncate  // Real → Int
	formLoad      // source a.n → dst
	formLoadInt   //
	formIota      // offsets of source a.n → dst
	formSpread    // slot a → all of dst
	formSpreadInt //
	formStore     // a → sink dst.n
	formStoreInt  //
)

// frame is one call of a program: the points lo…lo+n-1, on worker w, which will go on with the next points.
type frame struct {
	w     *Worker
	lo, n int
	given []float32
	next  int
}

// begin computes what is the same at all points. It must be called before the blocks of each run.
func (p *program) begin(w *Worker) {
	if len(p.prelude) > 0 {
		p.exec(p.prelude, &frame{w: w, n: 1})
	}
}

// run computes n ≤ blockLen points from number lo on; first is what compile called the given input, or nil.
func (p *program) run(w *Worker, lo, n int, first []float32) {
	p.exec(p.code, &frame{w: w, lo: lo, n: n, given: first})
}

func (p *program) exec(code []instr, f *frame) {
	ahead := 0 // points that each instruction prefetches
	if p.far && f.next > 0 {
		ahead = (f.next/len(code) + lineLen - 1) / lineLen * lineLen
	}
	for i := range code {
		in := &code[i]
		if ahead > 0 {
			p.prefetch(f, i*ahead, ahead)
		}
		switch in.form {
		case formV:
			in.k.v(p.real(in.dst, f), p.real(in.a, f))
		case formVV:
			in.k.vv(p.real(in.dst, f), p.real(in.a, f), p.real(in.b, f))
		case formVS:
			in.k.vs(p.real(in.dst, f), p.real(in.a, f), p.reals[in.b.n])
		case formSV:
			in.k.sv(p.real(in.dst, f), p.reals[in.a.n], p.real(in.b, f))
		case formVVV:
			in.k.vvv(p.real(in.dst, f), p.real(in.a, f), p.real(in.b, f), p.real(in.c, f))
		case formVVS:
			in.k.vvs(p.real(in.dst, f), p.real(in.a, f), p.real(in.b, f), p.reals[in.c.n])
		case formVSV:
			in.k.vsv(p.real(in.dst, f), p.real(in.a, f), p.reals[in.b.n], p.real(in.c, f))
		case formVSS:
			in.k.vss(p.real(in.dst, f), p.real(in.a, f), p.reals[in.b.n], p.reals[in.c.n])
		case formInt:
			in.ik.toInt(p.int(in.dst, f), p.int(in.a, f), p.int(in.b, f))
		case formCompare:
			in.ik.toReal(p.real(in.dst, f), p.int(in.a, f), p.int(in.b, f))
		case formCast:
			in.ik.cast(p.real(in.dst, f), p.int(in.a, f))
		case formTruncate:
			in.ik.trunc(p.int(in.dst, f), p.real(in.a, f))
		case formLoad:
			s := &p.sources[in.a.n]
			p.load(&s.operandIter, p.real(in.dst, f), s.real, f.lo)
		case formLoadInt:
			s := &p.sources[in.a.n]
			p.load(&s.operandIter, words(p.int(in.dst, f)), words(s.int), f.lo)
		case formIota:
			p.sources[in.a.n].loadIota(p.int(in.dst, f), f.lo)
		case formSpread:
			p.loops.fill(p.real(in.dst, f), p.reals[in.a.n])
		case formSpreadInt:
			fill(p.int(in.dst, f), p.ints[in.a.n])
		case formStore:
			s := &p.sinks[in.dst.n]
			store(&s.operandIter, s.real, p.real(in.a, f), f.lo)
		case formStoreInt:
			s := &p.sinks[in.dst.n]
			store(&s.operandIter, s.int, p.int(in.a, f), f.lo)
		}
	}
}

// load computes dst[i] = the element of src at point lo+i.
func (p *program) load(l *operandIter, dst, src []float32, lo int) {
	if l.kind != stretch {
		load(l, dst, src, lo)
		return
	}
	c := l.shape[1]
	src = src[l.off+lo/c:]
	if past := lo % c; past > 0 { // the end of a row
		n := min(c-past, len(dst))
		fill(dst[:n], src[0])
		dst, src = dst[n:], src[1:]
	}
	rows := len(dst) / c
	p.loops.spread(dst[:rows*c], src[:rows], c)
	if rest := dst[rows*c:]; len(rest) > 0 {
		fill(rest, src[rows])
	}
}

// prefetch fetches n of the next points, from on, of every source that is read in place. Where few of the instructions
// of a block read memory, the memory would rest in between.
func (p *program) prefetch(f *frame, from, n int) {
	if n = min(n, f.next-from); n <= 0 {
		return
	}
	for i := range p.sources {
		if s := &p.sources[i]; s.kind == dense && s.real != nil {
			p.loops.prefetch(s.real[s.off+f.lo+f.n+from:][:n])
		}
	}
}

// real is the slice that holds a Real value during f.
func (p *program) real(at place, f *frame) []float32 {
	switch at.at {
	case register:
		return f.w.real[at.n*blockLen:][:f.n]
	case source:
		s := &p.sources[at.n]
		return s.real[s.off+f.lo:][:f.n]
	case sink:
		s := &p.sinks[at.n]
		return s.real[s.off+f.lo:][:f.n]
	case given:
		return f.given[:f.n]
	default:
		return p.reals[at.n:][:f.n]
	}
}

// int is the slice that holds an Int value during f.
func (p *program) int(at place, f *frame) []int32 {
	switch at.at {
	case register:
		return f.w.int[at.n*blockLen:][:f.n]
	case source:
		s := &p.sources[at.n]
		return s.int[s.off+f.lo:][:f.n]
	case sink:
		s := &p.sinks[at.n]
		return s.int[s.off+f.lo:][:f.n]
	default:
		return p.ints[at.n:][:f.n]
	}
}

// types of arrays, as expr wants them.
func typesOf(arrays []Array) []expr.Type {
	types := make([]expr.Type, len(arrays))
	for i := range arrays {
		if arrays[i].Int != nil {
			types[i] = expr.Int
		}
	}
	return types
}
