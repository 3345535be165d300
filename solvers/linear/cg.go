package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/tensor"
)

// CG is the method of conjugate gradients (Hestenes, Stiefel 1952) for (A + Damping·I) v = b with A + Damping·I
// positive definite:
//
//	r = b - A v; d = r
//	until |r| <= max(RTol |b|, ATol):
//	    s = A d;  α = r'r / d's;  v += α d;  r₊ = r - α s;  d = r₊ + (r₊'r₊ / r'r) d
//
// The bound on the error in the energy norm shrinks by (√κ-1)/(√κ+1) per step, where κ is the condition number.
// CG stores v, r, d and s, and needs one product per step, one at the start and one at the end, for the true residual
// b - A v. Where round-off has made the recurrence's r drift away from the true residual, the solve restarts from v.
//
// Negative curvature is reported when d's <= c u |d||s|, where u is the device's unit round-off and c the error
// constant of the reduction that computed d's: below this bound, d's cannot be told from zero.
type CG struct {
	RTol, ATol float64
	Damping    float64
	MaxSteps   int // 0: twice the dimension, at most 1000
	Chunk      int // steps between two reads of the stop flag; 0: 1 on synchronous devices, 4 on asynchronous ones
	// FromZero starts at v = 0 instead of at the value of Solution, which saves the first product.
	FromZero bool
	// Trust reports the recurrence's residual in place of the true one, which saves the last product. It is meant for
	// loose tolerances, where round-off has no time to drive the two apart.
	Trust bool
	// Preconditioner is a matrix M near A whose inverse is applied to every residual (Golub, Van Loan, algorithm
	// 11.5.1). The iteration is then conjugate gradients for M^(-½) A M^(-½), and tells nothing about A's smallest
	// eigenvalue.
	Preconditioner Preconditioner
	// MaxRaises is how often a solve begins again with a larger damping after negative curvature; 0: never. With the
	// direction d that has it, the first new damping is the larger of 2 |d'Ad|/|d|² and |Ad|/(1000 |d|), and at least
	// ten times the old one; later ones are ten times the one before. Stats.Damping is the last.
	MaxRaises int
}

func (c CG) String() string {
	more := ""
	if c.Preconditioner != nil {
		more += fmt.Sprintf(", preconditioner %T%+[1]v", c.Preconditioner)
	}
	if c.MaxRaises > 0 {
		more += fmt.Sprintf(", damping raised at most %d times", c.MaxRaises)
	}
	return fmt.Sprintf("CG(rtol %g, atol %g, damping %g, at most %d steps%s)", c.RTol, c.ATol, c.Damping, c.MaxSteps,
		more)
}

// The solve's status is a number on the device, one of these codes, until Solve translates it into a Status.
const (
	codeRunning = iota
	codeConverged
	codeCurvature
	codeNotFinite
	codeBreakdown
)

type cgSystem struct {
	CG
	ex                  *tensor.Executor
	scope               *tensor.Scope
	product             *Product // nil where the operator is part of the loop
	b, v, r, d          *tensor.Variable
	rho, limit          *tensor.Variable // r'r, and the value of r'r at which the solve has converged
	active, code, steps *tensor.Variable
	alphas, betas       *tensor.Variable // one element per step; together they give the Lanczos matrix
	residual, norm      *tensor.Variable // |b - A v|, |b|
	scale               *tensor.Variable // the unit of v, r and d during a solve, see scaleOf
	loop                *tensor.Loop     // its bodies are numbered below
}

// The bodies of the loop: one step, what comes before the first step, and what comes after the last.
const (
	bodyStep = iota
	bodyStart
	bodyFinish
)

// Class is Definite.
func (CG) Class() Class { return Definite }

// Prepare compiles the iteration. With a Product the host runs the product before each step, and reads the stop flag
// after each step.
func (c CG) Prepare(ex *tensor.Executor, m Matrix) (System, error) {
	n, a, product := m.N, m.graph(), m.Product
	if err := m.check("CG"); err != nil {
		return nil, err
	}
	if c.MaxSteps == 0 {
		c.MaxSteps = max(1, min(2*n, 1000))
	}
	if c.Chunk == 0 {
		c.Chunk = 1
		if ex.Info().Async {
			c.Chunk = 4
		}
	}
	if err := checkTolerance(ex, "CG", c.RTol, c.ATol, c.MaxSteps); err != nil {
		return nil, err
	}
	if !(c.Damping >= 0) || math.IsInf(c.Damping, 0) || c.Chunk < 1 {
		return nil, fmt.Errorf("linear: CG: damping %g, chunks of %d steps: "+
			"wants finite damping from 0 on and chunks of at least one step", c.Damping, c.Chunk)
	}
	if c.Preconditioner != nil || c.MaxRaises != 0 {
		return c.prepareVariant(ex, m)
	}
	sc := ex.Scope()
	s := &cgSystem{CG: c, ex: ex, scope: sc, product: product}
	vector := func(name string) *tensor.Variable { return sc.Variable("cg "+name, tensor.Real, n) }
	number := func(name string) *tensor.Variable { return sc.Number("cg " + name) }
	s.b, s.v, s.r, s.d = vector("b"), vector("v"), vector("r"), vector("d")
	s.rho, s.limit = number("rho"), number("limit")
	s.active, s.code = number("active"), number("code")
	s.residual, s.norm, s.scale = number("residual"), number("norm"), number("scale")
	s.steps = sc.Variable("cg steps", tensor.Int)
	s.alphas = sc.Variable("cg alphas", tensor.Real, c.MaxSteps)
	s.betas = sc.Variable("cg betas", tensor.Real, c.MaxSteps)

	damped := func(v *tensor.Node) *tensor.Node {
		av := a(v)
		if c.Damping != 0 {
			av = av.Add(v.Scale(c.Damping))
		}
		return av
	}
	remaining := func(b *tensor.Node) *tensor.Node { return b.Sub(damped(s.v.Node())) }
	bound := ex.Info().SumError(n) * ex.Info().UnitRoundoff()
	s.loop = sc.Loop("cg",
		func() []tensor.Update { return s.stepUpdates(damped, bound) },
		func() []tensor.Update {
			b, scale := s.b.Node(), scaleOf(s.b.Node())
			r, v := b, tensor.Zeros(n)
			if !c.FromZero {
				r, v = remaining(b), s.v.Node().Div(scale)
			}
			updates := append(product.clear(), tensor.Update{Var: s.v, Value: v})
			return append(updates, s.startUpdates(r.Div(scale), scale)...)
		},
		func() []tensor.Update {
			scale, residual := s.scale.Node(), s.rho.Node().Sqrt()
			if !c.Trust {
				residual = remaining(s.b.Node().Div(scale)).Norm()
			}
			return []tensor.Update{
				{Var: s.residual, Value: residual.Mul(scale)}, {Var: s.v, Value: s.v.Node().Mul(scale)},
			}
		})
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return s, nil
}

// scaleOf is the unit that a solve measures a vector in: 1 where it is of ordinary size, else its largest element, so
// that squares neither overflow nor vanish in float32. A solve has a unit for b, in which the solution is linear, and
// methods that square or multiply products A d one for them. This changes nothing but rounding.
func scaleOf(v *tensor.Node) *tensor.Node {
	const least, most = 0x1p-24, 0x1p40
	largest := v.Abs().MaxOver()
	ordinary := tensor.Const(least).Le(largest).Mul(largest.Le(tensor.Const(most)))
	unusual := tensor.Const(1).Sub(ordinary).Mul(tensor.Const(0).Lt(largest))
	return tensor.Where(unusual, largest, tensor.Const(1))
}

// startUpdates begins a solve whose first residual is r. Both are measured in units of scale.
func (s *cgSystem) startUpdates(r, scale *tensor.Node) []tensor.Update {
	b, u := s.b.Node().Div(scale), s.ex.Info().UnitRoundoff()
	rho, bb := tensor.Dot(r, r), tensor.Dot(b, b)
	atol := tensor.Const(s.ATol).Div(scale)
	limit := bb.Scale(s.RTol * s.RTol).Max(atol.Square()).Max(rho.Scale(u * u))
	converged, finite := rho.Le(limit), isFinite(rho)
	running, stopped := tensor.Const(codeRunning), tensor.Const(codeNotFinite)
	return []tensor.Update{
		{Var: s.r, Value: r}, {Var: s.d, Value: r}, {Var: s.rho, Value: rho},
		{Var: s.limit, Value: limit}, {Var: s.norm, Value: bb.Sqrt().Mul(scale)}, {Var: s.scale, Value: scale},
		{Var: s.active, Value: finite.Mul(tensor.Const(1).Sub(converged))},
		{Var: s.code, Value: tensor.Where(finite,
			tensor.Where(converged, tensor.Const(codeConverged), running), stopped)},
	}
}

// stepUpdates is one step. Once active is 0, a step leaves v, r, d and the status as they are.
func (s *cgSystem) stepUpdates(a Operator, bound float64) []tensor.Update {
	v, r, d, rho, active := s.v.Node(), s.r.Node(), s.d.Node(), s.rho.Node(), s.active.Node()
	zero, one := tensor.Const(0), tensor.Const(1)
	ad := a(d)
	unit := scaleOf(ad)
	image := ad.Div(unit)
	curvature := tensor.Dot(d, image)
	small := tensor.Dot(d, d).Sqrt().Mul(tensor.Dot(image, image).Sqrt()).Scale(bound)
	finite := isFinite(curvature)
	convex := small.Lt(curvature)
	ok := active.Mul(finite).Mul(convex)
	alpha := tensor.Where(ok, rho.Div(curvature).Div(unit), zero)
	next := tensor.Where(ok, r.Sub(alpha.Mul(ad)), r)
	rho2 := tensor.Dot(next, next)
	finite = finite.Mul(isFinite(rho2))
	converged := rho2.Le(s.limit.Node())
	beta := tensor.Where(ok, rho2.Div(rho), zero)
	running := tensor.Where(converged, tensor.Const(codeConverged), tensor.Const(codeRunning))
	code := tensor.Where(finite,
		tensor.Where(convex, running, tensor.Const(codeCurvature)), tensor.Const(codeNotFinite))
	slot := s.steps.Node().Reshape(1)
	return []tensor.Update{
		{Var: s.v, Value: tensor.Where(ok, v.Add(alpha.Mul(d)), v)},
		{Var: s.r, Value: next},
		{Var: s.d, Value: tensor.Where(ok, next.Add(beta.Mul(d)), d)},
		{Var: s.rho, Value: tensor.Where(ok, rho2, rho)},
		{Var: s.alphas, Value: tensor.ScatterAdd(s.alphas.Node(), slot, alpha.Reshape(1))},
		{Var: s.betas, Value: tensor.ScatterAdd(s.betas.Node(), slot, beta.Reshape(1))},
		{Var: s.steps, Value: s.steps.Node().Add(ok.ToInt())},
		{Var: s.code, Value: tensor.Where(active, code, s.code.Node())},
		{Var: s.active, Value: ok.Mul(finite).Mul(one.Sub(converged))},
	}
}

func (s *cgSystem) RHS() *tensor.Variable      { return s.b }
func (s *cgSystem) Solution() *tensor.Variable { return s.v }

// Solve iterates from the value of Solution, or from zero where FromZero says so.
func (s *cgSystem) Solve(ctx context.Context) (Stats, error) {
	st := Stats{SmallestEigenvalue: math.NaN(), Damping: s.Damping}
	if err := ctx.Err(); err != nil {
		return st, err
	}
	zeros := make([]float64, s.MaxSteps)
	err := cmp.Or(s.loop.Setup(), s.steps.WriteInts([]int32{0}), s.alphas.Write(zeros), s.betas.Write(zeros))
	if err != nil {
		return st, err
	}
	last := math.Inf(1)
	for {
		if err := s.start(ctx); err != nil {
			return st, err
		}
		begun := st.Steps
		steps, err := s.iterate(ctx, s.MaxSteps-begun)
		if err != nil {
			return st, err
		}
		if err := s.finish(ctx); err != nil {
			return st, err
		}
		st.Steps = steps
		st.Products += steps - begun + s.extraProducts()
		if begun == 0 { // the coefficients after a restart belong to another Lanczos process, with another matrix
			if st.SmallestEigenvalue, err = s.ritz(steps); err != nil {
				return st, err
			}
		}
		code, err1 := s.code.Number()
		residual, err2 := s.residual.Number()
		norm, err3 := s.norm.Number()
		if err := cmp.Or(err1, err2, err3); err != nil {
			return st, err
		}
		st.Residual, st.RHSNorm = residual, norm
		tolerance := max(s.RTol*norm, s.ATol) * (1 + 1e-3) // the device compared rounded squares of these numbers
		switch {
		case code == codeNotFinite || math.IsNaN(residual):
			st.Status = NotFinite
		case code == codeCurvature:
			st.Status = NegativeCurvature
		case residual <= tolerance:
			st.Status = Converged
		case steps >= s.MaxSteps:
			st.Status = MaxSteps
		case residual > last/2 || steps == begun || s.FromZero || s.Trust: // with FromZero or Trust there is no restart
			st.Status = Stagnated
		default: // the recurrence's residual has drifted from the true one: restart from v
			last = residual
			continue
		}
		return st, nil
	}
}

// start computes the first residual and direction.
func (s *cgSystem) start(ctx context.Context) error {
	if !s.FromZero {
		if err := s.product.apply(ctx, s.v); err != nil {
			return err
		}
	}
	return s.loop.Body(bodyStart).Run(1)
}

// iterate takes at most limit steps, until the device clears its active flag. It returns the number of steps since
// Solve began.
func (s *cgSystem) iterate(ctx context.Context, limit int) (int, error) {
	return iterate(ctx, tensor.While{Loop: s.loop, Active: s.active, Steps: s.steps, Chunk: s.Chunk}, s.product, s.d,
		limit)
}

// finish computes the residual that Solve reports.
func (s *cgSystem) finish(ctx context.Context) error {
	if !s.Trust {
		if err := s.product.apply(ctx, s.v); err != nil {
			return err
		}
	}
	return s.loop.Body(bodyFinish).Run(1)
}

// extraProducts counts the products of start and finish, which come on top of one product per step.
func (s *cgSystem) extraProducts() int {
	n := 2
	if s.FromZero {
		n--
	}
	if s.Trust {
		n--
	}
	return n
}

// ritz is the smallest Ritz value of A after so many steps.
func (s *cgSystem) ritz(steps int) (float64, error) {
	alphas, err1 := s.alphas.Read()
	betas, err2 := s.betas.Read()
	if err := cmp.Or(err1, err2); err != nil {
		return math.NaN(), err
	}
	return smallestRitz(alphas[:steps], betas[:steps]) - s.Damping, nil
}

// Close frees the programs and vectors.
func (s *cgSystem) Close() error { return s.scope.Close() }
