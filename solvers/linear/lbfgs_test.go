package linear_test

import (
	"testing"

	"bilevel/device"
	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// conjugate are memory pairs of steps s_i that are conjugate in A, with changes A s_i, the oldest places left empty
// where there are more places than n; the inverse of n of them is A⁻¹ exactly.
func conjugate(t *testing.T, a *mat.SymDense, pairs, memory int) func(*system, *linear.Matrix) {
	n := a.SymmetricDim()
	steps, changes, weights := make([]float64, memory*n), make([]float64, memory*n), make([]float64, memory)
	for i := range pairs {
		s := mat.NewVecDense(n, normals(uint64(200+i), n))
		for j := range i {
			at := (memory - pairs + j) * n
			d := floats.Dot(s.RawVector().Data, changes[at:at+n])
			s.AddScaledVec(s, -d*weights[memory-pairs+j], mat.NewVecDense(n, steps[at:at+n]))
		}
		var d mat.VecDense
		d.MulVec(a, s)
		at := (memory - pairs + i) * n
		copy(steps[at:], s.RawVector().Data)
		copy(changes[at:], d.RawVector().Data)
		weights[memory-pairs+i] = 1 / mat.Dot(s, &d)
	}
	return func(s *system, m *linear.Matrix) {
		p := &linear.Pairs{
			Steps: s.ex.Variable("s", tensor.Real, memory, n), Changes: s.ex.Variable("d", tensor.Real, memory, n),
			Weights: s.ex.Variable("w", tensor.Real, memory), Scale: s.ex.Variable("γ", tensor.Real),
		}
		require.NoError(t, p.Steps.Write(steps))
		require.NoError(t, p.Changes.Write(changes))
		require.NoError(t, p.Weights.Write(weights))
		require.NoError(t, p.Scale.Write([]float64{0.7}))
		m.Pairs = p
	}
}

// With n conjugate pairs B is A⁻¹, whatever the first estimate and the number of empty places.
func TestLBFGSInverseIsExactWithAllPairs(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n = 6
		a, b := withSpectrum(100, spread(n, 10)...), normals(101, n)
		for _, memory := range []int{n, n + 3} {
			s := prepareKnown(t, dev, linear.LBFGSInverse{RTol: 1e-2}, a, conjugate(t, a, n, memory))
			v, st := s.solve(b, nil)
			require.Equal(t, linear.Converged, st.Status)
			want := exact(t, a, b)
			require.LessOrEqual(t, floats.Distance(want, v, 2), 1e4*dev.Info().UnitRoundoff()*floats.Norm(want, 2))
			require.Equal(t, [2]int{0, 1}, [2]int{st.Steps, st.Products})
		}
	})
}

// With fewer pairs the residual tells the error, and steps of CG from there shrink it; from zero they end higher.
func TestLBFGSInverseRefines(t *testing.T) {
	const n, pairs = 12, 8
	a, b := withSpectrum(102, spread(n, 100)...), normals(103, n)
	prepare := func(m linear.LBFGSInverse) *system {
		return prepareKnown(t, float64s(t), m, a, conjugate(t, a, pairs, pairs))
	}
	v, st := prepare(linear.LBFGSInverse{}).solve(b, nil)
	require.Equal(t, linear.Approximate, st.Status)
	require.InEpsilon(t, residual(a, b, v), st.Residual, 1e-10)
	v, refined := prepare(linear.LBFGSInverse{Refine: 4, RTol: 1e-10}).solve(b, nil)
	require.InEpsilon(t, residual(a, b, v), refined.Residual, 1e-10)
	require.Less(t, refined.Residual, st.Residual/2)
	require.Equal(t, [2]int{4, 6}, [2]int{refined.Steps, refined.Products})
	_, zero := prepareKnown(t, float64s(t), linear.CG{RTol: 1e-10, MaxSteps: 4}, a, conjugate(t, a, 1, 1)).solve(b, nil)
	require.Less(t, refined.Residual, zero.Residual)
}

// Where the pairs blow b up by more than the fallback, v is b.
func TestLBFGSInverseFallsBack(t *testing.T) {
	const n = 5
	a, b := diagonal(0.5, 0.5, 0.5, 0.5, 0.5), normals(104, n) // A⁻¹ = 2I
	for fallback, factor := range map[float64]float64{0: 2, 1.3: 1, 1.9: 1, 2.1: 2} {
		s := prepareKnown(t, float64s(t), linear.LBFGSInverse{Fallback: fallback}, a, conjugate(t, a, n, n))
		v, _ := s.solve(b, nil)
		require.InDeltaSlice(t, scaled(b, factor), v, 1e-12, "fallback %g", fallback)
	}
}

// As a preconditioner all pairs solve in a step, and a few pairs save steps. Damping is seen by the system alone.
func TestPairsAsPreconditioner(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n = 8
		a, b := withSpectrum(105, spread(n, 50)...), normals(106, n)
		solve := func(pairs int, damping float64) ([]float64, linear.Stats) {
			m := linear.CG{RTol: 1e-4, Preconditioner: linear.FromPairs{}, Damping: damping, MaxSteps: 60}
			return prepareKnown(t, dev, m, a, conjugate(t, a, pairs, pairs)).solve(b, nil)
		}
		_, one := solve(n, 0)
		require.Equal(t, linear.Converged, one.Status)
		require.LessOrEqual(t, one.Steps, 2)
		_, few := solve(n-3, 0)
		_, plain := prepare(t, dev, linear.CG{RTol: 1e-4, MaxSteps: 60}, a).solve(b, nil)
		require.Equal(t, linear.Converged, few.Status)
		require.Less(t, few.Steps, plain.Steps)
		v, damped := solve(n, 0.5)
		require.Equal(t, linear.Converged, damped.Status)
		shifted := mat.NewSymDense(n, nil)
		shifted.AddSym(a, mat.NewDiagDense(n, scaled(ones(n), 0.5)))
		require.LessOrEqual(t, residual(shifted, b, v), 1.001e-4*damped.RHSNorm+rounding(dev, shifted, b, v))
	})
}

func TestLBFGSInverseSettings(t *testing.T) {
	ex := tensor.NewExecutor(float64s(t))
	defer ex.Close()
	s := &system{t: t, ex: ex}
	m := linear.Matrix{N: 3, Apply: func(v *tensor.Node) *tensor.Node { return v }}
	conjugate(t, diagonal(1, 2, 3), 2, 2)(s, &m)
	_, err := linear.LBFGSInverse{Refine: -1}.Prepare(ex, m)
	require.ErrorContains(t, err, "refine -1")
	m.N = 4
	_, err = linear.LBFGSInverse{}.Prepare(ex, m)
	require.ErrorContains(t, err, "pairs of shape [2 3] for a matrix of size 4")
	m.Pairs = nil
	_, err = linear.CG{Preconditioner: linear.FromPairs{}}.Prepare(ex, m)
	require.ErrorContains(t, err, "FromPairs wants Matrix.Pairs")
}
