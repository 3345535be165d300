package check

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/models/params"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// held are the features with which the lower level is more than a free minimization.
const held = problem.LowerSet | problem.LowerConstraints | problem.LowerProx | problem.LowerResidual

// words fills in what there is to say about the problem and about what its estimators gave.
func (c *checker) words(ctx context.Context, s Spectrum) error {
	parts, err := c.parts(ctx)
	if err != nil {
		return err
	}
	say := func(format string, args ...any) { c.out.Words = append(c.out.Words, fmt.Sprintf(format, args...)) }
	none := func(size float64) bool { return size <= 1e-10*max(1, math.Abs(c.truth.h)) }
	switch {
	case c.vanishes() && none(parts.fx) && none(parts.fy):
		say("the hypergradient is truly zero: F is stationary in x and in y at (x, y*)")
	case c.vanishes() && none(parts.fx) && none(parts.response):
		say("the hypergradient is truly zero: F does not depend on x, and y* does not move with x")
	case c.vanishes():
		say("the hypergradient is zero here as far as differences can tell (below %.1e): the direct term and the "+
			"implicit term cancel, as at a stationary point", max(10*c.truth.uncertain, 1e-9))
	case none(parts.response):
		say("y* does not move with x here: the implicit term is zero, and ∇h = ∇xF")
	case none(parts.fy):
		say("F is stationary in y at y*: the implicit term is zero, and ∇h = ∇xF")
	}
	for _, r := range c.out.Rows {
		if c.b.Features()&held != 0 && r.Label == c.out.Recommended && r.Share <= 1e-12 && !c.vanishes() {
			say("the implicit term is zero here: y* does not move with x where its active constraints stay the same, " +
				"as with linear programs, and what h does when they change no derivative sees")
		}
	}
	if c.truth.kink {
		say("h has a kink here: its slopes to the two sides differ, so that there is no gradient to estimate; a " +
			"bound of the lower level becomes active or inactive at this x")
	}
	if free := c.b.Features()&held == 0; free && !math.IsNaN(s.least) && !s.definite() {
		if s.least < -1e-9*s.largest {
			say("H has the eigenvalue %.3g at y*, which is no minimum but a saddle: start the lower level elsewhere",
				s.least)
		} else {
			say("H is singular at y* (its smallest eigenvalue is %.1e of the largest): the lower level has other "+
				"minimizers beside y*, and h depends on which one is meant; use a penalty method, or add a strongly "+
				"convex term", s.least/s.largest)
		}
	}
	for _, r := range c.out.Rows {
		if r.Refused == "" && !r.holds() {
			say("the error of %s is larger than its own figure, a %s: %.2g against %.2g", r.Label, r.Kind,
				float64(r.Error), float64(r.Figure))
		}
	}
	return nil
}

// holds tells whether the error of a row is within its own figure: always where it is a bound, within ten times where
// it is an estimate of a solve that converged. The differences resolve relative errors of about 1e-8.
func (r Row) holds() bool {
	allowed := math.Inf(1)
	switch {
	case r.Kind == hypergrad.Bound:
		allowed = float64(r.Figure)
	case r.Kind == hypergrad.Estimate && r.Status == "" && len(r.Notes) == 0:
		allowed = 10 * float64(r.Figure)
	}
	return float64(r.Error) <= allowed+1e-8
}

// Broken lists, in sentences, the estimators whose error is larger than their own figure allows.
func (r *Result) Broken() (labels []string) {
	for _, row := range r.Rows {
		if row.Refused == "" && !row.holds() {
			labels = append(labels, "the error of "+row.Label+" is larger than the figure that claims to bound it")
		}
	}
	return labels
}

// parts are the norms of ∇xF and ∇yF at (x, y*), and of Cᵀu for a vector u: how much y* can move with x.
type parts struct{ fx, fy, response float64 }

func (c *checker) parts(ctx context.Context) (p parts, err error) {
	if c.b.Lower.Residual != nil {
		return parts{1, 1, 1}, nil // nothing is said about a root
	}
	sc, n := c.sc, c.b.Upper.Start.Size()
	y, u, out := sc.Variable("check y*", tensor.Real, len(c.truth.y)), sc.Variable("check u", tensor.Real, n),
		sc.Variable("check parts", tensor.Real, 3)
	fn := sc.Compile("parts", func() []tensor.Update {
		all := c.b.All(problem.Upper)
		f := c.b.Oracle().At(problem.Upper, c.x.Node(), y.Node(), all, params.TrainFrozen, c.lower.state)
		sizes := []*tensor.Node{f.GradX().Norm(), f.GradY().Norm(), c.lower.point(y.Node()).CrossT(u.Node()).Norm()}
		if c.b.Features()&(problem.LowerConstraints|problem.LowerProx) != 0 {
			sizes[2] = tensor.Const(1) // y* may move with the constraints or the proximal map
		}
		for i, s := range sizes {
			sizes[i] = s.Reshape(1)
		}
		return []tensor.Update{{Var: out, Value: tensor.Concat(0, sizes...)}}
	})
	direction := make([]float64, n)
	for i := range direction {
		direction[i] = 1 + 0.3*math.Cos(float64(5*i))
	}
	err = errors.Join(ctx.Err(), sc.Err(), c.x.Write(c.point), y.Write(c.truth.y), u.Write(direction))
	if err == nil {
		err = fn.Run(1)
	}
	if err != nil {
		return p, err
	}
	v, err := out.Read()
	if err != nil {
		return p, err
	}
	return parts{v[0], v[1], v[2]}, nil
}
