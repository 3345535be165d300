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
	if k == 0 {
		return math.NaN()
	}
	d, e := make([]float64, k), make([]float64, max(0, k-1))
	for j := range k {
		d[j] = 1 / alphas[j]
		if j > 0 {
			d[j] += betas[j-1] / alphas[j-1]
			e[j-1] = math.Sqrt(betas[j-1]) / alphas[j-1]
		}
		if math.IsNaN(d[j]) || math.IsInf(d[j], 0) {
			return math.NaN()
		}
	}
	if !(lapack.Implementation{}).Dsterf(k, d, e) {
		return math.NaN()
	}
	return d[0]
}
