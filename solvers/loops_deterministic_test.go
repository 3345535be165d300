package solvers_test

import (
	"bilevel/solvers"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// descend takes n gradient steps on y.
func (q plain) descend(x, y []float64, step float64, n int) []float64 {
	for range n {
		y = move(y, step, q.lowerY(x, y))
	}
	return y
}

// solved is M⁻¹b by a dense factorization.
func solved(m mat.Matrix, b []float64) []float64 {
	var v mat.VecDense
	if err := v.SolveVec(m, mat.NewVecDense(len(b), b)); err != nil {
		panic(err)
	}
	return v.RawVector().Data
}

// krylov is what n conjugate gradients from 0 give: the v in the span of b, Ab, …, Aⁿ⁻¹b for which the gradient of
// ½vᵀAv - bᵀv is orthogonal to that span.
func (q plain) krylov(b []float64, n int) []float64 {
	basis := mat.NewDense(len(b), n, nil)
	for i, c := 0, b; i < n; i, c = i+1, times(q.A, c) {
		basis.SetCol(i, scaled(1/floats.Norm(c, 2), c))
	}
	var qr mat.QR
	qr.Factorize(basis)
	var full mat.Dense
	qr.QTo(&full)
	span := full.Slice(0, len(b), 0, n)
	var ab, small mat.Dense
	ab.Mul(q.A, span)
	small.Mul(span.T(), &ab)
	var coefficients, v mat.VecDense
	if err := coefficients.SolveVec(&small, mat.NewVecDense(n, times(span.T(), b))); err != nil {
		panic(err)
	}
	v.MulVec(span, &coefficients)
	return v.RawVector().Data
}

// implicit is an algorithm that takes steps of 0.3 on y, as many as n says, and one of 0.05 on x with a v.
func (q plain) implicit(a solvers.Algorithm, n func(k int) int, v func(b, last []float64) []float64) loop {
	return loop{a, func(k int, s map[string][]float64) map[string][]float64 {
		x := s["x"]
		y := q.descend(x, s["y"], 0.3, n(k))
		now := v(q.upperY(x, y), s["v"])
		return map[string][]float64{"x": move(x, 0.05, q.slope(x, y, now)), "y": y, "v": now}
	}, nil}
}

// deterministicLoops are algorithms made for all rows.
func (q plain) deterministicLoops() []loop {
	two := func(int) int { return 2 }
	grown := func(counts ...int) func(int) int { return func(k int) int { return counts[k] } }
	direct := func(b, _ []float64) []float64 { return solved(q.A, b) }
	short := func(b, _ []float64) []float64 { return q.krylov(b, 2) }
	fixed := func(b, v []float64) []float64 {
		for range 3 {
			v = move(v, 0.2, less(times(q.A, v), b))
		}
		return v
	}
	least := func(b, _ []float64) []float64 {
		v := make([]float64, len(b))
		for range 3 {
			v = move(v, 0.15, times(q.A, less(times(q.A, v), b)))
		}
		return v
	}
	return []loop{
		q.implicit(solvers.BA{Step: 0.3, OuterStep: 0.05, InnerSteps: 2}, grown(2, 3, 3), direct), // ⌈2 (k+1)^¼⌉
		q.implicit(solvers.AIDFP{Step: 0.3, VStep: 0.2, OuterStep: 0.05, InnerSteps: 2, VSteps: 3}, two, fixed),
		q.implicit(solvers.AIDFP{Step: 0.3, VStep: 0.2, OuterStep: 0.05, InnerSteps: 2, VSteps: 3, Cold: true}, two,
			func(b, v []float64) []float64 { return fixed(b, make([]float64, len(v))) }),
		q.implicit(solvers.GALET{Step: 0.3, VStep: 0.15, OuterStep: 0.05, InnerSteps: 2, VSteps: 3}, two, least),
		q.implicit(solvers.BSGH{Step: 0.3, OuterStep: 0.05, InnerSteps: 2, CGSteps: 2}, grown(2, 3, 4), short),
		// Differences of gradients of a quadratic function are products with its Hessian, but for rounding.
		q.implicit(solvers.BSGNFD{Step: 0.3, OuterStep: 0.05, InnerSteps: 2, CGSteps: 2, Smoothing: 0.5},
			grown(2, 3, 4), short),
		{
			solvers.BSG1{Step: 0.3, OuterStep: 0.05, InnerExponent: -1},
			func(k int, s map[string][]float64) map[string][]float64 {
				x := s["x"]
				y := q.descend(x, s["y"], 0.3, 1)
				gy := q.lowerY(x, y)
				rho := floats.Dot(gy, q.upperY(x, y)) / (floats.Dot(gy, gy) + 1e-12)
				return map[string][]float64{"x": move(x, 0.05, less(q.upperX(x, y), scaled(rho, q.lowerX(y)))), "y": y}
			}, nil,
		},
		{
			solvers.KRMD{Step: 0.3, OuterStep: 0.05, InnerSteps: 5, Last: 2},
			func(k int, s map[string][]float64) map[string][]float64 {
				x := s["x"]
				y := q.descend(x, s["y"], 0.3, 5)
				b := q.upperY(x, y)
				v := scaled(0.3, sum(b, move(b, 0.3, times(q.A, b)))) // η (b + (I - ηA) b)
				return map[string][]float64{"x": move(x, 0.05, q.slope(x, y, v)), "y": y}
			}, nil,
		},
		{
			solvers.GPBGD{Step: 0.1, OuterStep: 0.05, Penalty: 4, Begin: 0.5, Ramp: 2},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, gamma := s["x"], s["y"], []float64{0.5, 2.25, 4}[k]
				size := min(1, 1/(gamma+1e-8))
				g := q.lowerY(x, y)
				return map[string][]float64{
					"x": move(x, 0.05*size, sum(q.upperX(x, y), scaled(gamma, times(q.C, g)))),
					"y": move(y, 0.1*size, sum(q.upperY(x, y), scaled(gamma, times(q.A, g)))),
				}
			}, nil,
		},
	}
}
