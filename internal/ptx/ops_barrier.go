package ptx

import "bilevel/internal/ptx/syntax"

// barrierKind is what a barrier instruction does besides arriving.
type barrierKind uint8

const (
	barrierSync barrierKind = iota
	barrierArrive
	barrierPopc
	barrierAnd
	barrierOr
)

// A barrierOp is a decoded barrier instruction.
type barrierOp struct {
	kind    barrierKind
	aligned bool
	id      int32 // register
	count   int32 // register with the number of threads, or -1 for all
	pred    int32
	not     uint32
}

func barrierForms() []form {
	c := ClassBarrier
	return []form{
		{op: "bar", suffixes: "cta? sync", class: c, build: barrierForm(barrierSync, true)},
		{op: "bar", suffixes: "cta? arrive", class: c, build: barrierForm(barrierArrive, true)},
		{op: "bar", suffixes: "cta? red popc u32", class: c, build: barrierForm(barrierPopc, true)},
		{op: "bar", suffixes: "cta? red and|or pred", class: c, build: barrierForm(barrierPopc, true)},
		{op: "barrier", suffixes: "cta? sync aligned?", class: c, build: barrierForm(barrierSync, false)},
		{op: "barrier", suffixes: "cta? arrive aligned?", class: c, build: barrierForm(barrierArrive, false)},
		{op: "barrier", suffixes: "cta? red popc aligned? u32", class: c, build: barrierForm(barrierPopc, false)},
		{op: "barrier", suffixes: "cta? red and|or aligned? pred", class: c, build: barrierForm(barrierPopc, false)},
		{op: "bar", suffixes: "warp sync", class: ClassWarp, build: func(d *decoder) {
			d.args(1, 1)
			d.in.flow, d.in.a, d.in.imm = flowWarp, d.src32(d.arg(0)), rendezvousMark
			d.in.run = func(*warp, *instr, uint32) {}
		}},
		{op: "membar", suffixes: "cta|gl|sys", class: c, build: fence},
		{op: "fence", suffixes: "sc|acq_rel? cta|cluster|gpu|sys", class: c, build: fence},
		{op: "fence", suffixes: "acquire|release cta|cluster|gpu|sys", class: c, build: fence},
		{op: "fence", suffixes: "mbarrier_init release cluster", class: c, build: nothing},
		{op: "fence", suffixes: "proxy alias", class: c, build: nothing},
		{op: "fence", suffixes: "proxy async global|shared::cta|shared::cluster?", class: c, build: nothing},
	}
}

// fence orders memory for the sanitizer; the simulator's own memory is sequentially consistent between instructions.
func fence(d *decoder) {
	reach := d.scope()
	d.in.run = func(w *warp, in *instr, mask uint32) {
		if w.san != nil {
			w.san.fence(w, mask, reach)
		}
	}
}

func barrierForm(kind barrierKind, aligned bool) func(*decoder) {
	return func(d *decoder) {
		op := barrierOp{kind: kind, aligned: aligned || d.has("aligned"), count: -1, pred: -1}
		args := d.src.Args
		if kind == barrierPopc {
			d.args(3, 4)
			switch d.which("popc", "and", "or") {
			case "and":
				op.kind = barrierAnd
			case "or":
				op.kind = barrierOr
			}
			w := widthPred
			if op.kind == barrierPopc {
				w = width32
			}
			d.in.d = d.dst(args[0], w)
			p := args[len(args)-1]
			op.pred, op.not = d.pred(p), flip(p.Not)
			args = args[1 : len(args)-1]
		} else {
			d.args(1, 2)
		}
		op.id = d.src32(args[0])
		if args[0].Kind == syntax.Integer && args[0].Bits > 15 {
			d.fail("a block has barriers 0 to 15")
		}
		if len(args) > 1 {
			op.count = d.src32(args[1])
		}
		if op.kind == barrierArrive && op.count < 0 {
			d.fail("arrive needs a number of threads")
		}
		d.in.flow, d.in.x = flowBarrier, &extra{barrier: op}
	}
}
