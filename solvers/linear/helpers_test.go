package linear_test

import (
	"context"
	"math"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/internal/philox"
	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

// system is a solver prepared for a dense matrix.
type system struct {
	linear.System
	t  *testing.T
	ex *tensor.Executor
	a  *tensor.Variable
}

// devices runs a test on the reference device, in float64, and on the processor, in float32.
func devices(t *testing.T, test func(t *testing.T, dev device.Device)) {
	for _, dev := range []device.Device{ref.New(), cpudevice.New(2)} {
		t.Run(dev.Info().Name, func(t *testing.T) { test(t, dev) })
		require.NoError(t, dev.Close())
	}
}

// float64s is the reference device, which computes in float64.
func float64s(t *testing.T) device.Device {
	dev := ref.New()
	t.Cleanup(func() { require.NoError(t, dev.Close()) })
	return dev
}

func prepare(t *testing.T, dev device.Device, solver linear.Solver, a mat.Matrix) *system {
	return prepareKnown(t, dev, solver, a, func(*system, *linear.Matrix) {})
}

// prepareKnown is prepare for a matrix of which more is known than its products.
func prepareKnown(t *testing.T, dev device.Device, solver linear.Solver, a mat.Matrix,
	know func(*system, *linear.Matrix)) *system {
	n, _ := a.Dims()
	s := &system{t: t, ex: tensor.NewExecutor(dev)}
	s.a = s.ex.Variable("A", tensor.Real, n, n)
	s.setMatrix(a)
	m := linear.Matrix{N: n, Apply: func(v *tensor.Node) *tensor.Node {
		return s.a.Node().MatMul(v.Reshape(n, 1)).Reshape(n)
	}}
	know(s, &m)
	var err error
	s.System, err = solver.Prepare(s.ex, m)
	require.NoError(t, err)
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.NoError(t, s.ex.Close())
	})
	return s
}

func (s *system) setMatrix(a mat.Matrix) {
	require.NoError(s.t, s.a.Write(mat.DenseCopyOf(a).RawMatrix().Data))
}

// solve solves from a start value, nil for zero.
func (s *system) solve(b, start []float64) ([]float64, linear.Stats) {
	if start == nil {
		start = make([]float64, len(b))
	}
	require.NoError(s.t, s.RHS().Write(b))
	require.NoError(s.t, s.Solution().Write(start))
	st, err := s.Solve(context.Background())
	require.NoError(s.t, err)
	v, err := s.Solution().Read()
	require.NoError(s.t, err)
	return v, st
}

// residual is |b - A v| in float64.
func residual(a mat.Matrix, b, v []float64) float64 {
	r := mat.NewVecDense(len(b), nil)
	r.MulVec(a, mat.NewVecDense(len(v), v))
	r.SubVec(mat.NewVecDense(len(b), b), r)
	return mat.Norm(r, 2)
}

// exact is A⁻¹b.
func exact(t *testing.T, a mat.Symmetric, b []float64) []float64 {
	var chol mat.Cholesky
	require.True(t, chol.Factorize(a))
	var v mat.VecDense
	require.NoError(t, chol.SolveVecTo(&v, mat.NewVecDense(len(b), b)))
	return v.RawVector().Data
}

// dense is A⁻¹b by LU, for any square A.
func dense(t *testing.T, a mat.Matrix, b []float64) []float64 {
	var v mat.VecDense
	require.NoError(t, v.SolveVec(a, mat.NewVecDense(len(b), b)))
	return v.RawVector().Data
}

// withSpectrum is a random symmetric matrix with the given eigenvalues.
func withSpectrum(seed uint64, eigenvalues ...float64) *mat.SymDense {
	n := len(eigenvalues)
	var qr mat.QR
	qr.Factorize(mat.NewDense(n, n, normals(seed, n*n)))
	var q, m mat.Dense
	qr.QTo(&q)
	m.Mul(&q, mat.NewDiagDense(n, eigenvalues))
	m.Mul(&m, q.T())
	out := mat.NewSymDense(n, nil)
	for i := range n {
		for j := range i + 1 {
			out.SetSym(i, j, (m.At(i, j)+m.At(j, i))/2)
		}
	}
	return out
}

func diagonal(d ...float64) *mat.SymDense {
	m := mat.NewSymDense(len(d), nil)
	for i, v := range d {
		m.SetSym(i, i, v)
	}
	return m
}

// normals are n standard normal numbers, each of them exactly a float32 number.
func normals(seed uint64, n int) []float64 {
	draws := make([]float32, n)
	philox.Normals(draws, seed, 0, philox.StreamTest, 0)
	out := make([]float64, n)
	for i, z := range draws {
		out[i] = float64(z)
	}
	return out
}

// spread is n eigenvalues from 1 to 1/condition on a logarithmic scale.
func spread(n int, condition float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = math.Pow(condition, -float64(i)/float64(max(1, n-1)))
	}
	return out
}

// rounding bounds the rounding error of a residual b - A v on a device: each element is a sum of n products and one
// difference, and the matrix was rounded once when it was written to the device.
func rounding(dev device.Device, a mat.Matrix, b, v []float64) float64 {
	info := dev.Info()
	norm := func(x []float64) float64 { return mat.Norm(mat.NewVecDense(len(x), x), 2) }
	return (float64(len(b)) + 2 + info.SumError(len(b))) * info.UnitRoundoff() * (mat.Norm(a, 2)*norm(v) + norm(b))
}
