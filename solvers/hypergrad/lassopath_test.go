package hypergrad_test

import (
	"math"
	"slices"
	"testing"

	"bilevel/internal/philox"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// dictionary is a sparse code of one signal in a dictionary that moves with x:
//
//	y* = argmin of ½|A(x) y - b|² + w|y|₁,   A(x) = A + x A′,   F = ½|y - t|²
//
// whose columns come in pairs that are nearly the same. Of each pair the solution uses one column, or none; while both
// are in the support at hand, A_SᵀA_S is nearly singular.
type dictionary struct {
	a, move          *mat.Dense
	b, target, start []float64
	weight           float64
	rows, n          int
}

func newDictionary(seed uint64, rows, n int) *dictionary {
	r := philox.New(seed, 0, philox.StreamTest)
	draw := func(count int, scale float64) []float64 {
		out := make([]float64, count)
		for i := range out {
			out[i] = scale * float64(r.Normal())
		}
		return out
	}
	scale := 1 / math.Sqrt(float64(rows))
	d := &dictionary{a: mat.NewDense(rows, n, draw(rows*n, scale)), move: mat.NewDense(rows, n, draw(rows*n, scale)),
		b: draw(rows, 1), target: draw(n, 1), start: draw(n, 2), weight: 0.3, rows: rows, n: n}
	for k := 0; k < n; k += 2 {
		for i := range rows {
			d.a.Set(i, k+1, d.a.At(i, k)+0.03*d.a.At(i, k+1))
		}
		d.start[k+1] = d.start[k]
	}
	return d
}

// at is A(x).
func (d *dictionary) at(x float64) *mat.Dense {
	out := mat.NewDense(d.rows, d.n, nil)
	out.Scale(x, d.move)
	out.Add(out, d.a)
	return out
}

func (d *dictionary) step(x float64) float64 { return 1 / square(mat.Norm(d.at(x), 2)) }

// walk takes proximal gradient steps (ISTA) with the derivative J of y in x beside, and shows each.
func (d *dictionary) walk(x float64, steps int, show func(t int, y, j []float64)) {
	a, eta := d.at(x), d.step(x)
	y, j := slices.Clone(d.start), make([]float64, d.n)
	show(0, y, j)
	for t := range steps {
		r, dr := make([]float64, d.rows), make([]float64, d.rows) // Ay - b, and its derivative A′y + AJ
		for i := range r {
			r[i] = floats.Dot(a.RawRowView(i), y) - d.b[i]
			dr[i] = floats.Dot(d.move.RawRowView(i), y) + floats.Dot(a.RawRowView(i), j)
		}
		for i := range r {
			floats.AddScaled(y, -eta*r[i], a.RawRowView(i))
			floats.AddScaled(j, -eta*dr[i], a.RawRowView(i))
			floats.AddScaled(j, -eta*r[i], d.move.RawRowView(i))
		}
		for i, v := range y {
			if y[i] = math.Copysign(max(0, math.Abs(v)-eta*d.weight), v); y[i] == 0 {
				j[i] = 0
			}
		}
		show(t+1, y, j)
	}
}

// direct is F's gradient in y times J: F does not see x but through y.
func (d *dictionary) direct(y, j []float64) float64 {
	sum := 0.0
	for i, v := range y {
		sum += (v - d.target[i]) * j[i]
	}
	return sum
}

func (d *dictionary) problem(t *testing.T, ex *tensor.Executor) *problem.Problem {
	a, move := table(t, ex, d.a), table(t, ex, d.move)
	b, target := vectorNode(t, ex, d.b), vectorNode(t, ex, d.target)
	return &problem.Problem{
		Name: "dictionary",
		Lower: problem.Level{Start: problem.Vector(d.start...),
			Prox: threshold(d.weight),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return a.Add(move.Mul(x.Reshape(1, 1))).MatMul(y.Reshape(d.n, 1)).Reshape(d.rows).Sub(b).Square().Sum().
					Scale(0.5)
			})},
		Upper: problem.Level{Start: problem.Vector(0),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
				return y.Sub(target).Square().Sum().Scale(0.5)
			})},
	}
}

// Before the support of the lasso's solution is found, the Jacobian of many proximal gradient steps grows with their
// number, because the columns of the support at hand depend on each other (Malézieux, Moreau, Kowalski, ICLR 2022,
// section 2.2), and the implicit answer there is that of another problem. Once the support is found both go to the
// truth, which is that of central differences.
func TestJacobianOfLassoPath(t *testing.T) {
	const x, steps = 0.0, 6000
	d := newDictionary(1, 10, 12)
	support := func(y []float64) (out []int) {
		for i, v := range y {
			if v != 0 {
				out = append(out, i)
			}
		}
		return out
	}
	solution := func(x float64) (y []float64) {
		d.walk(x, steps, func(_ int, now, _ []float64) { y = now })
		return y
	}
	star := solution(x)
	final := support(star)
	require.Less(t, len(final), d.n/2+1)
	value := func(x float64) float64 { return 0.5 * square(floats.Distance(solution(x), d.target, 2)) }
	const h = 1e-5
	truth := (value(x+h) - value(x-h)) / (2 * h)

	// The walk once more, with its largest derivative while the support is wrong, and what became of it.
	found, worst, worstAt, end := 0, 0.0, 0, 0.0
	var at []float64
	early := map[int]float64{}
	d.walk(x, steps, func(k int, y, j []float64) {
		if !slices.Equal(support(y), final) {
			found = k + 1
			if g := math.Abs(d.direct(y, j)); g > worst {
				worst, worstAt, at = g, k, slices.Clone(y)
			}
		}
		if k == 20 || k == 200 {
			early[k] = floats.Norm(j, 2)
		}
		end = d.direct(y, j)
	})
	t.Logf("truth %.6g; the support of %d is found after %d steps; before, the derivative of the steps reaches %.4g, "+
		"after %d steps; |J| is %.3g after 20 steps and %.3g after 200", truth, len(final), found, worst, worstAt,
		early[20],
		early[200])
	require.InDelta(t, truth, end, 1e-6*math.Abs(truth), "the steps find the derivative at last")
	require.Greater(t, found, 100)
	require.Greater(t, worst, 10*math.Abs(truth))
	require.Greater(t, early[200], 3*early[20], "it grows with the number of steps")

	ex := executor(t)
	p := d.problem(t, ex)
	implicit := pointOf(t, ex, p, hypergrad.Prox{Solver: linear.CG{RTol: 1e-10, MaxSteps: 400}})
	right := implicit.at([]float64{x}, star)
	require.InDelta(t, truth, right.Gradient[0], 1e-6*math.Abs(truth))
	wrong := implicit.at([]float64{x}, at)
	off := math.Abs(wrong.Gradient[0] - truth)
	t.Logf("the implicit answer is %.6g at the solution and %.6g (%s, stationarity %.2g) after %d steps",
		right.Gradient[0], wrong.Gradient[0], wrong.Status, wrong.Stationarity, worstAt)
	require.Greater(t, off, 0.5*math.Abs(truth))
	require.NotEqual(t, right.Notes[0], wrong.Notes[0], "the size of the support is said")

	// The library's own derivative of the steps is the one computed here.
	unrolled := pointOf(t, ex, p, hypergrad.Unrolled{Inner: hypergrad.GradientSteps{Step: d.step(x)}, Steps: 200})
	var plain float64
	d.walk(x, 200, func(_ int, y, j []float64) { plain = d.direct(y, j) })
	require.InEpsilon(t, plain, unrolled.at([]float64{x}, d.start).Gradient[0], 1e-9)
}
