package prune

import (
	"cmp"
	"context"
	"math"

	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// solvesName is the state that counts what the solves of bip-exact came to: solves, those that met negative curvature,
// those that did not converge for another reason, and products with the Hessian.
const solvesName = "solves"

// States in which bip-exact leaves the hypergradient, and what of it is not the implicit term.
const gradientName, directName = "hypergradient", "direct term"

// exactSpec is bip-exact: the total derivative with the Hessian H of G(m ⊙ θ) in θ,
//
//	(H + γ I) w = m ⊙ ∇z F(z),   g = θ ⊙ ∇z F(z) - ∂²/∂m∂θ G(m ⊙ θ) · w
//
// by conjugate gradients on a minibatch of each level, before the steps on the weights. Where G's Hessian is not
// positive definite with γ, the solve ends with negative curvature, and w is its last iterate. Solves gives the counts.
func (m BiP) exactSpec(t Task, b *problem.Bound, k Kept) engine.Spec {
	x := &exact{solver: m.solver()}
	return engine.Spec{
		Chunk: 1, Between: x.between, Close: x.close,
		State: []engine.Array{
			{Name: gradientName, Zeros: b.Lower.Start.Size()}, {Name: directName, Zeros: b.Lower.Start.Size()},
			{Name: solvesName, Zeros: 4, Unwatched: true},
		},
		Phases: []engine.Phase{{
			Name: "scores",
			Build: func(it *engine.Iteration, s *engine.State) {
				g := s.Get(gradientName)
				m.score(it, s, t, g, g.Sub(s.Get(directName)), k)
			},
		}, m.weights()},
	}
}

// solver is that of bip-exact.
func (m BiP) solver() linear.CG {
	return linear.CG{
		RTol: cmp.Or(m.CGTolerance, 1e-3), Damping: 1 / m.InverseGamma, MaxSteps: cmp.Or(m.CGSteps, 20),
		FromZero: true, Trust: true,
	}
}

// Solves is what the solves of bip-exact came to.
type Solves struct{ Solves, NegativeCurvature, NotConverged, Products int }

// SolvesOf reads the counts from the state of a run; they are 0 for other searches.
func SolvesOf(state map[string][]float64) (s Solves) {
	if c := state[solvesName]; len(c) == 4 {
		s = Solves{int(c[0]), int(c[1]), int(c[2]), int(c[3])}
	}
	return s
}

// exact computes hypergradients outside of the engine's programs. Its minibatches depend on the number of the iteration
// alone.
type exact struct {
	solver linear.CG
	h      *hypergradient
	rows   [2]*tensor.Variable // indices of the minibatches by side; nil: all rows
	host   [2][]int32
}

// exactStream keeps the minibatches of the solves apart from those of the steps.
const exactStream = 0x65786163

func (x *exact) between(e *engine.Engine, k int) error {
	b := e.Problem()
	if x.h == nil {
		if err := x.prepare(e); err != nil {
			return err
		}
	}
	for _, side := range []problem.Side{problem.Lower, problem.Upper} {
		if x.rows[side] == nil {
			continue
		}
		l := b.Level(side)
		from := problem.Source{Seed: e.Seed(), Stream: exactStream + uint32(side), Rows: l.Rows.Count()}
		err := l.Sampler.Fill(x.host[side], from, uint64(k))
		if err := joined(err, x.rows[side].WriteInts(x.host[side])); err != nil {
			return err
		}
	}
	st, err := x.h.run(context.Background())
	if err != nil {
		return err
	}
	counts := e.Variable(solvesName)
	c, err := counts.Read()
	if err != nil {
		return err
	}
	c[0]++
	switch st.Status {
	case linear.Converged:
	case linear.NegativeCurvature:
		c[1]++
	default:
		c[2]++
	}
	c[3] += float64(st.Products)
	return joined(counts.Write(c), e.Variable(gradientName).CopyFrom(x.h.g),
		e.Variable(directName).CopyFrom(x.h.direct))
}

func (x *exact) prepare(e *engine.Engine) (err error) {
	b, sc := e.Problem(), e.Executor().Scope()
	var batches [2]problem.Batch
	for _, side := range []problem.Side{problem.Lower, problem.Upper} {
		batches[side] = b.All(side)
		if s := b.Level(side).Sampler; s != nil {
			x.rows[side] = sc.Variable("rows of a solve", tensor.Int, s.Size())
			x.host[side] = make([]int32, s.Size())
			batches[side] = b.Batch(side, x.rows[side].Node())
		}
	}
	mask, theta, state := e.Variable("x"), e.Variable("y"), e.Variable(engine.StateName)
	x.h, err = newHypergradient(sc, b, mask, theta, state, batches, x.solver)
	return err
}

func (x *exact) close() error {
	if x.h == nil {
		return nil
	}
	return x.h.scope.Close()
}

// hypergradient is the exact total derivative at a point (m, θ), prepared for minibatches of the two levels.
type hypergradient struct {
	scope       *tensor.Scope
	system      linear.System
	g           *tensor.Variable
	direct      *tensor.Variable // of it, the part that has the weights fixed
	begin, last *tensor.Function
}

// newHypergradient takes over the scope.
func newHypergradient(sc *tensor.Scope, b *problem.Bound, m, theta, state *tensor.Variable, batches [2]problem.Batch,
	solver linear.Solver) (*hypergradient, error) {
	h := &hypergradient{
		scope: sc, g: sc.Variable("hypergradient", tensor.Real, m.Size()),
		direct: sc.Variable("direct term", tensor.Real, m.Size()),
	}
	x, y := m.Node(), theta.Node()
	point := func(side problem.Side) *problem.Point {
		var s *tensor.Node
		if state != nil {
			s = state.Node()
		}
		return b.Oracle().At(side, x, y, batches[side], params.TrainFrozen, s)
	}
	hessian := func(v *tensor.Node) *tensor.Node { return point(problem.Lower).HVP(v) }
	system, err := solver.Prepare(b.Executor, linear.Matrix{N: m.Size(), Apply: hessian})
	if err != nil {
		return nil, joined(err, sc.Close())
	}
	sc.Own(system.Close)
	h.system = system
	h.begin = sc.Compile("right-hand side", func() []tensor.Update {
		gx, gy := point(problem.Upper).Grad()
		return []tensor.Update{{Var: system.RHS(), Value: gy}, {Var: h.direct, Value: gx}}
	})
	h.last = sc.Compile("hypergradient", func() []tensor.Update {
		cross := point(problem.Lower).Cross(system.Solution().Node())
		return []tensor.Update{{Var: h.g, Value: h.direct.Node().Sub(cross)}}
	})
	if err := sc.Err(); err != nil {
		return nil, joined(err, sc.Close())
	}
	return h, nil
}

// run computes g where the variables stand.
func (h *hypergradient) run(ctx context.Context) (st linear.Stats, err error) {
	st.SmallestEigenvalue = math.NaN()
	if err = h.begin.Run(1); err != nil {
		return st, err
	}
	if st, err = h.system.Solve(ctx); err != nil {
		return st, err
	}
	return st, h.last.Run(1)
}
