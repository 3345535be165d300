package solvertest

import (
	"math/big"

	"gonum.org/v1/gonum/mat"
)

// Exact answers are computed with 160 bits, so that even a condition number of 1e12 costs no digit of a float64 result.
const bits = 160

// wide is a number with this precision; vectors are slices of it, and matrices are slices of rows.
type wide = *big.Float

func number(x float64) wide { return new(big.Float).SetPrec(bits).SetFloat64(x) }

func vector(x []float64) []wide {
	out := make([]wide, len(x))
	for i, v := range x {
		out[i] = number(v)
	}
	return out
}

func matrix(m mat.Matrix) [][]wide {
	r, c := m.Dims()
	out := make([][]wide, r)
	for i := range out {
		out[i] = make([]wide, c)
		for j := range c {
			out[i][j] = number(m.At(i, j))
		}
	}
	return out
}

// narrow rounds a vector to float64.
func narrow(x []wide) []float64 {
	out := make([]float64, len(x))
	for i, v := range x {
		out[i], _ = v.Float64()
	}
	return out
}

// dot is s + Σ a_i b_i.
func dot(s wide, a, b []wide) wide {
	sum, t := new(big.Float).Set(s), new(big.Float).SetPrec(bits)
	for i := range a {
		sum.Add(sum, t.Mul(a[i], b[i]))
	}
	return sum
}

// affine is m·x + b.
func affine(m [][]wide, x, b []wide) []wide {
	out := make([]wide, len(m))
	for i := range m {
		out[i] = dot(b[i], m[i], x)
	}
	return out
}

func transpose(m [][]wide) [][]wide {
	out := make([][]wide, len(m[0]))
	for j := range out {
		out[j] = make([]wide, len(m))
		for i := range m {
			out[j][i] = m[i][j]
		}
	}
	return out
}

func minus(x []wide) []wide {
	out := make([]wide, len(x))
	for i, v := range x {
		out[i] = new(big.Float).Neg(v)
	}
	return out
}

func subtract(x, y []wide) []wide {
	out := make([]wide, len(x))
	for i := range x {
		out[i] = new(big.Float).Sub(x[i], y[i])
	}
	return out
}

// factor is the Cholesky factor L of a matrix a = L·Lᵀ. It panics where a is not positive definite.
func factor(a [][]wide) [][]wide {
	l := make([][]wide, len(a))
	for i := range a {
		l[i] = make([]wide, i+1)
		for j := range i + 1 {
			s := dot(number(0), l[i][:j], l[j][:j])
			s.Sub(a[i][j], s)
			switch {
			case j < i:
				l[i][j] = s.Quo(s, l[j][j])
			case s.Sign() > 0:
				l[i][j] = s.Sqrt(s)
			default:
				panic("solvertest: the lower Hessian is not positive definite")
			}
		}
	}
	return l
}

// solve is a⁻¹b, where l is the Cholesky factor of a.
func solve(l [][]wide, b []wide) []wide {
	x := make([]wide, len(b))
	for i := range b {
		s := dot(number(0), l[i][:i], x[:i])
		s.Sub(b[i], s)
		x[i] = s.Quo(s, l[i][i])
	}
	t := new(big.Float).SetPrec(bits)
	for i := len(b) - 1; i >= 0; i-- {
		for k := i + 1; k < len(b); k++ {
			x[i].Sub(x[i], t.Mul(l[k][i], x[k]))
		}
		x[i].Quo(x[i], l[i][i])
	}
	return x
}
