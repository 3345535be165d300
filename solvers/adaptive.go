package solvers

import (
	"cmp"
	"errors"
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// The factors by which a step of x that is found on the way grows after a move that was kept, and shrinks after one
// that was not.
const (
	lengthen = 1.5
	shorten  = 0.5
)

// adaptiveState is what steps of x that are found on the way add to a state: the step, 0 before the first move, and the
// point before the last move with the upper objective there.
func adaptiveState(b *problem.Bound) []engine.Array {
	return []engine.Array{
		{Name: "length", Zeros: 1}, {Name: "last value", Zeros: 1}, ofX(b, "last x"),
		{Name: "last y", Zeros: b.Lower.Start.Size(), Unwatched: true},
	}
}

// adaptiveStep moves x along ∇xF - C v by the state's "length". The first move has the root mean square of the rate
// "outer".
func adaptiveStep(name string) engine.Phase {
	return engine.Phase{
		Name:  name + " outer",
		Draws: []engine.Draw{{Of: problem.Lower, Full: true}, {Of: problem.Upper, Full: true}},
		Build: func(it *engine.Iteration, s *engine.State) {
			x, y, v, zeta := s.Get("x"), s.Get("y"), s.Get("v"), it.Batch("upper")
			g, f := it.Lower(x, y, it.Batch("lower")), it.Upper(x, y, zeta)
			slope, zero := f.GradX().Sub(g.Cross(v)), tensor.Const(0)
			size, length := linear.Norm(slope), s.Get("length").Reshape()
			first := it.Rate("outer").Scale(math.Sqrt(float64(x.Size()))).Div(size)
			length = tensor.Where(length.Eq(zero), tensor.Where(zero.Lt(size), first, zero), length)
			s.Set("x", it.Project(problem.Upper, x.Sub(length.Mul(slope)), zeta))
			s.Set("length", length)
			s.Set("last x", x)
			s.Set("last y", y)
		},
	}
}

// judge looks at the upper objective where the last move has led, with y at the minimizer. It keeps the move, or takes
// it back where the objective is above the value before by more than error; then the lower level has to be solved
// again.
func (t *toSolve) judge(e *engine.Engine, k int, error float64) (back bool, err error) {
	f, err1 := t.upper.Number()
	length, err2 := e.Variable("length").Number()
	last, err3 := e.Variable("last value").Number()
	if err := errors.Join(err1, err2, err3); err != nil {
		return false, err
	}
	roundoff := leastRoundoff * e.Executor().Info().UnitRoundoff() * math.Abs(last)
	if k == 0 || f <= last+error+roundoff {
		return false, errors.Join(e.Variable("last value").Write([]float64{f}),
			e.Variable("length").Write([]float64{lengthen * length}))
	}
	return true, errors.Join(
		cmp.Or(e.Variable("x").CopyFrom(e.Variable("last x")), e.Variable("y").CopyFrom(e.Variable("last y"))),
		e.Variable("length").Write([]float64{shorten * length}))
}
