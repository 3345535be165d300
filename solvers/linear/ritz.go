package linear

import (
	"math"

	types "gonum.org/v1/gonum/lapack"
	lapack "gonum.org/v1/gonum/lapack/gonum"
	"gonum.org/v1/gonum/mat"
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
	if !eigenvaluesOfTridiagonal(d, e) || len(d) == 0 {
		return math.NaN()
	}
	return d[0]
}

// eigenvaluesOfTridiagonal leaves the eigenvalues of the symmetric matrix with diagonal d and off-diagonal e in d, in
// ascending order, and overwrites e. It is false where an element is not finite.
//
// Dsterf scales blocks of elements all below 1e-122 or one above 1e153 itself, and gonum's panics there (v0.17). So
// the largest element is brought near 1 first, and elements of e that are nothing beside it become zeros, which leaves
// no block of more than one row with elements so small.
func eigenvaluesOfTridiagonal(d, e []float64) bool {
	largest := 0.0
	for _, part := range [][]float64{d, e} {
		for _, x := range part {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return false
			}
			largest = max(largest, math.Abs(x))
		}
	}
	k := evenExponent(largest)
	for i := range d {
		d[i] = math.Ldexp(d[i], -k)
	}
	for i := range e {
		if e[i] = math.Ldexp(e[i], -k); math.Abs(e[i]) < 0x1p-300 {
			e[i] = 0
		}
	}
	if !(lapack.Implementation{}).Dsterf(len(d), d, e) {
		return false
	}
	for i := range d {
		d[i] = math.Ldexp(d[i], k)
	}
	return true
}

// evenExponent is an even k with 2^k near x, from -1000 on, so that 2^-k is finite too. Multiplying by such a power
// changes the rounding neither of sums and products nor of square roots.
func evenExponent(x float64) int {
	_, k := math.Frexp(x)
	return max(k&^1, -1000)
}

// Eigenvalues are those of a in ascending order, also where its elements are very large or small; nil where they are
// not found, or an element is not finite. An even power of 2 brings the largest element near 1, as in
// eigenvaluesOfTridiagonal.
func Eigenvalues(a *mat.SymDense) []float64 {
	var impl lapack.Implementation
	n := a.SymmetricDim()
	d, e, tau, work := make([]float64, n), make([]float64, n-1), make([]float64, n-1), make([]float64, 1)
	r := a.RawSymmetric()
	k := evenExponent(impl.Dlansy(types.MaxAbs, r.Uplo, n, r.Data, r.Stride, nil))
	var scaled mat.SymDense
	scaled.ScaleSym(math.Ldexp(1, -k), a)
	r = scaled.RawSymmetric()
	impl.Dsytrd(r.Uplo, n, r.Data, r.Stride, d, e, tau, work, -1) // asks for the length of work
	work = make([]float64, int(work[0]))
	impl.Dsytrd(r.Uplo, n, r.Data, r.Stride, d, e, tau, work, len(work))
	if !eigenvaluesOfTridiagonal(d, e) {
		return nil
	}
	for i := range d {
		d[i] = math.Ldexp(d[i], k)
	}
	return d
}
