package cpu

import (
	"slices"

	"bilevel/internal/expr"
	"bilevel/internal/kind"
)

// Reduce evaluates an expression over a space and reduces some of its results over some axes. See NewReduce.
//
// Neighbouring axes are merged; then a reduction over any axes is a chain of stages [o, r, k] → [o, k], the innermost
// reduced axis first. The first stage reads the expression's blocks, a later one the array of the stage before.
type Reduce struct {
	pool   *Pool
	loops  *loops
	prog   *program
	tape   *tape // of the first stage; nil: it is computed one instruction after the other
	kinds  []kind.Reduce
	out    []operand
	kept   int // points of an output
	stages []*reduceStage
}

// NewReduce makes a Reduce over the points of shape. The expression's first len(kinds) results are reduced over axes
// and go to out[:len(kinds)], whose shape is shape with those axes 1; further results are stored whole.
//
// The order of the terms depends on the shape alone. A sum of no terms is 0, a maximum of none -Inf; in a maximum NaN
// wins. A sum over one group of neighbouring axes adds at most SumBlock/2 terms in a row and goes on by a tree.
func NewReduce(pool *Pool, e *expr.Expr, shape, axes []int, kinds []kind.Reduce, in, out []Array) *Reduce {
	r := &Reduce{pool: pool, loops: loopsOf(pool.level), kinds: kinds, kept: size(out[0].Shape)}
	for i := range kinds {
		r.out = append(r.out, operand{operandIter: iterOf(&out[i]), real: out[i].Real})
	}
	if size(shape) > 0 {
		r.plan(shape, axes)
	}
	r.prog = compile(spec{
		level: pool.level, expr: e, shape: shape, in: in, out: out[len(kinds):],
		dots: len(r.stages) > 0 && r.stages[0].k == 1 && !slices.Contains(kinds, kind.Maximum),
	})
	if len(r.stages) > 0 && !slices.Contains(kinds, kind.Maximum) {
		r.tape = newTape(r.prog, pool.level, r.stages[0].k)
	}
	reals, ints := r.prog.scratch()
	pool.reserve(max(reals, r.tape.scratch()), ints)
	return r
}

// plan makes the stages.
func (r *Reduce) plan(shape, axes []int) {
	type group struct {
		n       int
		reduced bool
	}
	var groups []group
	for a, d := range shape {
		reduced := slices.Contains(axes, a)
		if n := len(groups); d == 1 {
			continue
		} else if n > 0 && groups[n-1].reduced == reduced {
			groups[n-1].n *= d
		} else {
			groups = append(groups, group{d, reduced})
		}
	}
	if !slices.ContainsFunc(groups, func(g group) bool { return g.reduced }) {
		groups = append([]group{{1, true}}, groups...)
	}
	var src [][]float32
	for i := len(groups) - 1; i >= 0; i-- {
		if !groups[i].reduced {
			continue
		}
		s := &reduceStage{reduce: r, o: 1, r: groups[i].n, k: 1, src: src}
		for j, g := range groups {
			switch {
			case j < i:
				s.o *= g.n
			case j > i:
				s.k *= g.n
			}
		}
		groups = slices.Delete(groups, i, i+1)
		s.cut(len(r.kinds))
		src = s.dst
		r.stages = append(r.stages, s)
	}
	r.stages[len(r.stages)-1].last = true
}

// Run does the work; the caller holds the pool.
func (r *Reduce) Run() error {
	if r.prog.points == 0 {
		r.empty()
		return nil
	}
	r.prog.begin(r.pool.workers[0])
	const fold, move = 0.1, 0.3 // nanoseconds per element
	cost := r.prog.cost + fold
	for _, s := range r.stages {
		r.pool.share(s.items, cost*float64(s.o*s.r*s.k), s)
		if s.parts > 1 || s.last {
			n := s.o * s.k
			r.pool.share((n+blockLen-1)/blockLen, move*float64(n*s.parts), (*merge)(s))
		}
		cost = fold
	}
	return nil
}

// empty stores the results of no terms.
func (r *Reduce) empty() {
	for j, k := range r.kinds {
		v := []float32{0}
		if k == kind.Maximum {
			v[0] = negInf
		}
		for i := range r.kept {
			store(&r.out[j].operandIter, r.out[j].real, v, i)
		}
	}
}
