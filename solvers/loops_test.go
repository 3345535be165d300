package solvers_test

import (
	"context"
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// loop is an algorithm with what an iteration does to its state, in plain loops written from the algorithm's comment.
type loop struct {
	a         solvers.Algorithm
	iteration func(k int, s map[string][]float64) map[string][]float64
	// memories are estimates that are exact on all rows. After the first iteration they are made wrong, so that what an
	// algorithm makes of them is seen.
	memories []string
}

// lengths are those of the series of the first iterations.
var lengths = []int{2, 0, 3}

// Three iterates on Q2, on one problem that is always the same and on one that this run of the test draws.
func TestIteratesOfPlainLoops(t *testing.T) {
	drawn := rand.Uint64() >> 1
	t.Logf("the drawn problem has the seed %d", drawn)
	for _, seed := range []uint64{7, drawn} {
		q := plain{solvertest.NewQuadratic(seed, 3, solvertest.Spectrum(4, 5))}
		for _, c := range slices.Concat(q.firstLoops(), q.stochasticLoops(), q.deterministicLoops(), q.furtherLoops()) {
			c.compare(t, q, seed)
		}
	}
}

// compare runs three iterations.
func (c loop) compare(t *testing.T, q plain, seed uint64) {
	ex := executor(t)
	p := load(t, ex, q.Quadratic)
	p.Upper.Start = problem.Vector(0.4, -1, 0.7)
	p.Lower.Start = problem.Vector(1, -0.5, 0.2, 0.8)
	suit(p, c.a)
	b, err := p.Bind(ex)
	require.NoError(t, err)
	e, _, err := solvers.InitDrawing(context.Background(), b, c.a, 3, func(k, _ int) int { return lengths[k] })
	require.NoError(t, err)
	want := states(t, e)
	for k := range 3 {
		step(t, e, k, 1)
		got := states(t, e)
		want = c.iteration(k, want)
		for name, v := range want {
			// A few hundred operations of numbers near 1, and up to 10 where a problem is drawn so; Adam divides by
			// numbers that are not small.
			require.InDeltaSlice(t, v, got[name], 1e-13*(1+floats.Norm(v, 2)), "%s: %s after %d iterations, seed %d",
				c.a.Name(), name, k+1, seed)
		}
		for _, name := range c.memories {
			want[name] = scaled(1.05, got[name])
			put(t, e, name, want[name])
		}
	}
	require.NoError(t, e.Close())
}

// firstLoops are ALSET, MA-SOBA and F²SA with Adam.
func (q plain) firstLoops() []loop {
	return []loop{
		{
			solvers.ALSET{Step: 0.3, OuterStep: 0.05, NeumannStep: 0.4, Terms: 4, InnerSteps: 2, Schedule: "sqrt"},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, factor := s["x"], s["y"], 1/math.Sqrt(float64(k+1))
				for range 2 {
					y = sum(y, scaled(-0.3*factor, q.lowerY(x, y)))
				}
				v := q.upperY(x, y)
				for range lengths[k] {
					v = sum(v, scaled(-0.4, times(q.A, v)))
				}
				v = scaled(4*0.4, v)
				x = sum(x, scaled(-0.05*factor, sum(q.upperX(x, y), scaled(-1, times(q.C, v)))))
				return map[string][]float64{"x": x, "y": y, "v": v}
			}, nil,
		},
		{
			solvers.MASOBA{Step: 0.3, OuterStep: 0.05, Average: 0.25},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, v, theta := s["x"], s["y"], s["v"], 0.25
				if k == 0 {
					theta = 1
				}
				d := sum(scaled(1-theta, s["d"]), scaled(theta, sum(q.upperX(x, y), scaled(-1, times(q.C, v)))))
				return map[string][]float64{
					"x": sum(x, scaled(-0.05, d)), "y": sum(y, scaled(-0.3, q.lowerY(x, y))), "d": d,
					"v": sum(v, scaled(-0.3, sum(times(q.A, v), scaled(-1, q.upperY(x, y))))),
				}
			}, nil,
		},
		{
			solvers.F2SAAdam{YStep: 0.02, ZStep: 0.03, OuterStep: 0.01, Multiplier: 2, Growth: 0.5, InnerSteps: 3,
				Beta1: 0.8, Beta2: 0.95, Epsilon: 1e-6, Schedule: "sqrt"},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, z, lambda := s["x"], s["y"], s["z"], 2+0.5*float64(k)
				factor := 1 / math.Sqrt(float64(k+1))
				adam := func(m, square, g []float64, tau int) (m1, s1, d []float64) {
					for i := range g {
						m1 = append(m1, 0.8*m[i]+(1-0.8)*g[i])
						s1 = append(s1, 0.95*square[i]+(1-0.95)*g[i]*g[i])
						hat := m1[i] / (1 - math.Pow(0.8, float64(tau)))
						d = append(d, hat/(math.Sqrt(s1[i]/(1-math.Pow(0.95, float64(tau))))+1e-6))
					}
					return m1, s1, d
				}
				my, sy, mz, sz := make([]float64, 4), make([]float64, 4), make([]float64, 4), make([]float64, 4)
				for tau := 1; tau <= 3; tau++ {
					var dy, dz []float64
					mz, sz, dz = adam(mz, sz, q.lowerY(x, z), tau)
					my, sy, dy = adam(my, sy, sum(q.upperY(x, y), scaled(lambda, q.lowerY(x, y))), tau)
					y, z = sum(y, scaled(-0.02*factor, dy)), sum(z, scaled(-0.03*factor, dz))
				}
				slope := sum(q.upperX(x, y), scaled(lambda, sum(times(q.C, y), scaled(-1, times(q.C, z)))))
				mx, sx, dx := adam(s["x m"], s["x s"], slope, k+1)
				return map[string][]float64{"x": sum(x, scaled(-0.01*factor, dx)), "y": y, "z": z, "x m": mx, "x s": sx}
			}, nil,
		},
	}
}
