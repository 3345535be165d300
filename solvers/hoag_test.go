package solvers_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// HOAG meets its tolerances in every iteration, whose sum is finite, and moves x along ∇xF - C v with what it solved.
func TestHOAGKeepsItsTolerances(t *testing.T) {
	const first, n = 0.1, 12
	seed := rand.Uint64() >> 1
	q := plain{solvertest.NewQuadratic(seed, 3, solvertest.Spectrum(6, 10))}
	for rule, c := range map[string]struct {
		tolerance func(k float64) float64
		sum       float64 // of ε_k/ε₀
	}{
		"exponential": {func(k float64) float64 { return math.Pow(0.9, k) }, 10},
		"quadratic":   {func(k float64) float64 { return math.Pow(k+1, -2) }, math.Pi * math.Pi / 6},
		"cubic":       {func(k float64) float64 { return math.Pow(k+1, -3) }, 1.2020569031595942},
	} {
		total := 0.0
		for k := range 100_000 {
			total += c.tolerance(float64(k))
		}
		require.InDelta(t, c.sum, total, 1e-4, rule)

		ex := executor(t)
		p := load(t, ex, q.Quadratic)
		p.Upper.Start = problem.Vector(0.4, -1, 0.7)
		e := begin(t, ex, p, solvers.HOAG{OuterStep: 0.02, Tolerance: first, Rule: rule}, n, 0)
		for k := range n {
			x := vector(t, e, "x")
			step(t, e, k, 1)
			y, v, limit := vector(t, e, "y"), vector(t, e, "v"), first*c.tolerance(float64(k))
			require.LessOrEqual(t, floats.Norm(q.lowerY(x, y), 2), limit*(1+1e-9), "%s, k = %d, seed %d", rule, k, seed)
			residual := less(times(q.A, v), q.upperY(x, y))
			require.LessOrEqual(t, floats.Norm(residual, 2), limit*(1+1e-9), "%s, k = %d, seed %d", rule, k, seed)
			want := move(x, 0.02, q.slope(x, y, v))
			require.InDeltaSlice(t, want, vector(t, e, "x"), 1e-13*(1+floats.Norm(want, 2)), "seed %d", seed)
		}
		spent := e.Charged()
		require.Positive(t, spent.LowerGradients, "what the host did is charged")
		require.Positive(t, spent.HVP)
	}
}

// bfgs minimizes the lower objective by the dense form of BFGS, and gives the minimizer and the inverse it has learned:
// γI with γ from the last pair, updated by all pairs from the first one on, as L-BFGS with enough memory does.
func (q plain) bfgs(x, y []float64, tolerance float64) (end []float64, inverse *mat.Dense) {
	n := len(y)
	var steps, changes [][]float64
	inverse = mat.NewDense(n, n, nil)
	g := q.lowerY(x, y)
	for i := range n {
		inverse.Set(i, i, 1/floats.Norm(g, 2))
	}
	for floats.Norm(g, 2) > tolerance {
		d := scaled(-1, times(inverse, g))
		size := 1.0
		for q.lower(x, move(y, -size, d)) > q.lower(x, y)+1e-4*size*floats.Dot(g, d) {
			size /= 2
		}
		next := move(y, -size, d)
		steps, changes = append(steps, less(next, y)), append(changes, less(q.lowerY(x, next), g))
		y, g = next, q.lowerY(x, next)
		last := len(steps) - 1
		gamma := floats.Dot(steps[last], changes[last]) / floats.Dot(changes[last], changes[last])
		inverse = mat.NewDense(n, n, nil)
		for i := range n {
			inverse.Set(i, i, gamma)
		}
		for i, s := range steps {
			rho := 1 / floats.Dot(s, changes[i])
			left := mat.NewDense(n, n, nil)
			left.Outer(-rho, mat.NewVecDense(n, s), mat.NewVecDense(n, changes[i]))
			for j := range n {
				left.Set(j, j, left.At(j, j)+1)
			}
			var half, whole, rank mat.Dense
			half.Mul(left, inverse)
			whole.Mul(&half, left.T())
			rank.Outer(rho, mat.NewVecDense(n, s), mat.NewVecDense(n, s))
			inverse.Add(&whole, &rank)
		}
	}
	return y, inverse
}

// Three iterates of SHINE against the dense form of BFGS.
func TestSHINEOfDenseBFGS(t *testing.T) {
	seed := rand.Uint64() >> 1
	for _, seed := range []uint64{7, seed} {
		q := plain{solvertest.NewQuadratic(seed, 3, solvertest.Spectrum(4, 5))}
		ex := executor(t)
		p := load(t, ex, q.Quadratic)
		p.Upper.Start = problem.Vector(0.4, -1, 0.7)
		p.Lower.Start = problem.Vector(1, -0.5, 0.2, 0.8)
		e := begin(t, ex, p, solvers.SHINE{OuterStep: 0.02, Tolerance: 0.1, Pairs: 20}, 3, 0)
		x, y := p.Upper.Start.Flat, p.Lower.Start.Flat
		for k := range 3 {
			step(t, e, k, 1)
			var b *mat.Dense
			y, b = q.bfgs(x, y, 0.1*math.Pow(0.9, float64(k)))
			v := times(b, q.upperY(x, y))
			x = move(x, 0.02, q.slope(x, y, v))
			for name, want := range map[string][]float64{"x": x, "y": y, "v": v} {
				// Some ten steps with quotients of differences, which lose a few digits.
				require.InDeltaSlice(t, want, vector(t, e, name), 1e-10*(1+floats.Norm(want, 2)), "%s, k = %d, seed %d",
					name, k, seed)
			}
		}
	}
}
