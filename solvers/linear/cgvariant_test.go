package linear_test

import (
	"math"
	"testing"

	"bilevel/device"
	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// preconditioned is conjugate gradients with M⁻¹ applied to residuals, in plain float64 loops: the k-th iterate.
func preconditioned(a *mat.SymDense, b, diagonal []float64, k int) []float64 {
	n := len(b)
	v, r, z := make([]float64, n), append([]float64(nil), b...), make([]float64, n)
	floats.DivTo(z, r, diagonal)
	d := append([]float64(nil), z...)
	for range k {
		var ad mat.VecDense
		ad.MulVec(a, mat.NewVecDense(n, d))
		rho := floats.Dot(r, z)
		alpha := rho / floats.Dot(d, ad.RawVector().Data)
		floats.AddScaled(v, alpha, d)
		floats.AddScaled(r, -alpha, ad.RawVector().Data)
		floats.DivTo(z, r, diagonal)
		beta := floats.Dot(r, z) / rho
		floats.Scale(beta, d)
		floats.Add(d, z)
	}
	return v
}

// badlyScaled is D A D with a well-conditioned A and a diagonal D of large spread.
func badlyScaled(seed uint64, n int) *mat.SymDense {
	a := withSpectrum(seed, spread(n, 4)...)
	scale := spread(n, 1e2)
	for i := range n {
		for j := range i + 1 {
			a.SetSym(i, j, a.At(i, j)*scale[i]*scale[j])
		}
	}
	return a
}

func diagonalOf(a *mat.SymDense) []float64 {
	d := make([]float64, a.SymmetricDim())
	for i := range d {
		d[i] = a.At(i, i)
	}
	return d
}

// given knows the diagonal of a dense matrix.
func given(s *system, m *linear.Matrix) {
	m.Diagonal = func() *tensor.Node {
		identity := tensor.Iota(0, m.N, m.N).Eq(tensor.Iota(1, m.N, m.N))
		return s.a.Node().Mul(identity).Sum(0)
	}
}

// The iterates are those of the textbook's loop, whether the diagonal is given or found by unit vectors.
func TestPreconditionedCGIterates(t *testing.T) {
	const n = 10
	a, b := badlyScaled(50, n), normals(51, n)
	for k := 1; k < n; k++ {
		want := preconditioned(a, b, diagonalOf(a), k)
		for _, p := range []linear.Preconditioner{linear.Given{}, linear.ExactDiagonal{}} {
			s := prepareKnown(t, float64s(t), linear.CG{RTol: 1e-13, MaxSteps: k, Preconditioner: p}, a, given)
			v, st := s.solve(b, nil)
			require.Equal(t, k, st.Steps)
			require.LessOrEqual(t, floats.Distance(want, v, 2), 1e-10*floats.Norm(want, 2), "%T, step %d", p, k)
			require.InEpsilon(t, residual(a, b, v), st.Residual, 1e-9)
			products := k + 2
			if (p == linear.ExactDiagonal{}) {
				products += n
			}
			require.Equal(t, products, st.Products)
			require.True(t, math.IsNaN(st.SmallestEigenvalue))
		}
	}
}

// On a badly scaled matrix the diagonal saves most of the steps, and all preconditioners solve the same system.
func TestPreconditionersHelp(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n = 40
		a, b := badlyScaled(52, n), normals(53, n)
		plain := prepare(t, dev, linear.CG{RTol: 1e-4, MaxSteps: 2000}, a)
		_, without := plain.solve(b, nil)
		for _, p := range []linear.Preconditioner{
			linear.Given{}, linear.ExactDiagonal{}, linear.Hutchinson{Probes: 200, Seed: 1 << 40},
		} {
			s := prepareKnown(t, dev, linear.CG{RTol: 1e-4, MaxSteps: 2000, Preconditioner: p}, a, given)
			v, st := s.solve(b, nil)
			require.Equal(t, linear.Converged, st.Status, "%T: %+v", p, st)
			require.Less(t, 2*st.Steps, without.Steps, "%T", p)
			require.LessOrEqual(t, residual(a, b, v), 1.001e-4*st.RHSNorm+rounding(dev, a, b, v))
			again, _ := s.solve(b, nil)
			require.Equal(t, bits(v), bits(again), "the probes are the same ones each time")
			_, warm := s.solve(b, v)
			require.Zero(t, warm.Steps)
		}
	})
}

// For a diagonal matrix one probe of random signs gives the diagonal, and then one step solves.
func TestHutchinsonIsExactOnDiagonals(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		s := prepare(t, dev, linear.CG{RTol: 1e-5, Preconditioner: linear.Hutchinson{Probes: 1}}, diagonal(1, 10, 100))
		v, st := s.solve([]float64{1, 1, 1}, nil)
		require.Equal(t, linear.Converged, st.Status)
		require.Equal(t, 1, st.Steps)
		require.InDeltaSlice(t, []float64{1, 0.1, 0.01}, v, 1e-6)
	})
}

// After negative curvature the solve begins again with a larger damping, which Stats tells, until the matrix is
// positive definite or the raises are used up.
func TestCGRaisesDamping(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		a := withSpectrum(54, 3, 2, 1, 0.5, -0.2, -0.4)
		b := normals(55, 6)
		s := prepare(t, dev, linear.CG{RTol: 1e-4, MaxRaises: 5}, a)
		v, st := s.solve(b, nil)
		require.Equal(t, linear.Converged, st.Status)
		require.Greater(t, st.Damping, 0.4, "less would leave a negative eigenvalue")
		require.Less(t, st.Damping, 20*2*0.4)
		require.Negative(t, st.SmallestEigenvalue)
		require.GreaterOrEqual(t, st.SmallestEigenvalue, -0.4-1e-6)
		damped := mat.NewSymDense(6, nil)
		damped.CopySym(a)
		for i := range 6 {
			damped.SetSym(i, i, a.At(i, i)+st.Damping)
		}
		require.InDelta(t, residual(damped, b, v), st.Residual, rounding(dev, damped, b, v))
		require.LessOrEqual(t, st.Residual, 1.001e-4*st.RHSNorm)

		_, off := prepare(t, dev, linear.CG{RTol: 1e-4}, a).solve(b, nil)
		require.Equal(t, linear.NegativeCurvature, off.Status, "off by default")
		require.Zero(t, off.Damping)

		// For A = -I the first direction has the curvature -1, so that the first damping is 2 and A + 2 I = I.
		v, st = prepare(t, dev, linear.CG{RTol: 1e-4, MaxRaises: 1}, diagonal(-1, -1)).solve([]float64{1, 2}, nil)
		require.Equal(t, linear.Converged, st.Status)
		require.Equal(t, 2.0, st.Damping)
		require.Equal(t, -1.0, st.SmallestEigenvalue)
		require.InDeltaSlice(t, []float64{1, 2}, v, 1e-6)

		// For diag(0, -1) and b = e_1 the curvature is 0 and so is A b: nothing tells a size for the damping.
		_, st = prepare(t, dev, linear.CG{RTol: 1e-4, MaxRaises: 2}, diagonal(0, -1)).solve([]float64{1, 0}, nil)
		require.Equal(t, linear.NegativeCurvature, st.Status)

		// A convex matrix is solved without damping, in the steps of plain CG.
		convex := withSpectrum(56, spread(8, 20)...)
		_, plain := prepare(t, dev, linear.CG{RTol: 1e-4}, convex).solve(normals(57, 8), nil)
		_, st = prepare(t, dev, linear.CG{RTol: 1e-4, MaxRaises: 3}, convex).solve(normals(57, 8), nil)
		require.Equal(t, [2]any{linear.Converged, plain.Steps}, [2]any{st.Status, st.Steps})
		require.Zero(t, st.Damping)
	})
}

func TestCGVariantSettings(t *testing.T) {
	ex := tensor.NewExecutor(float64s(t))
	defer ex.Close()
	m := linear.Matrix{N: 3, Apply: func(v *tensor.Node) *tensor.Node { return v }}
	for text, c := range map[string]linear.CG{
		"wants Matrix.Diagonal":       {RTol: 1e-3, Preconditioner: linear.Given{}},
		"Hutchinson with -2 probes":   {RTol: 1e-3, Preconditioner: linear.Hutchinson{Probes: -2}},
		"max raises -1":               {RTol: 1e-3, MaxRaises: -1},
		"wants raises from 0 on, and": {RTol: 1e-3, MaxRaises: 1, Trust: true},
	} {
		_, err := c.Prepare(ex, m)
		require.ErrorContains(t, err, text)
	}
	require.Contains(t, linear.CG{Preconditioner: linear.Hutchinson{Probes: 3}, MaxRaises: 2}.String(),
		"preconditioner linear.Hutchinson{Probes:3 Seed:0}, damping raised at most 2 times")
}
