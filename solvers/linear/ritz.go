package linear

import (
	"math"

	lapack "gonum.org/v1/gonum/lapack/gonum"
)

// smallestRitz is the smallest eigenvalue of the Lanczos matrix that k steps of conjugate gradients build:
// diagonal 1/α_j + β_{j-1}/α_{j-1}, off-diagonal √β_j/α_j (Golub, Van Loan, Matrix Computations, 4th ed., 11.3.5).
// It is NaN where there are no steps or a coefficient is not finite.
func smallestRitz(alphas, betas []float64) float64 {
	k := len(alphas)
	d, e := make([]float64, k), make([]float64, max(0, k-1))
	for j := range k {
		d[j] = 1 / alphas[j]
		if j > 0 {
			d[j] += betas[j-1] / alphas[j-1]
			e[j-1] = math.Sqrt(betas[j-1]) / alphas[j-1]
		}
	}
	return smallestOfTridiagonal(d, e)
}

// smallestOfTridiagonal is the smallest eigenvalue of the symmetric matrix with diagonal d and off-diagonal e, both of
// which it overwrites; NaN where there are no rows or an element is not finite.
func smallestOfTridiagonal(d, e []float64) float64 {
	for _, x := range d {
		if math.IsNaN(x) || math.IsInf(x, 0) {
			return math.NaN()
		}
	}
	if len(d) == 0 || !(lapack.Implementation{}).Dsterf(len(d), d, e) {
		return math.NaN()
	}
	return d[0]
}
