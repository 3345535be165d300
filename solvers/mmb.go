package solvers

import (
	"cmp"
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// MMB is for many lower levels beside each other, of which an iteration sees and moves a few (Hu, Zhong, Yang, NeurIPS
// 2022, "Multi-block min-max bilevel optimization with applications in multi-task deep AUC maximization", the second
// version, which takes steps on the linear systems):
//
//	min over x of max over α of (1/m) Σ_i F_i(x, α_i, y_i*(x)),   y_i*(x) = argmin over y_i of G_i(x, y_i)
//
//	y₊ = y - β_k ∇yG_I(x,y),   v₊ = v - β_k (∇²yyG_I(x,y) v - ∇yF_I(x,α,y)),   α₊ = P_A(α + δ_k ∇αF_I(x,α,y))
//	d₊ = (1-θ) d + θ (∇xF_I(x,α,y) - ∇²xyG_I(x,y) v),   x₊ = P_X(x - γ_k d₊)
//
// where I is a minibatch of blocks, and F_I and G_I are means over it: of y, v and α only the blocks in I move, along
// the directions of F_i and G_i divided by the number of blocks in I. The problem says BlockPerRow: its rows are the
// blocks, and the sampler of the lower level draws I for both levels. An objective may choose rows inside a block by
// the random numbers of its minibatch. Without BlockPerRow everything is one block, and each level draws its own
// minibatches; without a Saddle there is no α.
//
// All directions are taken at the point before the iteration, as in SOBA; which of the paper's are, and the constants
// of its steps, could not be read; v moves with the step of y. θ is 1 in the first iteration. The rate is for F
// strongly concave in α. G_i must be smooth and strongly convex in y_i. A set of α is to hold each block for itself.
// The state is x, y, v, d and, with a Saddle, alpha. An iteration costs one gradient of G and one of F, one product
// with H and one with C, of the blocks in I.
type MMB struct {
	Step      float64         `json:"step"`       // β; 0: chosen at the start values, see Defaults
	OuterStep float64         `json:"outer_step"` // γ; 0: chosen at the start values
	DualStep  float64         `json:"dual_step"`  // δ; 0: β
	Average   float64         `json:"average"`    // θ; 0: 0.1
	Schedule  engine.Schedule `json:"schedule"`   // of β, γ and δ
}

func (MMB) Name() string { return "mmb" }

func (MMB) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.UpperSaddle,
		Why: "it takes gradient steps on smooth lower levels that are strongly convex in a y that lasts and is free, " +
			"and needs an x that is free or in a set",
	}
}

func (a MMB) Spec(b *problem.Bound, r Run) (engine.Spec, error) {
	err := checkSteps("mmb", a.Schedule, field{"step", a.Step}, field{"outer_step", a.OuterStep},
		field{"dual_step", a.DualStep})
	if err == nil && !(a.Average > 0 && a.Average <= 1) {
		err = fmt.Errorf("mmb: average is %g: wants a weight above 0 and at most 1", a.Average)
	}
	if err == nil && b.BlockPerRow && b.Upper.Sampler != nil {
		err = fmt.Errorf("mmb: the upper level of %s has a Sampler, but each minibatch of blocks is drawn for both "+
			"levels by that of the lower level: leave Upper.Sampler out", b.Name)
	}
	if err == nil && b.BlockPerRow && b.Lower.Sampler != nil && b.Upper.Saddle != nil {
		switch set := b.Upper.Saddle.Set.(type) {
		case nil, problem.Box, problem.Bounds:
		default:
			err = fmt.Errorf("mmb: the set of the further variable (Saddle.Set) of %s is a %s, which ties blocks "+
				"together that are drawn apart: give problem.Box or problem.Bounds, or leave "+
				"Lower.Sampler out", b.Name, set)
		}
	}
	if err != nil {
		return engine.Spec{}, err
	}
	draws := []engine.Draw{{Of: problem.Lower}}
	if !b.BlockPerRow {
		draws = append(draws, engine.Draw{Of: problem.Upper})
	}
	build := func(it *engine.Iteration, s *engine.State) {
		x, y, v := s.Get("x"), s.Get("y"), s.Get("v")
		xi, zeta := it.Batch("lower"), it.All(problem.Upper)
		switch {
		case !b.BlockPerRow:
			zeta = it.Batch("upper")
		case xi.Index != nil:
			zeta = b.Batch(problem.Upper, xi.Index).Drawn(it.Random)
		}
		g := it.Lower(x, y, xi)
		var f *problem.Point
		if b.Upper.Saddle != nil {
			alpha := s.Get("alpha")
			f = it.Saddle(x, y, alpha, zeta)
			s.Set("alpha", b.ProjectAlpha(alpha.Add(it.Rate("dual").Mul(f.GradAlpha())), zeta))
		} else {
			f = it.Upper(x, y, zeta)
		}
		rho, theta := it.Rate("inner"), it.Rate("average")
		s.Set("y", y.Sub(rho.Mul(g.GradY())))
		s.Set("v", v.Sub(rho.Mul(g.HVP(v).Sub(f.GradY()))))
		d := s.Get("d")
		d = d.Add(theta.Mul(f.GradX().Sub(g.Cross(v)).Sub(d)))
		s.Set("d", d)
		moveX(it, s, d, zeta)
	}
	state := append(start(b, "v"), ofX(b, "d"))
	if b.Upper.Saddle != nil {
		state = append(state, engine.Array{Name: "alpha", Values: b.Upper.Saddle.Start.Flat})
	}
	average := engine.Rate{Name: "average", At: func(k int) float64 {
		if k == 0 {
			return 1
		}
		return a.Average
	}}
	return engine.Spec{
		State:  state,
		Rates:  append(twoRates(r, a.Step, a.OuterStep, a.Schedule), r.rate("dual", a.DualStep, a.Schedule), average),
		Phases: []engine.Phase{{Name: "mmb", Draws: draws, Build: build}},
	}, nil
}

// Defaults takes an eighth of the step of x that SOBA takes: x sees the average later than its directions, these see
// the further variable later than y, and blocks that are seldom drawn see x later than the mean block.
func (a MMB) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Average = cmp.Or(a.Average, 0.1)
	chosen := a.OuterStep == 0
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	if chosen {
		a.OuterStep /= 8
	}
	a.DualStep = cmp.Or(a.DualStep, a.Step)
	return a, err
}
