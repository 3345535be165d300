package hypergrad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/internal/philox"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// ZerothOrder is the hypergradient by evolution strategies on the response Jacobian (PZOBO; Sow, Ji, Liang, NeurIPS
// 2022): with T steps of an inner method from one y, at x and at x moved along random
// directions,
//
//	δ_j = (y_T(x + μu_j) - y_T(x)) / μ,   u_j ~ N(0, I_p),   j = 1 … J
//	g   = ∇xF(x,y_T) + 1/J Σ_j ⟨δ_j, ∇yF(x,y_T)⟩ u_j
//
// No second derivative is asked for: it costs (J+1)T gradients of G and one of F. Its mean is the derivative of
// F(x, y_T(x)) but for O(μ); the variance is (p+1)/J times the square of the term beside ∇xF. The directions are a
// function of (Seed, number of the call) alone: the k-th Compute of an estimator draws the same ones on every device.
// In float32, rounding in y_T adds about u|y_T|/μ to each δ.
type ZerothOrder struct {
	Inner      Inner
	Steps      int     // T
	Smoothing  float64 // μ; 0: 0.01
	Directions int     // J; 0: 10
	Seed       uint64
	// Axes takes the 2p directions ±e_i√p in place of random ones: the exact answer of central differences with a step
	// of μ√p along every axis.
	Axes bool
	Rows int // of a piece, see Implicit; 0: all together
}

func (ZerothOrder) Name() string { return "zeroth-order" }
func (ZerothOrder) Needs() Needs { return pathNeeds() }

// hopeless is the share of a result that rounding may make up before a setting is refused.
const hopeless = 0.1

// zerothOrder is ZerothOrder prepared for a problem.
type zerothOrder struct {
	ZerothOrder
	*path
	calls     uint32           // of Compute so far
	moved     *tensor.Variable // x + μu
	direction *tensor.Variable // u
	last, fy  *tensor.Variable // y_T(x), ∇yF there
	move      *tensor.Function
	collect   *tensor.Function
}

// Prepare compiles the step.
func (m ZerothOrder) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	rule, err := checkPath(b, m, x, y, unrolling{field: "ZerothOrder", inner: m.Inner, steps: m.Steps, rows: m.Rows})
	if err != nil {
		return nil, err
	}
	m.Smoothing = cmp.Or(m.Smoothing, 0.01)
	u := b.Executor.Info().UnitRoundoff()
	switch {
	case !(m.Smoothing > 0) || math.IsInf(m.Smoothing, 0):
		return nil, fmt.Errorf("hypergrad: ZerothOrder.Smoothing is %g: wants a positive, finite distance", m.Smoothing)
	case u > hopeless*m.Smoothing:
		return nil, fmt.Errorf("hypergrad: ZerothOrder.Smoothing is %g: differences of steps over so small a distance "+
			"drown in the rounding of this arithmetic; wants about %.1g, or float64 (--device ref)", m.Smoothing,
			math.Sqrt(u))
	case m.Directions < 0:
		return nil, fmt.Errorf("hypergrad: ZerothOrder.Directions is %d: wants at least 1, or 0 for 10", m.Directions)
	case m.Axes && m.Directions != 0:
		return nil, fmt.Errorf("hypergrad: ZerothOrder.Directions is %d beside Axes, which takes 2 for each upper "+
			"variable: set one of them", m.Directions)
	case m.Axes:
		m.Directions = 2 * x.Size()
	}
	m.Directions = cmp.Or(m.Directions, 10)
	sc := b.Executor.Scope()
	p, q := x.Size(), b.Lower.Start.Size()
	e := &zerothOrder{
		ZerothOrder: m, moved: sc.Variable("zeroth-order x", tensor.Real, p),
		direction: sc.Variable("zeroth-order u", tensor.Real, p), last: sc.Variable("zeroth-order y", tensor.Real, q),
		fy: sc.Variable("zeroth-order ∇yF", tensor.Real, q),
	}
	e.path = newPath(b, sc, e.moved, startAt(x, y, nil), rule, m.Steps, m.Rows)
	e.ending = prepareEnding(e.pieces, x, func(fy *tensor.Node) []tensor.Update {
		return []tensor.Update{{Var: e.fy, Value: fy}, {Var: e.last, Value: e.y.Node()}}
	})
	along := e.direction.Node()
	e.move = sc.Compile("zeroth-order move", func() []tensor.Update {
		return []tensor.Update{{Var: e.moved, Value: x.Node().Add(along.Scale(m.Smoothing))}}
	})
	e.collect = sc.Compile("zeroth-order collect", func() []tensor.Update {
		slope := tensor.Dot(e.y.Node().Sub(e.last.Node()), e.fy.Node())
		return []tensor.Update{{Var: e.g,
			Value: e.g.Node().Add(along.Mul(slope.Scale(1 / (m.Smoothing * float64(m.Directions)))))}}
	})
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e, nil
}

func (e *zerothOrder) Compute(ctx context.Context) (*Hypergradient, error) {
	var counts problem.Counts
	call := e.calls
	e.calls++
	p := e.direction.Size()
	if err := e.follow(ctx, make([]float64, p), &counts); err != nil {
		return nil, err
	}
	if err := e.finish(ctx, &counts); err != nil {
		return nil, err
	}
	draws, u := make([]float32, p), make([]float64, p)
	for j := range e.Directions {
		if e.Axes {
			clear(u)
			u[j/2] = math.Sqrt(float64(p)) * float64(1-2*(j%2))
		} else {
			philox.Normals(draws, e.Seed, call, philox.StreamDirections, uint64(j)*uint64(p))
			for i, z := range draws {
				u[i] = float64(z)
			}
		}
		if err := e.follow(ctx, u, &counts); err != nil {
			return nil, err
		}
		if err := e.collect.Run(1); err != nil {
			return nil, err
		}
	}
	how := fmt.Sprintf("a variance of (p+1)/J = %.2g times the square of the term beside ∇xF",
		float64(p+1)/float64(e.Directions))
	if e.Axes {
		how = "no variance"
	}
	return e.result("zeroth-order", fmt.Sprintf("it estimates the derivative of F(x, y_T(x)) through %d %s steps by "+
		"differences, with a bias of O(μ) for μ = %g and %s; that derivative's own bias against ∇h vanishes as y_T "+
		"comes near y*%s", e.Steps, e.Inner.Name(), e.Smoothing, how, contraction(e.p, e.Inner, e.Steps)), 0, counts)
}

// follow takes the path at x + μu.
func (e *zerothOrder) follow(ctx context.Context, u []float64, counts *problem.Counts) error {
	if err := cmp.Or(e.direction.Write(u), e.move.Run(1), e.begin.Run(1)); err != nil {
		return err
	}
	return e.advance(ctx, e.Steps, counts)
}

// Close frees the programs and vectors.
func (e *zerothOrder) Close() error { return e.scope.Close() }
