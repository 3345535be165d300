package check

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/internal/philox"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
)

// The sizes of the quadratic problem, and the condition of its lower Hessian.
const (
	upperSize, lowerSize = 4, 12
	condition            = 10
)

// quadratic checks on Q2 (solvertest.Quadratic), at a random x.
func quadratic(ctx context.Context, ex *tensor.Executor, seed uint64) (found []Finding, err error) {
	q := solvertest.NewQuadratic(seed, upperSize, solvertest.Spectrum(lowerSize, condition))
	l, err := solvertest.Load(ex, q)
	if err != nil {
		return nil, err
	}
	b, err := l.Problem.Bind(ex)
	if err != nil {
		return nil, err
	}
	sc := ex.Scope()
	defer func() { err = errors.Join(err, sc.Close(), b.Close()) }()
	x := normals(seed, 0, upperSize)
	y, want := q.Exact(x)
	for _, part := range []func() ([]Finding, error){
		func() ([]Finding, error) { return identities(b, sc, seed, x, y) },
		func() ([]Finding, error) { return implicit(ctx, b, sc, q, x, y, want) },
		func() ([]Finding, error) { return algorithms(ctx, ex, q, l.Problem) },
	} {
		more, err := part()
		if err != nil {
			return nil, err
		}
		found = append(found, more...)
	}
	return found, nil
}

// identities are the adjoint identity of C and the symmetry of H, which hold for any vectors.
func identities(b *problem.Bound, sc *tensor.Scope, seed uint64, x, y []float64) ([]Finding, error) {
	u, v, w := normals(seed, 1, upperSize), normals(seed, 2, lowerSize), normals(seed, 3, lowerSize)
	vector := func(values []float64) *tensor.Node {
		n := sc.Variable("check", tensor.Real, len(values))
		sc.Note(n.Write(values))
		return n.Node()
	}
	X, Y, U, V, W := vector(x), vector(y), vector(u), vector(v), vector(w)
	out := sc.Variable("check products", tensor.Real, 5)
	f := sc.Compile("check products", func() []tensor.Update {
		p := b.Oracle().At(problem.Lower, X, Y, b.All(problem.Lower), params.TrainFrozen, nil)
		cv, ctu, hv, hw := p.Cross(V), p.CrossT(U), p.HVP(V), p.HVP(W)
		parts := []*tensor.Node{
			tensor.Dot(U, cv), tensor.Dot(ctu, V), tensor.Dot(W, hv), tensor.Dot(hw, V), hv.Norm().Mul(W.Norm()),
		}
		for i, n := range parts {
			parts[i] = n.Reshape(1)
		}
		return []tensor.Update{{Var: out, Value: tensor.Concat(0, parts...)}}
	})
	if err := sc.Err(); err != nil {
		return nil, err
	}
	if err := f.Run(1); err != nil {
		return nil, err
	}
	n, err := out.Read()
	if err != nil {
		return nil, err
	}
	info := b.Executor.Info()
	round := 10 * info.SumError(lowerSize*lowerSize) * info.UnitRoundoff() * n[4]
	const why = "rounding of the products"
	return []Finding{
		{"adjoint identity <u, C v> = <C'u, v>", math.Abs(n[0] - n[1]), round, why},
		{"symmetry <w, H v> = <H w, v>", math.Abs(n[2] - n[3]), round, why},
	}, nil
}

// implicit compares the hypergradient at y* with its closed form, and there and elsewhere its error with its own
// figure.
func implicit(ctx context.Context, b *problem.Bound, sc *tensor.Scope, q *solvertest.Quadratic, x, y, want []float64) (
	[]Finding, error) {
	xv, yv := sc.Variable("check x", tensor.Real, len(x)), sc.Variable("check y", tensor.Real, len(y))
	const rtol = 1e-5
	e, err := hypergrad.Implicit{Solver: linear.CG{RTol: rtol}}.Prepare(b, xv, yv)
	if err != nil {
		return nil, err
	}
	sc.Own(e.Close)
	away := make([]float64, len(y))
	for i := range y {
		away[i] = y[i] + 0.1
	}
	var found []Finding
	for _, at := range []struct {
		name string
		y    []float64
	}{{"at y*", y}, {"at y* + 0.1", away}} {
		if err := errors.Join(xv.Write(x), yv.Write(at.y)); err != nil {
			return nil, err
		}
		h, err := e.Compute(ctx)
		if err != nil {
			return nil, err
		}
		if h.Status != linear.Converged {
			return nil, fmt.Errorf("the hypergradient %s ended with %s: %s", at.name, h.Status, h.Status.Advice())
		}
		missed := floats.Distance(h.Gradient, want, 2)
		found = append(found, Finding{
			"hypergradient " + at.name + ", within 10 times its own error figure",
			missed, 10*h.Error + 1e-12*floats.Norm(want, 2), "hypergrad's calibration",
		})
		if at.name == "at y*" {
			_, c := q.Structure()
			u := b.Executor.Info().UnitRoundoff()
			solved := condition * c.CrossNorm * rtol * 10 * floats.Norm(q.Adjoint(x, y), 2)
			limit := solved + 1e3*u*(floats.Norm(want, 2)+c.CrossNorm*condition)
			found = append(found, Finding{
				"hypergradient at y* against its closed form", missed, limit,
				"tolerance of the linear solve, and rounding",
			})
		}
	}
	return found, nil
}

// algorithms run each algorithm to the optimum, with the step sizes that it chooses and settings under which its bias
// is small: that of F²SA and of V-PBGD is of the order of one over the multiplier of G, a series of Q terms misses
// (1 - μ/L)^Q, and so do inner steps that are differentiated or that a gap is measured by.
func algorithms(ctx context.Context, ex *tensor.Executor, q *solvertest.Quadratic, p *problem.Problem) (
	found []Finding, err error) {
	settings := map[string]solvers.Algorithm{
		"alset": solvers.ALSET{Terms: 40}, "bome": solvers.BOME{InnerSteps: 30},
		"f2sa": solvers.F2SA{Multiplier: 1000}, "f2sa-adam": solvers.F2SAAdam{Multiplier: 1000},
		"itd-bio": solvers.ITDBiO{InnerSteps: 60}, "stocbio": solvers.StocBiO{Terms: 60},
		"sustain": solvers.SUSTAIN{Terms: 60, Exponent: -1, Schedule: "linear"}, "vrbo": solvers.VRBO{Terms: 60},
		"ttsa": solvers.TTSA{Terms: 40}, "v-pbgd": solvers.VPBGD{Penalty: 100},
	}
	optimum := q.Optimum()
	start := floats.Distance(optimum, p.Upper.Start.Flat, 2)
	for _, entry := range solvers.Algorithms() {
		a := entry.Zero
		if s, ok := settings[entry.Name()]; ok {
			a = s
		}
		res, err := solvers.Solve(ctx, p, a, solvers.Options{Executor: ex, Iterations: 3000})
		if err != nil {
			return nil, err
		}
		if err := res.Err(); err != nil {
			return nil, err
		}
		found = append(found, Finding{
			entry.Name() + " from its own step sizes, distance to the optimum",
			floats.Distance(res.X.Flat, optimum, 2), 0.1 * start, "a tenth of the start's",
		})
	}
	return found, nil
}

func normals(seed uint64, step uint32, n int) []float64 {
	draws := make([]float32, n)
	philox.Normals(draws, seed, step, philox.StreamProbe, 0)
	out := make([]float64, n)
	for i, z := range draws {
		out[i] = float64(z)
	}
	return out
}
