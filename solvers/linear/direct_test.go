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

func TestScaledIdentity(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		b := normals(60, 5)
		a := withSpectrum(61, spread(5, 3)...)
		for _, gamma := range []float64{0, 1, 4, -2} {
			v, st := prepare(t, dev, linear.ScaledIdentity{Gamma: gamma, RTol: 1e-5}, a).solve(b, nil)
			want := gamma
			if gamma == 0 {
				want = 1
			}
			require.InDeltaSlice(t, scaled(b, 1/want), v, 1e-6)
			require.InDelta(t, residual(a, b, v), st.Residual, rounding(dev, a, b, v), "the error is visible")
			require.Equal(t, linear.Approximate, st.Status)
			require.Equal(t, [2]int{0, 1}, [2]int{st.Steps, st.Products})
		}
		_, st := prepare(t, dev, linear.ScaledIdentity{Gamma: 4}, diagonal(4, 4)).solve([]float64{1, 3}, nil)
		require.Equal(t, linear.Converged, st.Status, "exact for A = γI")
		require.Zero(t, st.Residual)
	})
}

// The mean over all lengths k is the Neumann series with Q - 1 terms, and each length occurs.
func TestRandomNeumannIsUnbiased(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n, terms = 6, 5
		solver := linear.RandomNeumann{Step: 0.7, Terms: terms, Seed: 3}
		a, b := withSpectrum(62, spread(n, 10)...), normals(63, n)
		s := prepare(t, dev, solver, a)
		random := s.System.(linear.Randomized)
		found := map[int][]float64{}
		for position := uint32(0); len(found) < terms; position++ {
			require.Less(t, position, uint32(200), "every length occurs")
			require.Equal(t, position, random.Position())
			v, st := s.solve(b, nil)
			require.Equal(t, solver.Length(position), st.Steps)
			require.Equal(t, st.Steps+1, st.Products)
			require.InDelta(t, residual(a, b, v), st.Residual, rounding(dev, a, b, v))
			if before, ok := found[st.Steps]; ok {
				require.Equal(t, bits(before), bits(v))
			}
			found[st.Steps] = v
		}
		mean := make([]float64, n)
		for k := range terms {
			floats.AddScaled(mean, 1.0/terms, found[k])
		}
		want := truncated(t, a, b, 0.7, terms-1)
		tol := terms * (n + 4) * dev.Info().UnitRoundoff() * terms * floats.Norm(b, 2)
		require.LessOrEqual(t, floats.Distance(want, mean, 2), tol)

		// A run that is resumed draws what it would have drawn.
		random.Seek(17)
		v, st := s.solve(b, nil)
		require.Equal(t, solver.Length(17), st.Steps)
		require.Equal(t, bits(found[st.Steps]), bits(v))
		require.Equal(t, uint32(18), random.Position())
	})
}

// The lengths are uniform: of 6000 draws of 6 values each has 1000 ± 5 standard deviations.
func TestRandomNeumannLengths(t *testing.T) {
	const terms, draws = 6, 6000
	m := linear.RandomNeumann{Step: 1, Terms: terms, Seed: 9}
	counts := make([]float64, terms)
	for position := range uint32(draws) {
		counts[m.Length(position)]++
	}
	deviation := math.Sqrt(draws * (1.0 / terms) * (1 - 1.0/terms))
	for k, c := range counts {
		require.InDelta(t, draws/terms, c, 5*deviation, "k = %d", k)
	}
}

// The error is at most the wanted bias, with the largest eigenvalue given or measured, and the length is the least for
// which the formula promises that.
func TestNeumannToBias(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n, condition = 8, 20
		a, b := withSpectrum(64, spread(n, condition)...), normals(65, n)
		want := exact(t, a, b)
		for _, bias := range []float64{10, 1, 1e-1, 1e-2} {
			for _, largest := range []float64{0, 1} {
				m := linear.NeumannToBias{Bias: bias, Largest: largest}
				s := prepareKnown(t, dev, m, a, func(_ *system, m *linear.Matrix) { m.Modulus = 1.0 / condition })
				v, st := s.solve(b, nil)
				require.Equal(t, linear.Converged, st.Status, "%+v: %+v", m, st)
				require.LessOrEqual(t, floats.Distance(want, v, 2), bias*(1+1e-5))
				require.InDelta(t, residual(a, b, v), st.Residual, rounding(dev, a, b, v))
				if largest == 1 {
					promised := func(q int) float64 {
						return math.Pow(1-1.0/condition, float64(q+1)) * condition * floats.Norm(b, 2)
					}
					require.LessOrEqual(t, promised(st.Steps), bias*(1+1e-6))
					require.Greater(t, promised(st.Steps-1), bias*(1-1e-6))
					require.Equal(t, st.Steps+1, st.Products)
				} else {
					require.Equal(t, st.Steps+21, st.Products)
				}
			}
		}
		_, st := prepare(t, dev, linear.NeumannToBias{Bias: 1e-3, Mu: 0.05, Largest: 1, MaxTerms: 3}, a).solve(b, nil)
		require.Equal(t, linear.MaxSteps, st.Status)
		require.Equal(t, 3, st.Steps)
		_, st = prepare(t, dev, linear.NeumannToBias{Bias: 1e-3, Mu: 0.05, Largest: 0.1}, a).solve(b, nil)
		require.Contains(t, []linear.Status{linear.Diverged, linear.NotFinite}, st.Status,
			"a largest eigenvalue too small")
		_, st = prepare(t, dev, linear.NeumannToBias{Bias: 1e-3, Mu: 0.9, Largest: 1}, a).solve(b, nil)
		require.Equal(t, linear.MaxSteps, st.Status, "a modulus too large shows in the residual")
	})
}

// The dense solver gives A⁻¹b and the smallest eigenvalue, whatever the sign of the eigenvalues.
func TestDense(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		u := dev.Info().UnitRoundoff()
		for _, c := range []struct {
			a      *mat.SymDense
			status linear.Status
		}{
			{withSpectrum(66, spread(7, 50)...), linear.Converged},
			{withSpectrum(67, 3, 1, 0.5, -0.2), linear.NegativeCurvature},
			{diagonal(2), linear.Converged}, {diagonal(-2), linear.NegativeCurvature},
		} {
			n := c.a.SymmetricDim()
			b := normals(68, n)
			v, st := prepare(t, dev, linear.Dense{}, c.a).solve(b, nil)
			require.Equal(t, c.status, st.Status)
			var eig mat.EigenSym
			require.True(t, eig.Factorize(c.a, false))
			require.InDelta(t, eig.Values(nil)[0], st.SmallestEigenvalue, 10*float64(n)*u*3)
			want := dense(t, c.a, b)
			require.LessOrEqual(t, floats.Distance(want, v, 2), 100*float64(n)*u*50*floats.Norm(want, 2))
			require.InDelta(t, residual(c.a, b, v), st.Residual, rounding(dev, c.a, b, v))
			require.Equal(t, n+1, st.Products)
		}
		v, st := prepare(t, dev, linear.Dense{}, diagonal(1, 0)).solve([]float64{1, 1}, nil)
		require.Equal(t, linear.Breakdown, st.Status)
		require.Equal(t, []float64{0, 0}, v)
		require.Zero(t, st.SmallestEigenvalue)
		_, st = prepare(t, dev, linear.Dense{}, diagonal(1, math.NaN())).solve([]float64{1, 1}, nil)
		require.Equal(t, linear.NotFinite, st.Status)
		_, st = prepare(t, dev, linear.Dense{}, diagonal(1, 1)).solve([]float64{1, math.Inf(1)}, nil)
		require.Equal(t, linear.NotFinite, st.Status)
	})
}

// v = (A_k + ρI)⁻¹b with A_k = C W⁻¹ C' formed densely; for A of rank k it goes to the pseudo-inverse as ρ → 0.
func TestNystrom(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n, rho = 8, 0.1
		a, b := withSpectrum(70, spread(n, 100)...), normals(71, n)
		for _, rank := range []int{1, 3, n} {
			m := linear.Nystrom{Rank: rank, Rho: rho, Seed: 5}
			v, st := prepare(t, dev, m, a).solve(b, nil)
			require.Equal(t, linear.Approximate, st.Status)
			require.Equal(t, rank+1, st.Products)
			require.InDelta(t, residual(a, b, v), st.Residual, rounding(dev, a, b, v))
			if rank == n { // A_n = A: the system is (A + ρI) v = b
				damped := mat.NewSymDense(n, nil)
				damped.AddSym(a, mat.NewDiagDense(n, scaled(ones(n), rho)))
				require.InDeltaSlice(t, exact(t, damped, b), v, 1e3*n*dev.Info().UnitRoundoff()*floats.Norm(b, 2)/rho)
			}
		}
		low := withSpectrum(72, 2, 1, 0, 0, 0, 0)
		x := normals(73, 6)
		var in mat.VecDense
		in.MulVec(low, mat.NewVecDense(6, x)) // in the range of A
		last := math.Inf(1)
		for _, rho := range []float64{1, 1e-1, 1e-2} {
			v, _ := prepare(t, dev, linear.Nystrom{Rank: 2, Rho: rho}, low).solve(in.RawVector().Data, nil)
			off := residual(low, in.RawVector().Data, v)
			require.Less(t, off, last/3)
			last = off
		}
	})
}

// The drawn coordinates: a diagonal matrix shows them, because v_i = b_i/(a_i + ρ) there and b_i/ρ elsewhere.
func TestNystromCoordinates(t *testing.T) {
	seen := map[int]bool{}
	for seed := range uint64(40) {
		a := diagonal(1, 2, 3, 4, 5, 6)
		v, st := prepare(t, float64s(t), linear.Nystrom{Rank: 2, Rho: 0.5, Seed: seed}, a).solve(ones(6), nil)
		inside := 0
		for i, e := range v {
			if math.Abs(e-2) > 1e-9 {
				require.InDelta(t, 1/(float64(i)+1.5), e, 1e-12)
				inside, seen[i] = inside+1, true
			}
		}
		require.Equal(t, 2, inside)
		require.NotEqual(t, linear.NegativeCurvature, st.Status)
	}
	require.Len(t, seen, 6)
	v, st := prepare(t, float64s(t), linear.Nystrom{Rank: 3, Rho: 0.5}, diagonal(-1, -1, -1)).solve(ones(3), nil)
	require.Equal(t, linear.Approximate, st.Status, "W + C'C/ρ = 1 here, so that the formula holds for A as well")
	require.InDeltaSlice(t, []float64{-2, -2, -2}, v, 1e-12)
	v, st = prepare(t, float64s(t), linear.Nystrom{Rank: 3, Rho: 2}, diagonal(-1, -1, -1)).solve(ones(3), nil)
	require.Equal(t, linear.NegativeCurvature, st.Status)
	require.Equal(t, []float64{0.5, 0.5, 0.5}, v)
}

func ones(n int) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 1
	}
	return out
}

func TestDirectSettings(t *testing.T) {
	ex := tensor.NewExecutor(float64s(t))
	defer ex.Close()
	m := linear.Matrix{N: 3, Apply: func(v *tensor.Node) *tensor.Node { return v }}
	for _, c := range []struct {
		solver linear.Solver
		text   string
	}{
		{linear.ScaledIdentity{Gamma: math.Inf(1)}, "gamma is +Inf"},
		{linear.ScaledIdentity{RTol: -1}, "tolerances -1"},
		{linear.RandomNeumann{Terms: 1}, "step 0"}, {linear.RandomNeumann{Step: 1}, "0 terms"},
		{linear.NeumannToBias{Bias: 1}, "set Mu"}, {linear.NeumannToBias{Mu: 1}, "bias 0"},
		{linear.NeumannToBias{Bias: 1, Mu: 2, Largest: 1}, "given as 1 and the smallest as 2"},
		{linear.NeumannToBias{Bias: 1, Mu: 2, Power: -1}, "power -1"},
		{linear.Dense{Limit: 2}, "size 3 takes 9 numbers and is above the limit of 2"},
		{linear.Dense{Limit: -1}, "limit -1"},
		{linear.Nystrom{Rank: 4, Rho: 1}, "rank 4"}, {linear.Nystrom{Rank: 1}, "rho 0"},
		{linear.WoodFisher{Damping: 1}, "wants Matrix.Gradients"}, {linear.LBFGSInverse{}, "wants Matrix.Pairs"},
		{linear.SGD{Step: 1, Steps: 1, Batch: 2}, "minibatches want Matrix.Sampled"}, {linear.SGD{Step: 1}, "0 steps"},
	} {
		_, err := c.solver.Prepare(ex, m)
		require.ErrorContains(t, err, c.text)
		require.ErrorContains(t, err, "linear: ")
		require.NotEmpty(t, c.solver.String())
	}
}
