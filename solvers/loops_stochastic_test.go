package solvers_test

import (
	"math"

	"bilevel/solvers"

	"gonum.org/v1/gonum/mat"
)

// move is z - step·d.
func move(z []float64, step float64, d []float64) []float64 { return sum(z, scaled(-step, d)) }

func less(a, b []float64) []float64 { return sum(a, scaled(-1, b)) }

// slope is ∇xF - C v at a point.
func (q plain) slope(x, y, v []float64) []float64 { return less(q.upperX(x, y), times(q.C, v)) }

// lowerX is ∇xG = C y, without what depends on x alone.
func (q plain) lowerX(y []float64) []float64 { return times(q.C, y) }

// stochasticLoops are algorithms made for minibatches, here on all rows.
func (q plain) stochasticLoops() []loop {
	return []loop{
		{
			solvers.BSA{Step: 0.3, OuterStep: 0.05, NeumannStep: 0.4, Terms: 4, InnerSteps: 2, Exponent: 0.5},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, factor := s["x"], s["y"], 1/math.Sqrt(float64(k+1))
				for range []int{2, 3, 4}[k] { // ⌈2 √1⌉, ⌈2 √2⌉, ⌈2 √3⌉
					y = move(y, 0.3*factor, q.lowerY(x, y))
				}
				v := scaled(4*0.4, q.factors(q.upperY(x, y), 0.4, lengths[k]))
				return map[string][]float64{"x": move(x, 0.05*factor, q.slope(x, y, v)), "y": y, "v": v}
			}, nil,
		},
		{
			solvers.MEHA{YStep: 0.05, ZStep: 0.2, OuterStep: 0.03, Proximal: 0.6, Multiplier: 3},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, z, c := s["x"], s["y"], s["z"], 3*math.Pow(float64(k+1), 0.25)
				z = move(z, 0.2, sum(q.lowerY(x, z), scaled(0.6, less(z, y))))
				x = move(x, 0.03, sum(scaled(1/c, q.upperX(x, y)), less(q.lowerX(y), q.lowerX(z))))
				d := sum(scaled(1/c, q.upperY(x, y)), q.lowerY(x, y), scaled(-0.6, less(y, z)))
				return map[string][]float64{"x": x, "y": move(y, 0.05, d), "z": z}
			}, nil,
		},
		{
			solvers.MSTSA{Step: 0.3, OuterStep: 0.05, NeumannStep: 0.4, Terms: 4, Momentum: 0.6},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, factor := s["x"], s["y"], 1/math.Sqrt(float64(k+1))
				keep := 1 - 0.6*factor
				if k == 0 {
					keep = 0
				}
				next := move(y, 0.3*factor, q.lowerY(x, y))
				d := sum(q.d(x, next, 4*0.4, 0.4, lengths[k]),
					scaled(keep, less(s["d"], q.d(s["x before"], y, 4*0.4, 0.4, lengths[k]))))
				return map[string][]float64{"x": move(x, 0.05*factor, d), "y": next, "d": d, "x before": x}
			}, []string{"d"},
		},
		{
			solvers.SBFW{Step: 0.3, OuterStep: 0.5, NeumannStep: 0.4, Terms: 4, Momentum: 0.6},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, before, fall := s["x"], s["y"], s["x before"], math.Pow(float64(k+1), -2.0/3)
				keep := 1 - 0.6*fall
				if k == 0 {
					keep = 0
				}
				next := move(y, 0.3*fall, q.lowerY(before, y))
				d := sum(q.d(x, next, 4*0.4, 0.4, lengths[k]),
					scaled(keep, less(s["d"], q.d(before, y, 4*0.4, 0.4, lengths[k]))))
				corner := make([]float64, len(d))
				for i, v := range d {
					corner[i] = math.Copysign(3, -v)
				}
				eta := 0.5 / float64(k+1)
				return map[string][]float64{"x": sum(scaled(1-eta, x), scaled(eta, corner)), "y": next, "d": d,
					"x before": x}
			}, []string{"d"},
		},
		{
			solvers.STABLE{Step: 0.2, OuterStep: 0.05, Momentum: 0.4},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y := s["x"], s["y"]
				h, c := q.follow(k, s, 0.4)
				next := move(x, 0.05, less(q.upperX(x, y), times(c.T(), solved(h, q.upperY(x, y)))))
				tangent := solved(h, times(c, less(next, x)))
				return map[string][]float64{"x": next, "y": less(move(y, 0.2, q.lowerY(x, y)), tangent),
					"hessian": h.RawMatrix().Data, "mixed": c.RawMatrix().Data}
			}, []string{"hessian", "mixed"},
		},
		{
			solvers.SVRB{Step: 0.2, OuterStep: 0.05, Momentum: 0.4},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, fall := s["x"], s["y"], math.Pow(float64(k+1), -1.0/3)
				momentum := 0.4 * fall * fall
				h, c := q.follow(k, s, momentum)
				past := func(name string, now []float64, of func(x, y []float64) []float64) []float64 {
					return remembered(k, momentum, s[name], now, of(s["x before"], s["y before"]))
				}
				fx, fy := past("fx", q.upperX(x, y), q.upperX), past("fy", q.upperY(x, y), q.upperY)
				gy := past("gy", q.lowerY(x, y), q.lowerY)
				return map[string][]float64{
					"x": move(x, 0.05*fall, less(fx, times(c.T(), solved(h, fy)))), "y": move(y, 0.2*fall, gy),
					"fx": fx, "fy": fy, "gy": gy, "x before": x, "y before": y,
					"hessian": h.RawMatrix().Data, "mixed": c.RawMatrix().Data,
				}
			}, []string{"hessian", "mixed", "fx", "fy", "gy"},
		},
		{
			solvers.F3SA{YStep: 0.05, ZStep: 0.2, OuterStep: 0.03, Multiplier: 2, Growth: 0.5, Momentum: 0.4,
				ZExponent: 0.5, YExponent: 0.25},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, z, xb, yb, zb := s["x"], s["y"], s["z"], s["x before"], s["y before"], s["z before"]
				n, lambda := float64(k+1), 2+0.5*float64(k)
				past := func(name string, now, then []float64) []float64 {
					return remembered(k, 0.4*math.Pow(n, -0.75), s[name], now, then)
				}
				gz, gy := past("gz", q.lowerY(x, z), q.lowerY(xb, zb)), past("gy", q.lowerY(x, y), q.lowerY(xb, yb))
				fy := past("fy", q.upperY(x, y), q.upperY(xb, yb))
				nextZ := move(z, 0.2/math.Sqrt(n), gz)
				nextY := move(y, 0.05*math.Pow(n, -0.25), sum(fy, scaled(lambda, gy)))
				gx := past("gx", times(q.C, less(nextY, nextZ)), times(q.C, less(y, z)))
				fx := past("fx", q.upperX(x, nextY), q.upperX(xb, y))
				return map[string][]float64{
					"x": move(x, 0.03, sum(fx, scaled(lambda, gx))), "y": nextY, "z": nextZ,
					"gz": gz, "gy": gy, "fy": fy, "gx": gx, "fx": fx, "x before": x, "y before": y, "z before": z,
				}
			}, []string{"gz", "gy", "fy", "gx", "fx"},
		},
	}
}

// remembered is an estimate with momentum.
func remembered(k int, momentum float64, memory, now, then []float64) []float64 {
	if k == 0 {
		return now
	}
	return sum(now, scaled(1-momentum, less(memory, then)))
}

// follow is the estimates of A and of Cᵀ on all rows, where the derivatives do not depend on the point.
func (q plain) follow(k int, s map[string][]float64, momentum float64) (h, c *mat.Dense) {
	n, p := q.A.RawMatrix().Rows, q.C.RawMatrix().Rows
	ct := mat.DenseCopyOf(q.C.T())
	a := q.A.RawMatrix().Data
	return mat.NewDense(n, n, remembered(k, momentum, s["hessian"], a, a)),
		mat.NewDense(n, p, remembered(k, momentum, s["mixed"], ct.RawMatrix().Data, ct.RawMatrix().Data))
}
