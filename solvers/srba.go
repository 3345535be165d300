package solvers

import (
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// SRBA is SOBA with the recursive variance reduction of SARAH (Dagréou, Moreau, Vaiter, Ablin, AISTATS 2024, "A lower
// bound and a near-optimal algorithm for bilevel empirical risk minimization", algorithm 1). Let z = (y, v, x) and
// D(z;ξ,ζ) SOBA's three directions on a pair of minibatches. Before iteration k, where the period divides k, a pass
// over all rows gives them exactly,
//
//	d = D(z)
//
// and each iteration moves along what it has and learns how the directions change by the move:
//
//	z₊ = z - (ρ, ρ, γ) d     x₊ projected onto the set of x, where there is one
//	d₊ = d + D(z₊;ξ,ζ) - D(z;ξ,ζ)
//
// with the same minibatches at both points. The difference belongs to the next iteration's step, so that no earlier
// point is kept; the one before a full pass is made in vain. On full batches SRBA is SOBA. The paper's projection of v
// onto a ball is left out, as in the authors' code. D must be linear in the mean over rows, so that running statistics
// cannot be used: those of a pass over all rows are not those of minibatches.
//
// The state is x, y, v and a direction for each. An iteration costs two gradients of each objective, two products with
// H and two with C; one of each more, over all rows, once a period.
type SRBA struct {
	Step      float64         `json:"step"`       // ρ; 0: chosen at the start values, see Defaults
	OuterStep float64         `json:"outer_step"` // γ; 0: chosen at the start values
	Schedule  engine.Schedule `json:"schedule"`   // of both
	// Period is the number of iterations between two passes over all rows. 0: so many that their minibatches have as
	// many rows, of both levels together, as half a pass.
	Period int `json:"period"`
}

func (SRBA) Name() string { return "srba" }

func (SRBA) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet,
		Why: "its steps need one lower level with a smooth, strongly convex objective, without constraints, whose " +
			"variable lasts, an x that is free or in a set, and objectives that are means over rows",
	}
}

func (a SRBA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	if err := checkSteps("srba", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}); err != nil {
		return engine.Spec{}, err
	}
	if a.Period < 0 {
		return engine.Spec{}, fmt.Errorf("srba: period is %d: wants at least 1, or 0 for one chosen by the number of "+
			"rows", a.Period)
	}
	period := a.Period
	if period == 0 {
		period = halfPass(b)
	}
	// add gives three vectors and what one point's directions add to them. The parts of x's direction are added one by
	// one: a product with C that is zero in most entries then touches few of d.
	add := func(d [3]*tensor.Node, sign float64, it *engine.Iteration, z [3]*tensor.Node, xi, zeta problem.Batch,
	) [3]*tensor.Node {
		y, v, x := z[0], z[1], z[2]
		g, f := it.Lower(x, y, xi), it.Upper(x, y, zeta)
		return [3]*tensor.Node{
			d[0].Add(g.GradY().Scale(sign)),
			d[1].Add(g.HVP(v).Sub(f.GradY()).Scale(sign)),
			d[2].Add(f.GradX().Scale(sign)).Sub(g.Cross(v).Scale(sign)),
		}
	}
	names, directions := [3]string{"y", "v", "x"}, [3]string{"direction of y", "direction of v", "direction of x"}
	get := func(s *engine.State, names [3]string) (z [3]*tensor.Node) {
		for i, name := range names {
			z[i] = s.Get(name)
		}
		return z
	}
	set := func(s *engine.State, names [3]string, z [3]*tensor.Node) {
		for i, name := range names {
			s.Set(name, z[i])
		}
	}
	full := func(it *engine.Iteration, s *engine.State) {
		z := get(s, names)
		var zero [3]*tensor.Node
		for i := range zero {
			zero[i] = tensor.Zeros(z[i].Shape()...)
		}
		set(s, directions, add(zero, 1, it, z, it.Batch("lower"), it.Batch("upper")))
	}
	step := func(it *engine.Iteration, s *engine.State) {
		z, d := get(s, names), get(s, directions)
		xi, zeta := it.Batch("lower"), it.Batch("upper")
		rho, gamma := it.Rate("inner"), it.Rate("outer")
		next := [3]*tensor.Node{
			z[0].Sub(rho.Mul(d[0])), z[1].Sub(rho.Mul(d[1])),
			it.Project(problem.Upper, z[2].Sub(gamma.Mul(d[2])), zeta),
		}
		set(s, names, next)
		set(s, directions, add(add(d, -1, it, z, xi, zeta), 1, it, next, xi, zeta))
	}
	return engine.Spec{
		State: append(start(b, "v", "direction of y", "direction of v"),
			engine.Array{Name: "direction of x", Zeros: b.Upper.Start.Size(), Unwatched: true}),
		Rates: twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: []engine.Phase{
			{Name: "srba full pass", Repeat: every(period), Build: full,
				Draws: []engine.Draw{{Of: problem.Lower, Full: true}, {Of: problem.Upper, Full: true}}},
			{Name: "srba", Build: step, Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}}},
		},
	}, nil
}

// every runs a phase in iterations that are multiples of the period.
func every(period int) func(k int) int {
	return func(k int) int {
		if k%period == 0 {
			return 1
		}
		return 0
	}
}

// halfPass is the number of iterations whose minibatches, one of each level, have half as many rows as both levels
// together, at least 1.
func halfPass(b *problem.Bound) int {
	drawn, rows := 0, 0
	for _, side := range []problem.Side{problem.Lower, problem.Upper} {
		l := b.Level(side)
		rows += l.Rows.Count()
		if l.Sampler != nil {
			drawn += l.Sampler.Size()
		} else {
			drawn += l.Rows.Count()
		}
	}
	return max(1, rows/(2*max(1, drawn)))
}
