package solvers_test

import (
	"math"

	"bilevel/solvers"
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
			},
		},
		{
			solvers.MEHA{YStep: 0.05, ZStep: 0.2, OuterStep: 0.03, Proximal: 0.6, Multiplier: 3},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, z, c := s["x"], s["y"], s["z"], 3*math.Pow(float64(k+1), 0.25)
				z = move(z, 0.2, sum(q.lowerY(x, z), scaled(0.6, less(z, y))))
				x = move(x, 0.03, sum(scaled(1/c, q.upperX(x, y)), less(q.lowerX(y), q.lowerX(z))))
				d := sum(scaled(1/c, q.upperY(x, y)), q.lowerY(x, y), scaled(-0.6, less(y, z)))
				return map[string][]float64{"x": x, "y": move(y, 0.05, d), "z": z}
			},
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
			},
		},
	}
}
