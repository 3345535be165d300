package solvertest

import (
	"math"

	"bilevel/internal/philox"

	"gonum.org/v1/gonum/mat"
)

// source draws the data of a made-up problem, one array after the other.
type source struct {
	seed uint64
	step uint32
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

// labels are integers below n.
func (s *source) labels(count, n int) []int32 {
	out := make([]int32, count)
	philox.Integers(out, uint32(n), s.seed, s.step, philox.StreamProblem, 0)
	s.step++
	return out
}

// dense is a matrix of normals of a size that keeps its norm near scale.
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

// Repeat is n times the same eigenvalue: H is that multiple of the identity.
func Repeat(n int, eigenvalue float64) []float64 {
	out := make([]float64, n)
	for i := range out {
		out[i] = eigenvalue
	}
	return out
}
