package solvertest

import (
	"math"

	"bilevel/internal/philox"

	"gonum.org/v1/gonum/mat"
)

// source draws the random arrays of a problem, one after the other.
type source struct {
	seed uint64
	step uint32 // the number of arrays drawn so far, which keeps their random numbers apart
}

// normals are standard normal numbers times scale.
func (s *source) normals(n int, scale float64) []float64 {
	draws := make([]float32, n)
	philox.Normals(draws, s.seed, s.step, philox.StreamProblem, 0)
	s.step++
	out := make([]float64, n)
	for i, z := range draws {
		out[i] = scale * float64(z)
	}
	return out
}

// labels are random integers from 0 to n-1.
func (s *source) labels(count, n int) []int32 {
	out := make([]int32, count)
	philox.Integers(out, uint32(n), s.seed, s.step, philox.StreamProblem, 0)
	s.step++
	return out
}

// dense is a matrix of normal numbers, scaled such that its norm is near scale whatever its size.
func (s *source) dense(r, c int, scale float64) *mat.Dense {
	return mat.NewDense(r, c, s.normals(r*c, scale/math.Sqrt(float64(max(r, c)))))
}

// symmetric is a random matrix with the given eigenvalues, symmetric to the last bit.
func (s *source) symmetric(eigenvalues []float64) *mat.Dense {
	n := len(eigenvalues)
	var qr mat.QR
	qr.Factorize(s.dense(n, n, 1))
	var q, scaled, out mat.Dense
	qr.QTo(&q)
	scaled.Mul(&q, mat.NewDiagDense(n, eigenvalues))
	out.Mul(&scaled, q.T())
	for i := range n {
		for j := range i {
			m := (out.At(i, j) + out.At(j, i)) / 2
			out.Set(i, j, m)
			out.Set(j, i, m)
		}
	}
	return &out
}

// Spectrum is n eigenvalues from 1 down to 1/condition, equally spaced on a logarithmic scale.
func Spectrum(n int, condition float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = 1
		if n > 1 {
			out[i] = math.Pow(condition, -float64(i)/float64(n-1))
		}
	}
	return out
}

// Repeat is n times the same eigenvalue, for a lower Hessian that is a multiple of the identity.
func Repeat(n int, eigenvalue float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = eigenvalue
	}
	return out
}
