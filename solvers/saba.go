package solvers

import (
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// SABA is SOBA with the variance reduction of SAGA (Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022, "A framework for
// bilevel optimization that enables stochastic and global variance reduction algorithms", section 2.3). Each of the
// five quantities of SOBA's directions has a table with its last value for every fixed minibatch. With φ_i the quantity
// on minibatch i, T_i its entry, and n minibatches,
//
//	S(φ) = φ_i - T_i + (1/n) Σ_j T_j,   then T_i = φ_i
//
// whose mean over i is that of φ, and the step is
//
//	y₊ = y - ρ S(∇yG(x,y;ξ))
//	v₊ = v - ρ (S(∇²yyG(x,y;ξ) v) - S(∇yF(x,y;ζ)))
//	x₊ = P_X(x - γ (S(∇xF(x,y;ζ)) - S(∇²xyG(x,y;ξ) v)))
//
// with the mean over j from before the change. All minibatches of a level are of one size, so that each has the same
// weight. A level without a sampler has one, all rows, and SABA on two such levels is SOBA. On smooth problems with
// strongly convex G it converges with constant steps, linearly where h meets the Polyak-Łojasiewicz inequality.
//
// The state is x, y, v, the three means (of y's, v's and x's direction) and the tables: n(2q+p) numbers of the lower
// level and m(q+p) of the upper one, for n and m minibatches. Where x has a weight for each row of the lower level
// (problem.WeightPerRow), the entries of C v for all minibatches are one vector of p numbers, and where F does not
// depend on x itself, there is no table of ∇xF. Tables start at zero or from a pass over all minibatches, see Start. A
// mean is kept by adding changes, so that rounding adds up in it like the square root of the number of iterations.
//
// Running statistics move once an iteration, with the pass of ξ. An iteration costs what one of SOBA costs: one
// gradient of each objective, one product with H and one with C, which share their passes.
type SABA struct {
	Step      float64         `json:"step"`       // ρ; 0: chosen at the start values, see Defaults
	OuterStep float64         `json:"outer_step"` // γ; 0: chosen at the start values
	Schedule  engine.Schedule `json:"schedule"`   // of both
	Start     string          `json:"start"`      // of tables: zero, or full: a pass over all minibatches; "": zero
}

func (SABA) Name() string { return "saba" }

func (SABA) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.ModelState,
		Why: "its steps need one lower level with a smooth, strongly convex objective, without constraints, whose " +
			"variable lasts, and an x that is free or in a set",
		FixedBatches: true,
	}
}

// sabaTables are the five tables; ofX has no slots where F does not depend on x.
type sabaTables struct{ gradient, product, cross, ofY, ofX table }

func newSABATables(b *problem.Bound) sabaTables {
	p, q := b.Upper.Start.Size(), b.Lower.Start.Size()
	t := sabaTables{
		gradient: newTable(b, "table of ∇yG", problem.Lower, q),
		product:  newTable(b, "table of H v", problem.Lower, q),
		cross:    newTable(b, "table of C v", problem.Lower, p),
		ofY:      newTable(b, "table of ∇yF", problem.Upper, q),
	}
	t.cross.byRow = b.WeightPerRow
	if upperUsesX(b) {
		t.ofX = newTable(b, "table of ∇xF", problem.Upper, p)
	}
	return t
}

func (t sabaTables) state(b *problem.Bound) []engine.Array {
	state := append(start(b, "v", "mean for y", "mean for v"), t.gradient.array(), t.product.array(), t.ofY.array(),
		t.cross.array())
	if t.ofX.slots > 0 {
		state = append(state, t.ofX.array())
	}
	if t.ofX.slots > 0 || !t.cross.byRow {
		state = append(state, engine.Array{Name: "mean for x", Zeros: b.Upper.Start.Size(), Unwatched: true})
	}
	return state
}

func (a SABA) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	if err := checkSteps("saba", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep}); err != nil {
		return engine.Spec{}, err
	}
	if a.Start != "" && a.Start != "zero" && a.Start != "full" {
		return engine.Spec{}, fmt.Errorf("saba: start is %q: wants zero or full", a.Start)
	}
	t := newSABATables(b)
	var phases []engine.Phase
	if a.Start == "full" {
		phases = []engine.Phase{
			onceThrough(b, "saba lower tables", problem.Lower, t.fillLower),
			onceThrough(b, "saba upper tables", problem.Upper, t.fillUpper),
		}
	}
	return engine.Spec{
		State: t.state(b),
		Rates: twoRates(r, a.Step, a.OuterStep, a.Schedule),
		Phases: append(phases, engine.Phase{
			Name:  "saba",
			Draws: []engine.Draw{{Of: problem.Lower}, {Of: problem.Upper}},
			Build: t.step,
		}),
	}, nil
}

// grow adds changes of table entries, with their weights in the mean, to a mean in the state.
func grow(s *engine.State, name string, terms ...*tensor.Node) {
	m := s.Get(name)
	for _, term := range terms {
		m = m.Add(term)
	}
	s.Set(name, m)
}

// fillLower and fillUpper make the pass over all minibatches. v is zero then, and so are H v and C v.
func (t sabaTables) fillLower(it *engine.Iteration, s *engine.State) {
	xi := it.Batch("lower")
	g := it.Lower(s.Get("x"), s.Get("y"), xi)
	grow(s, "mean for y", t.gradient.replace(s, xi, g.GradY()).Scale(t.gradient.weight()))
}

func (t sabaTables) fillUpper(it *engine.Iteration, s *engine.State) {
	zeta := it.Batch("upper")
	f := it.Upper(s.Get("x"), s.Get("y"), zeta)
	grow(s, "mean for v", t.ofY.replace(s, zeta, f.GradY()).Scale(-t.ofY.weight()))
	if t.ofX.slots > 0 {
		grow(s, "mean for x", t.ofX.replace(s, zeta, f.GradX()).Scale(t.ofX.weight()))
	}
}

func (t sabaTables) step(it *engine.Iteration, s *engine.State) {
	x, y, v := s.Get("x"), s.Get("y"), s.Get("v")
	rho, gamma := it.Rate("inner"), it.Rate("outer")
	xi, zeta := it.Batch("lower"), it.Batch("upper")
	g, f := it.Lower(x, y, xi), it.Upper(x, y, zeta)

	gradient := t.gradient.replace(s, xi, g.GradY())
	s.Set("y", y.Sub(rho.Mul(gradient.Add(s.Get("mean for y")))))
	grow(s, "mean for y", gradient.Scale(t.gradient.weight()))

	product, ofY := t.product.replace(s, xi, g.HVP(v)), t.ofY.replace(s, zeta, f.GradY())
	s.Set("v", v.Sub(rho.Mul(product.Sub(ofY).Add(s.Get("mean for v")))))
	grow(s, "mean for v", product.Scale(t.product.weight()), ofY.Scale(-t.ofY.weight()))

	var means []*tensor.Node // changes of the mean for x
	if t.ofX.slots > 0 {
		change := t.ofX.replace(s, zeta, f.GradX())
		x = x.Sub(gamma.Mul(change))
		means = append(means, change.Scale(t.ofX.weight()))
	}
	if t.cross.byRow {
		x = x.Add(gamma.Mul(s.Get(t.cross.name).Scale(t.cross.weight())))
		fresh := g.Cross(v)
		x = x.Add(gamma.Mul(fresh)).Sub(gamma.Mul(t.cross.replaceByRow(s, xi, fresh)))
	} else {
		change := t.cross.replace(s, xi, g.Cross(v))
		x = x.Add(gamma.Mul(change))
		means = append(means, change.Scale(-t.cross.weight()))
	}
	if len(means) > 0 {
		x = x.Sub(gamma.Mul(s.Get("mean for x")))
		grow(s, "mean for x", means...)
	}
	s.Set("x", it.Project(problem.Upper, x, zeta))
	it.Commit(g)
}
