package solvers_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"bilevel/data"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"os"
	"path/filepath"
	"slices"

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

// learned is what the dense form of BFGS has kept: all of its pairs.
type learned struct {
	steps, changes [][]float64
	last           []float64 // the last step
	gamma          float64   // of its pair; 0: none
}

// inverse is γI with γ from the last step, updated by all pairs from the first one on, as L-BFGS with enough memory
// does; without pairs I/size.
func (l *learned) inverse(n int, size float64) *mat.Dense {
	b := mat.NewDense(n, n, nil)
	gamma := 1 / size
	if l.gamma > 0 {
		gamma = l.gamma
	}
	for i := range n {
		b.Set(i, i, gamma)
	}
	for i, s := range l.steps {
		rho := 1 / floats.Dot(s, l.changes[i])
		left := mat.NewDense(n, n, nil)
		left.Outer(-rho, mat.NewVecDense(n, s), mat.NewVecDense(n, l.changes[i]))
		for j := range n {
			left.Set(j, j, left.At(j, j)+1)
		}
		var half, whole, rank mat.Dense
		half.Mul(left, b)
		whole.Mul(&half, left.T())
		rank.Outer(rho, mat.NewVecDense(n, s), mat.NewVecDense(n, s))
		b.Add(&whole, &rank)
	}
	return b
}

// minimize is BFGS on the lower objective from y; every is the steps between two pairs along B ∇yF, 0 for none.
func (l *learned) minimize(q plain, x, y []float64, tolerance float64, every int) []float64 {
	g := q.lowerY(x, y)
	for k := 0; floats.Norm(g, 2) > tolerance; k++ {
		if every > 0 && k > 0 && k%every == 0 {
			e := times(l.inverse(len(y), 1), q.upperY(x, y))
			e = scaled(floats.Norm(l.last, 2)/floats.Norm(e, 2), e)
			l.steps, l.changes = append(l.steps, e), append(l.changes, less(q.lowerY(x, sum(y, e)), g))
		}
		d := scaled(-1, times(l.inverse(len(y), floats.Norm(g, 2)), g))
		size := 1.0
		for q.lower(x, move(y, -size, d)) > q.lower(x, y)+1e-4*size*floats.Dot(g, d) {
			size /= 2
		}
		next := move(y, -size, d)
		l.last = less(next, y)
		change := less(q.lowerY(x, next), g)
		l.steps, l.changes = append(l.steps, l.last), append(l.changes, change)
		l.gamma = floats.Dot(l.last, change) / floats.Dot(change, change)
		y, g = next, q.lowerY(x, next)
	}
	return y
}

// Three iterates of SHINE against the dense form of BFGS, without and with pairs along B ∇yF.
func TestSHINEOfDenseBFGS(t *testing.T) {
	drawn := rand.Uint64() >> 1
	for _, seed := range []uint64{7, drawn} {
		for _, every := range []int{0, 2} {
			q := plain{solvertest.NewQuadratic(seed, 3, solvertest.Spectrum(4, 5))}
			ex := executor(t)
			p := load(t, ex, q.Quadratic)
			p.Upper.Start = problem.Vector(0.4, -1, 0.7)
			p.Lower.Start = problem.Vector(1, -0.5, 0.2, 0.8)
			e := begin(t, ex, p, solvers.SHINE{OuterStep: 0.02, Tolerance: 0.1, Pairs: 60, Every: every}, 3, 0)
			x, y, l := p.Upper.Start.Flat, p.Lower.Start.Flat, &learned{}
			for k := range 3 {
				step(t, e, k, 1)
				y = l.minimize(q, x, y, 0.1*math.Pow(0.9, float64(k)), every)
				v := times(l.inverse(len(y), 1), q.upperY(x, y))
				x = move(x, 0.02, q.slope(x, y, v))
				for name, want := range map[string][]float64{"x": x, "y": y, "v": v} {
					// Some twenty steps with quotients of differences, which lose a few digits.
					require.InDeltaSlice(t, want, vector(t, e, name), 1e-10*(1+floats.Norm(want, 2)),
						"%s, k = %d, seed %d, every %d", name, k, seed, every)
				}
			}
		}
	}
}

// ijcnn1 is rows with 22 features of which a tenth has the label 1: the first rows of both parts of the real set where
// $BILEVEL_DATA has it, else drawn ones.
func ijcnn1(t *testing.T, seed uint64, n int) solvertest.Closed {
	const d = 22
	var rows [2]*mat.Dense
	var labels [2][]float64
	if root := os.Getenv(data.EnvFolder); root != "" {
		set, err := data.OpenNamed("ijcnn1", filepath.Join(root, "ijcnn1"))
		require.NoError(t, err)
		for part, of := range []*data.Set{set.Train, set.Test} {
			rows[part] = mat.NewDense(n, d, nil)
			for i := range n {
				for j, v := range of.Row(i) {
					rows[part].Set(i, j, float64(v))
				}
				labels[part] = append(labels[part], float64(2*of.Labels[i]-1))
			}
		}
		return solvertest.NewLogistic(rows[0], labels[0], rows[1], labels[1])
	}
	r := rand.New(rand.NewPCG(seed, 1))
	truth := make([]float64, d)
	for j := range truth {
		truth[j] = r.NormFloat64()
	}
	for part := range rows {
		rows[part] = mat.NewDense(n, d, nil)
		for i := range n {
			margin := -3.0
			for j := range d {
				rows[part].Set(i, j, 0.4*r.NormFloat64())
				margin += truth[j] * rows[part].At(i, j)
			}
			labels[part] = append(labels[part], 2*float64(int(r.Float64()+1/(1+math.Exp(-margin))))-1)
		}
	}
	return solvertest.NewLogistic(rows[0], labels[0], rows[1], labels[1])
}

// A weight for each of 22 features: SHINE and HOAG both bring down the hypergradient, as dense Newton steps in plain Go
// know it, SHINE with the one product for its residual where HOAG's conjugate gradients take several, and fewer
// gradients, because the pairs that are kept help to solve the lower level too.
func TestSHINEBesideHOAG(t *testing.T) {
	c := ijcnn1(t, 3, 300)
	size := func(x []float64) float64 {
		_, g := c.Exact(x)
		return floats.Norm(g, 2)
	}
	const n = 60
	ends, costs := map[string]float64{}, map[string]problem.Counts{}
	for _, a := range []solvers.Algorithm{solvers.HOAG{OuterStep: 20}, solvers.SHINE{OuterStep: 20}} {
		ex := executor(t)
		p := load(t, ex, c)
		p.Upper.Start.Flat = slices.Repeat([]float64{-4}, 22)
		res := solve(t, ex, p, a, solvers.Options{Iterations: n})
		ends[a.Name()], costs[a.Name()] = size(res.X.Flat)/size(p.Upper.Start.Flat), res.Counts
	}
	t.Logf("the hypergradient falls to %v of what it was, at %v", ends, costs)
	require.Less(t, ends["hoag"], 0.6)
	require.Less(t, ends["shine"], 1.3*ends["hoag"])
	require.EqualValues(t, n, costs["shine"].HVP)
	require.Greater(t, costs["hoag"].HVP, int64(3*n))
	require.Less(t, costs["shine"].LowerGradients, costs["hoag"].LowerGradients)
}

// HOAG with steps that are found on the way against a plain loop with exact solutions, which keeps a move where F at
// the solution does not rise, and takes it back else.
func TestHOAGFindsItsSteps(t *testing.T) {
	const n, tolerance = 12, 1e-9
	seed := rand.Uint64() >> 1
	q := plain{solvertest.NewQuadratic(seed, 3, solvertest.Spectrum(6, 10))}
	upper := func(x []float64) float64 {
		y, _ := q.Exact(x)
		// F is quadratic, and ∇F at a point that is halfway to it gives its value.
		half := [2][]float64{scaled(0.5, x), scaled(0.5, y)}
		return floats.Dot(q.upperX(half[0], half[1]), x) + floats.Dot(q.upperY(half[0], half[1]), y)
	}
	ex := executor(t)
	p := load(t, ex, q.Quadratic)
	p.Upper.Start = problem.Vector(0.4, -1, 0.7)
	e := begin(t, ex, p, solvers.HOAG{OuterStep: 0.5, Tolerance: tolerance, Adaptive: true}, n, 0)
	x := p.Upper.Start.Flat
	var last []float64
	value, length, kept, back := 0.0, 0.0, 0, 0
	for k := range n {
		if f := upper(x); k == 0 || f <= value {
			value, length = f, 1.5*length
			kept++
		} else {
			x, length = last, length/2
			back++
		}
		_, slope := q.Exact(x)
		if k == 0 {
			length = 0.5 * math.Sqrt(3) / floats.Norm(slope, 2)
		}
		last, x = x, move(x, length, slope)
		step(t, e, k, 1)
		require.InDeltaSlice(t, x, vector(t, e, "x"), 1e-6*(1+floats.Norm(x, 2)), "k = %d, seed %d", k, seed)
		require.InDelta(t, length, vector(t, e, "length")[0], 1e-6*length)
	}
	require.Greater(t, kept, 1)
	require.Positive(t, back, "seed %d: steps that grow are too long in the end", seed)
}
