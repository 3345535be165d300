package linear_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// In exact arithmetic n steps suffice; with a condition of 10 round-off does not delay them.
func TestCGIsExactInNSteps(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		rtol := 1e-10
		if dev.Info().RealBits == 32 {
			rtol = 1e-4
		}
		for _, n := range []int{1, 2, 3, 7, 20} {
			a, b := withSpectrum(uint64(n), spread(n, 10)...), normals(99, n)
			s := prepare(t, dev, linear.CG{RTol: rtol}, a)
			v, st := s.solve(b, nil)
			require.Equal(t, linear.Converged, st.Status, "n = %d: %+v", n, st)
			require.LessOrEqual(t, st.Steps, n)
			require.Equal(t, st.Steps+2, st.Products)
			require.InDelta(t, residual(a, b, v), st.Residual, rounding(dev, a, b, v), "the true residual is reported")
			want := exact(t, a, b)
			bound := (st.Residual + rounding(dev, a, b, v)) * 10 // |A⁻¹| = 10
			require.LessOrEqual(t, floats.Distance(want, v, 2), bound)
		}
	})
}

// With k distinct eigenvalues k steps suffice, whatever the size.
func TestCGTwoEigenvalues(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		s := prepare(t, dev, linear.CG{RTol: 1e-5}, withSpectrum(1, 2, 2, 2, 5, 5, 5, 5, 5))
		_, st := s.solve(normals(2, 8), nil)
		require.Equal(t, linear.Converged, st.Status)
		require.Equal(t, 2, st.Steps)
		require.InDelta(t, 2, st.SmallestEigenvalue, 1e-4)
	})
}

func TestCGStarts(t *testing.T) {
	a, b := withSpectrum(3, spread(10, 100)...), normals(4, 10)
	s := prepare(t, float64s(t), linear.CG{RTol: 1e-10}, a)
	solution, cold := s.solve(b, nil)

	v, st := s.solve(b, solution)
	require.True(t, math.IsNaN(st.SmallestEigenvalue), "without a step there is no Ritz value")
	st.SmallestEigenvalue = 0
	want := linear.Stats{
		Status: linear.Converged, Products: 2, Residual: cold.Residual, RHSNorm: floats.Norm(b, 2),
	}
	require.Equal(t, want, st, "a system that is solved already costs two products, for two residuals")
	require.Equal(t, solution, v)

	near := append([]float64(nil), solution...)
	near[3] += 1e-6
	_, warm := s.solve(b, near)
	require.Equal(t, linear.Converged, warm.Status)
	require.Less(t, warm.Steps, cold.Steps)

	again, st := s.solve(b, nil)
	require.Equal(t, solution, again, "solving again gives the same bits")
	require.Equal(t, cold, st)
}

func TestCGZeroRightHandSide(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		a := withSpectrum(5, spread(4, 10)...)
		s := prepare(t, dev, linear.CG{RTol: 1e-6}, a)
		v, st := s.solve(make([]float64, 4), nil)
		require.Equal(t, linear.Converged, st.Status)
		require.Zero(t, st.Steps)
		require.Equal(t, make([]float64, 4), v)

		// From another start, a tolerance relative to a zero right-hand side asks for an exact zero, so that round-off
		// decides how the solve ends.
		v, st = s.solve(make([]float64, 4), []float64{1, 2, 3, 4})
		require.Contains(t, []linear.Status{linear.Converged, linear.Stagnated, linear.MaxSteps}, st.Status)
		require.Less(t, floats.Norm(v, 2), 1e3*dev.Info().UnitRoundoff())

		s = prepare(t, dev, linear.CG{ATol: 1e-3}, a)
		v, st = s.solve(make([]float64, 4), []float64{1, 2, 3, 4})
		require.Equal(t, linear.Converged, st.Status)
		require.LessOrEqual(t, residual(a, make([]float64, 4), v), 1.01e-3)
	})
}

func TestCGTolerances(t *testing.T) {
	const n = 40
	a, b := withSpectrum(6, spread(n, 1e4)...), normals(7, n)
	norm, previous := floats.Norm(b, 2), 0
	for _, tol := range []float64{1e-1, 1e-3, 1e-6, 1e-9} {
		s := prepare(t, float64s(t), linear.CG{RTol: tol, MaxSteps: 500}, a)
		v, st := s.solve(b, nil)
		require.Equal(t, linear.Converged, st.Status)
		require.LessOrEqual(t, residual(a, b, v), 1.001*tol*norm)
		require.Greater(t, st.Steps, previous)
		previous = st.Steps

		s = prepare(t, float64s(t), linear.CG{ATol: tol * norm, MaxSteps: 500}, a)
		_, absolute := s.solve(b, nil)
		require.Equal(t, st.Steps, absolute.Steps)
	}
	s := prepare(t, float64s(t), linear.CG{RTol: 1e-9, MaxSteps: 5}, a)
	v, st := s.solve(b, nil)
	require.Equal(t, linear.MaxSteps, st.Status)
	require.Equal(t, 5, st.Steps)
	require.Equal(t, 7, st.Products)
	require.InEpsilon(t, residual(a, b, v), st.Residual, 1e-12)
	require.NotEmpty(t, st.Status.Advice())
}

// With a tolerance of zero a solve still ends, at a residual of the size of round-off, and reports no failure.
func TestCGToleranceZero(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		for seed := range uint64(20) {
			a, b := withSpectrum(seed, spread(6, 5)...), normals(seed+100, 6)
			s := prepare(t, dev, linear.CG{MaxSteps: 400}, a)
			v, st := s.solve(b, nil)
			require.Contains(t, []linear.Status{linear.Converged, linear.Stagnated}, st.Status, "%+v", st)
			require.LessOrEqual(t, residual(a, b, v), 4*rounding(dev, a, b, v))
		}
	})
}

func TestCGDamping(t *testing.T) {
	const damping = 0.5
	a, b := withSpectrum(8, 3, 1, 0.2, -0.1), normals(9, 4)
	damped := mat.NewSymDense(4, nil)
	damped.AddSym(a, diagonal(damping, damping, damping, damping))
	s := prepare(t, float64s(t), linear.CG{RTol: 1e-12, Damping: damping}, a)
	v, st := s.solve(b, nil)
	require.Equal(t, linear.Converged, st.Status)
	require.InDeltaSlice(t, exact(t, damped, b), v, 1e-10)
	require.InDelta(t, -0.1, st.SmallestEigenvalue, 1e-8, "the eigenvalue is that of A, not of A + damping·I")
	require.InDelta(t, residual(damped, b, v), st.Residual, 1e-13)
}

// The smallest Ritz value bounds the smallest eigenvalue from above, and does not grow from one step to the next.
func TestCGRitz(t *testing.T) {
	const n, smallest = 12, 1e-3
	a, b := withSpectrum(10, spread(n, 1/smallest)...), normals(11, n)
	last := math.Inf(1)
	for steps := 1; steps <= n; steps++ {
		s := prepare(t, float64s(t), linear.CG{RTol: 1e-13, MaxSteps: steps}, a)
		_, st := s.solve(b, nil)
		require.GreaterOrEqual(t, st.SmallestEigenvalue, smallest*(1-1e-9))
		require.LessOrEqual(t, st.SmallestEigenvalue, last*(1+1e-12))
		last = st.SmallestEigenvalue
		if steps == 1 { // b'Ab/b'b
			var ab mat.VecDense
			ab.MulVec(a, mat.NewVecDense(n, b))
			require.InEpsilon(t, mat.Dot(&ab, mat.NewVecDense(n, b))/floats.Dot(b, b), last, 1e-13)
		}
		if steps == 2 { // the smaller eigenvalue of A on span{b, Ab}
			require.InEpsilon(t, smallestOnKrylov(t, a, b, 2), last, 1e-12)
		}
	}
	// In exact arithmetic n steps would do; with round-off the last digits take longer.
	s := prepare(t, float64s(t), linear.CG{RTol: 1e-13, MaxSteps: 5 * n}, a)
	_, st := s.solve(b, nil)
	require.InEpsilon(t, smallest, st.SmallestEigenvalue, 1e-6)
}

// smallestOnKrylov is the smallest Ritz value on span{b, Ab, …} by dense arithmetic.
func smallestOnKrylov(t *testing.T, a *mat.SymDense, b []float64, k int) float64 {
	n := len(b)
	basis := mat.NewDense(n, k, nil)
	v := mat.NewVecDense(n, b)
	for j := range k {
		basis.SetCol(j, v.RawVector().Data)
		next := mat.NewVecDense(n, nil)
		next.MulVec(a, v)
		v = next
	}
	var qr mat.QR
	qr.Factorize(basis)
	var q, aq, small mat.Dense
	qr.QTo(&q)
	thin := q.Slice(0, n, 0, k)
	aq.Mul(a, thin)
	small.Mul(thin.T(), &aq)
	var eig mat.EigenSym
	require.True(t, eig.Factorize(mat.NewSymDense(k, small.RawMatrix().Data), false))
	return eig.Values(nil)[0]
}

// Once the solve has stopped, further steps change nothing on the device, so that the interval at which the host reads
// the stop flag does not change a bit of the result.
func TestCGChunks(t *testing.T) {
	for _, dev := range []device.Device{ref.New(), cpudevice.New(1)} {
		for name, a := range map[string]*mat.SymDense{
			"definite":   withSpectrum(12, spread(15, 1e3)...),
			"indefinite": withSpectrum(12, 5, 4, 3, 2, 1.5, 1, 1, 1, 1, 1, 1, 1, 1, 1, -0.5),
			"not finite": diagonal(1, 2, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 4, 5, math.NaN()),
		} {
			var first []float64
			var stats linear.Stats
			for _, chunk := range []int{1, 4, 16} {
				s := prepare(t, dev, linear.CG{RTol: 1e-4, Chunk: chunk, MaxSteps: 50}, a)
				v, st := s.solve(normals(13, 15), nil)
				if first == nil {
					first, stats = v, st
				}
				require.Equal(t, bits(first), bits(v), "%s %s, chunk %d", dev.Info().Name, name, chunk)
				require.Equal(t, bits([]float64{stats.Residual, stats.SmallestEigenvalue}),
					bits([]float64{st.Residual, st.SmallestEigenvalue}))
				require.Equal(t, [3]int{int(stats.Status), stats.Steps, stats.Products},
					[3]int{int(st.Status), st.Steps, st.Products})
			}
		}
	}
}

func bits(x []float64) []uint64 {
	out := make([]uint64, len(x))
	for i, v := range x {
		out[i] = math.Float64bits(v)
	}
	return out
}

// A cancelled context ends the solve with its error.
func TestCGContext(t *testing.T) {
	s := prepare(t, float64s(t), linear.CG{RTol: 1e-10}, diagonal(1, 2, 3))
	require.NoError(t, s.RHS().Write([]float64{1, 1, 1}))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Solve(ctx)
	require.ErrorIs(t, err, context.Canceled)
}

func TestCGSettings(t *testing.T) {
	ex := tensor.NewExecutor(float64s(t))
	defer ex.Close()
	identity := func(v *tensor.Node) *tensor.Node { return v }
	for _, c := range []linear.CG{
		{RTol: -1}, {RTol: math.NaN()}, {ATol: -1}, {ATol: math.Inf(1)}, {MaxSteps: -1},
		{Damping: -1}, {Damping: math.NaN()}, {Damping: math.Inf(1)}, {Chunk: -1},
	} {
		_, err := c.Prepare(ex, linear.Matrix{N: 3, Apply: identity})
		require.ErrorContains(t, err, "linear: CG", "%+v", c)
	}
	wrong := func(v *tensor.Node) *tensor.Node { return v.Slice(0, 0, 2) }
	_, err := linear.CG{}.Prepare(ex, linear.Matrix{N: 3, Apply: wrong})
	require.ErrorContains(t, err, "[2]", "an operator that changes the size")
	require.Contains(t, linear.CG{RTol: 1e-3, MaxSteps: 7}.String(), "rtol 0.001")
}
