package linear_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// nonsymmetric is a random square matrix with singular values from 1 to 1/condition.
func nonsymmetric(seed uint64, n int, condition float64) *mat.Dense {
	var qr mat.QR
	qr.Factorize(mat.NewDense(n, n, normals(seed+1000, n*n)))
	var q, m mat.Dense
	qr.QTo(&q)
	m.Mul(&q, withSpectrum(seed, spread(n, condition)...))
	return &m
}

// krylov are the methods for matrices that need not be positive definite.
func krylov(rtol float64, steps int) map[string]linear.Solver {
	return map[string]linear.Solver{
		"GMRES": linear.GMRES{RTol: rtol, MaxSteps: steps}, "MINRES": linear.MINRES{RTol: rtol, MaxSteps: steps},
		"BiCGSTAB": linear.BiCGSTAB{RTol: rtol, MaxSteps: steps},
	}
}

// Each method solves the matrices of its class, to the residual that it reports.
func TestKrylovSolves(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		rtol := 1e-10
		if dev.Info().RealBits == 32 {
			rtol = 1e-4
		}
		for _, n := range []int{1, 2, 3, 7, 20} {
			eigenvalues := spread(n, 10)
			for i := range eigenvalues { // half of them negative
				eigenvalues[i] *= float64(1 - 2*(i%2))
			}
			accretive := nonsymmetric(uint64(n), n, 10) // whose eigenvalues have real parts of at least 0.2
			for i := range n {
				accretive.Set(i, i, accretive.At(i, i)+1.2)
			}
			for kind, a := range map[string]mat.Matrix{
				"definite":   withSpectrum(uint64(n), spread(n, 10)...),
				"indefinite": withSpectrum(uint64(n), eigenvalues...),
				"accretive":  accretive, "general": nonsymmetric(uint64(n), n, 10),
			} {
				for name, solver := range krylov(rtol, 20*n) {
					if kind == "accretive" && name == "MINRES" || kind == "general" && name != "GMRES" {
						continue // not symmetric; eigenvalues around zero, where BiCGSTAB may break down
					}
					b := normals(99, n)
					s := prepare(t, dev, solver, a)
					v, st := s.solve(b, normals(98, n))
					require.Equal(t, linear.Converged, st.Status, "%s, %s, n = %d: %+v", name, kind, n, st)
					require.InDelta(t, residual(a, b, v), st.Residual, rounding(dev, a, b, v), "the true residual")
					require.LessOrEqual(t, st.Residual, 1.001*rtol*st.RHSNorm)
					require.InDelta(t, floats.Norm(b, 2), st.RHSNorm, 1e-6*st.RHSNorm)
					if name == "GMRES" || name == "MINRES" && rtol < 1e-4 { // exact arithmetic would take n steps
						require.LessOrEqual(t, st.Steps, n+2, name)
					}
					bound := (st.Residual + rounding(dev, a, b, v)) * 10 // |A⁻¹| = 10
					require.LessOrEqual(t, floats.Distance(dense(t, a, b), v, 2), bound)
				}
			}
		}
	})
}

// The residual after k steps of GMRES and MINRES is the least over the Krylov space, here by dense least squares on a
// basis that is orthogonalized for it.
func TestKrylovIsMinimal(t *testing.T) {
	const n = 9
	general := nonsymmetric(3, n, 50)
	indefinite := withSpectrum(4, 3, 2, 1, 0.5, -0.3, -0.4, -1, -2, -4)
	for _, c := range []struct {
		a      mat.Matrix
		solver func(k int) linear.Solver
	}{
		{general, func(k int) linear.Solver { return linear.GMRES{RTol: 1e-14, MaxSteps: k} }},
		{indefinite, func(k int) linear.Solver { return linear.GMRES{RTol: 1e-14, MaxSteps: k} }},
		{indefinite, func(k int) linear.Solver { return linear.MINRES{RTol: 1e-14, MaxSteps: k} }},
	} {
		b, start := normals(5, n), normals(6, n)
		last := math.Inf(1)
		for k := 1; k < n; k++ {
			s := prepare(t, float64s(t), c.solver(k), c.a)
			_, st := s.solve(b, start)
			want := leastResidual(c.a, b, start, k)
			require.InEpsilon(t, want, st.Residual, 1e-9, "%s", c.solver(k))
			require.Equal(t, linear.MaxSteps, st.Status)
			require.Equal(t, [2]int{k, k + 2}, [2]int{st.Steps, st.Products})
			require.LessOrEqual(t, st.Residual, last)
			last = st.Residual
		}
	}
}

// leastResidual is the least |b - A v| over v in start + span{r, A r, …, A^{k-1} r}.
func leastResidual(a mat.Matrix, b, start []float64, k int) float64 {
	n := len(b)
	var r mat.VecDense
	r.MulVec(a, mat.NewVecDense(n, start))
	r.SubVec(mat.NewVecDense(n, b), &r)
	basis := mat.NewDense(n, k, nil)
	next := mat.VecDenseCopyOf(&r)
	for j := range k {
		for range 2 {
			for i := range j {
				q := basis.ColView(i)
				next.AddScaledVec(next, -mat.Dot(q, next), q)
			}
		}
		next.ScaleVec(1/mat.Norm(next, 2), next)
		basis.SetCol(j, next.RawVector().Data)
		product := mat.NewVecDense(n, nil)
		product.MulVec(a, next)
		next = product
	}
	var image mat.Dense
	image.Mul(a, basis)
	var qr mat.QR
	qr.Factorize(&image)
	var y, left mat.VecDense
	if err := qr.SolveVecTo(&y, false, &r); err != nil {
		return math.NaN()
	}
	left.MulVec(&image, &y)
	left.SubVec(&r, &left)
	return mat.Norm(&left, 2)
}

// With restarts GMRES needs more steps, and says how it ended where it stands still: for a cyclic shift no cycle of
// less than n steps gets anywhere from b = e_1.
func TestGMRESRestarts(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		const n = 24
		a, b := nonsymmetric(7, n, 8), normals(8, n)
		shifted := mat.DenseCopyOf(a)
		for i := range n {
			shifted.Set(i, i, shifted.At(i, i)+1)
		}
		full := prepare(t, dev, linear.GMRES{RTol: 1e-4}, shifted)
		_, whole := full.solve(b, nil)
		s := prepare(t, dev, linear.GMRES{RTol: 1e-4, Restart: 2, MaxSteps: 500}, shifted)
		v, st := s.solve(b, nil)
		require.Equal(t, linear.Converged, whole.Status)
		require.Equal(t, linear.Converged, st.Status, "%+v", st)
		require.Greater(t, st.Steps, whole.Steps)
		require.LessOrEqual(t, residual(shifted, b, v), 1.01e-4*st.RHSNorm)

		shift := mat.NewDense(6, 6, nil)
		for i := range 6 {
			shift.Set((i+1)%6, i, 1)
		}
		e1 := []float64{1, 0, 0, 0, 0, 0}
		_, st = prepare(t, dev, linear.GMRES{RTol: 1e-4, Restart: 3, MaxSteps: 100}, shift).solve(e1, nil)
		require.Equal(t, linear.Stagnated, st.Status)
		require.Equal(t, 3, st.Steps)
		v, st = prepare(t, dev, linear.GMRES{RTol: 1e-4}, shift).solve(e1, nil)
		require.Equal(t, linear.Converged, st.Status)
		require.InDeltaSlice(t, []float64{0, 0, 0, 0, 0, 1}, v, 1e-6)
	})
}

// A skew matrix makes BiCGSTAB divide by zero at once, GMRES solves it, and a singular matrix ends every method with
// a status of its own where b is not in its range.
func TestKrylovBreakdown(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		skew := mat.NewDense(2, 2, []float64{0, 2, -2, 0})
		b := []float64{1, 3}
		v, st := prepare(t, dev, linear.BiCGSTAB{RTol: 1e-4}, skew).solve(b, nil)
		require.Equal(t, linear.Breakdown, st.Status)
		require.Equal(t, []float64{0, 0}, v)
		require.InDelta(t, floats.Norm(b, 2), st.Residual, 1e-6)
		require.NotEmpty(t, st.Status.Advice())
		v, st = prepare(t, dev, linear.GMRES{RTol: 1e-4}, skew).solve(b, nil)
		require.Equal(t, linear.Converged, st.Status)
		require.InDeltaSlice(t, []float64{-1.5, 0.5}, v, 1e-6)

		singular := diagonal(1, 2, 0, -1)
		for name, solver := range krylov(1e-4, 40) {
			v, st := prepare(t, dev, solver, singular).solve([]float64{1, 1, 0, 1}, nil)
			require.Equal(t, linear.Converged, st.Status, name)
			require.InDeltaSlice(t, []float64{1, 0.5, 0, -1}, v, 1e-3, name)
			_, st = prepare(t, dev, solver, singular).solve([]float64{1, 1, 1, 1}, nil)
			require.NotEqual(t, linear.Converged, st.Status, name)
			if st.Status != linear.NotFinite {
				require.Greater(t, st.Residual, 0.999, "%s: no v removes the third element", name)
			}
			if name != "BiCGSTAB" { // whose v may grow without bound here
				require.Contains(t, []linear.Status{linear.Breakdown, linear.Stagnated}, st.Status, name)
				require.Less(t, st.Residual, 1.001, name)
			}
		}
	})
}

func TestMINRESSeesNegativeEigenvalues(t *testing.T) {
	a := withSpectrum(9, 5, 4, 2, 1, 0.7, -0.2, -0.9)
	for _, damping := range []float64{0, 0.3} {
		_, st := prepare(t, float64s(t), linear.MINRES{RTol: 1e-12, Damping: damping}, a).solve(normals(10, 7), nil)
		require.Equal(t, linear.Converged, st.Status)
		require.InDelta(t, -0.9, st.SmallestEigenvalue, 1e-10, "damping %g", damping)
	}
	for k := 1; k < 7; k++ {
		_, st := prepare(t, float64s(t), linear.MINRES{RTol: 1e-12, MaxSteps: k}, a).solve(normals(10, 7), nil)
		require.GreaterOrEqual(t, st.SmallestEigenvalue, -0.9-1e-12)
		require.InEpsilon(t, smallestOnKrylov(t, a, normals(10, 7), k), st.SmallestEigenvalue, 1e-6)
	}
}

// Damping solves (A + λI) v = b; NaN and infinities are told and stay out of the solution.
func TestKrylovDampingAndNaN(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		a, b := nonsymmetric(11, 6, 5), normals(12, 6)
		damped := mat.DenseCopyOf(a)
		for i := range 6 {
			damped.Set(i, i, damped.At(i, i)+0.5)
		}
		for _, solver := range []linear.Solver{
			linear.GMRES{RTol: 1e-4, Damping: 0.5}, linear.BiCGSTAB{RTol: 1e-4, Damping: 0.5, MaxSteps: 60},
		} {
			v, st := prepare(t, dev, solver, a).solve(b, nil)
			require.Equal(t, linear.Converged, st.Status, "%s", solver)
			require.InDelta(t, residual(damped, b, v), st.Residual, rounding(dev, damped, b, v))
		}
		for name, solver := range krylov(1e-4, 20) {
			s := prepare(t, dev, solver, diagonal(1, 2, 3))
			for _, bad := range []float64{math.NaN(), math.Inf(1)} {
				_, st := s.solve([]float64{1, bad, 1}, nil)
				require.Equal(t, linear.NotFinite, st.Status, "%s: b holds %g", name, bad)
				v, st := prepare(t, dev, solver, diagonal(1, bad, 3)).solve([]float64{1, 1, 1}, nil)
				require.NotEqual(t, linear.Converged, st.Status, "%s: A holds %g", name, bad)
				for _, x := range v {
					require.False(t, math.IsNaN(x), "%s", name)
				}
			}
			_, st := s.solve([]float64{1, 1, 1}, nil)
			require.Equal(t, linear.Converged, st.Status, name)
		}
	})
}

// However often the host looks at the stop flag, the bits are the same.
func TestKrylovChunks(t *testing.T) {
	a, b := withSpectrum(13, spread(12, 30)...), normals(14, 12)
	for _, solvers := range [][]linear.Solver{
		{linear.GMRES{RTol: 1e-6, Restart: 5}, linear.GMRES{RTol: 1e-6, Restart: 5, Chunk: 7}},
		{linear.BiCGSTAB{RTol: 1e-6, MaxSteps: 90}, linear.BiCGSTAB{RTol: 1e-6, MaxSteps: 90, Chunk: 7}},
		{linear.MINRES{RTol: 1e-6}, linear.MINRES{RTol: 1e-6, Chunk: 7}},
	} {
		v, st := prepare(t, float64s(t), solvers[0], a).solve(b, nil)
		w, again := prepare(t, float64s(t), solvers[1], a).solve(b, nil)
		require.Equal(t, bits(v), bits(w))
		require.Equal(t, [3]int{int(st.Status), st.Steps, st.Products},
			[3]int{int(again.Status), again.Steps, again.Products})
	}
}

func TestKrylovSettings(t *testing.T) {
	ex := tensor.NewExecutor(float64s(t))
	defer ex.Close()
	identity := func(v *tensor.Node) *tensor.Node { return v }
	for _, c := range []struct {
		solver linear.Solver
		text   string
	}{
		{linear.GMRES{RTol: -1}, "GMRES: tolerances"}, {linear.GMRES{Restart: -1}, "restart -1"},
		{linear.GMRES{Damping: math.NaN()}, "GMRES: damping"}, {linear.MINRES{ATol: math.Inf(1)}, "MINRES: tolerances"},
		{linear.MINRES{MaxSteps: -2}, "-2 steps"}, {linear.BiCGSTAB{Chunk: -1}, "chunks of -1"},
	} {
		_, err := c.solver.Prepare(ex, linear.Matrix{N: 3, Apply: identity})
		require.ErrorContains(t, err, c.text)
		require.Contains(t, c.solver.String(), "rtol")
	}
	narrow := cpudevice.New(1)
	defer narrow.Close()
	exNarrow := tensor.NewExecutor(narrow)
	defer exNarrow.Close()
	for name, solver := range krylov(1e-10, 10) {
		_, err := solver.Prepare(exNarrow, linear.Matrix{N: 3, Apply: identity})
		require.ErrorContains(t, err, name+": rtol 1e-10 is below 6e-08, the round-off of float32: set a larger one")
	}
	for name, solver := range krylov(1e-3, 10) {
		_, err := solver.Prepare(ex, linear.Matrix{N: 3})
		require.ErrorContains(t, err, name+": a matrix of size 3: wants at least 1, and one of Apply and Product")
	}
	s := prepare(t, float64s(t), linear.GMRES{RTol: 1e-6}, diagonal(1, 2, 3))
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := s.Solve(ctx)
	require.ErrorIs(t, err, context.Canceled)
}
