package solvers_test

import (
	"math"

	"bilevel/solvers"

	"gonum.org/v1/gonum/floats"
)

// lower and upper are the objectives' values.
func (q plain) lower(x, y []float64) float64 {
	return floats.Dot(y, times(q.A, y))/2 + floats.Dot(x, times(q.C, y)) + floats.Dot(q.LowerA, y)
}

func (q plain) upper(x, y []float64) float64 {
	return floats.Dot(y, times(q.B, y))/2 + floats.Dot(x, times(q.E, x))/2 + floats.Dot(x, times(q.K, y)) +
		floats.Dot(q.F, y) + floats.Dot(q.UpperE, x)
}

// furtherLoops are algorithms for lower levels that are not strongly convex, and simple ones.
func (q plain) furtherLoops() []loop {
	return []loop{
		{
			solvers.Alternation{Step: 0.3, OuterStep: 0.05, InnerSteps: 2, Schedule: "sqrt"},
			func(k int, s map[string][]float64) map[string][]float64 {
				fall := 1 / math.Sqrt(float64(k+1))
				y := q.descend(s["x"], s["y"], 0.3*fall, 2)
				return map[string][]float64{"x": move(s["x"], 0.05*fall, q.upperX(s["x"], y)), "y": y}
			}, nil,
		},
		{
			solvers.SignUnrolling{Step: 0.3, OuterStep: 0.05, InnerSteps: 2},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y := s["x"], s["y"]
				for range 2 {
					d := q.lowerY(x, y)
					for i := range d {
						d[i] = math.Copysign(1, d[i])
					}
					y = move(y, 0.3/math.Sqrt(float64(k+1)), d)
				}
				return map[string][]float64{"x": move(x, 0.05, q.upperX(x, y)), "y": y}
			}, nil,
		},
		{
			// The derivative of y_T in x goes forwards here, one column for each x_i, and backwards in the algorithm.
			solvers.BDA{Step: 0.3, UpperStep: 0.2, OuterStep: 0.05, InnerSteps: 3, Aggregate: 0.8},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y := s["x"], s["y"]
				columns := make([][]float64, len(x))
				for i := range columns {
					columns[i] = make([]float64, len(y))
				}
				for t := range 3 {
					up := 0.8 / float64(t+1)
					for i, c := range columns {
						d := sum(scaled(up*0.2, times(q.B, c)), scaled((1-up)*0.3, times(q.A, c)))
						floats.AddScaled(d, up*0.2, q.K.RawRowView(i))
						floats.AddScaled(d, (1-up)*0.3, q.C.RawRowView(i))
						columns[i] = less(c, d)
					}
					y = less(y, sum(scaled(up*0.2, q.upperY(x, y)), scaled((1-up)*0.3, q.lowerY(x, y))))
				}
				d := q.upperX(x, y)
				for i, c := range columns {
					d[i] += floats.Dot(c, q.upperY(x, y))
				}
				return map[string][]float64{"x": move(x, 0.05, d), "y": y}
			}, nil,
		},
		{
			solvers.IAPTTGM{Step: 0.3, ZStep: 0.1, OuterStep: 0.05, InnerSteps: 4},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, worst, at := s["x"], s["z"], 0, []float64(nil)
				for t := 1; t <= 4; t++ {
					if y = move(y, 0.3, q.lowerY(x, y)); at == nil || q.upper(x, y) > q.upper(x, at) {
						worst, at = t, y
					}
				}
				powers := q.factors(q.upperY(x, at), 0.3, worst) // ∂φ/∂z = (I - sA)^k̄ ∇yF
				v := make([]float64, len(at))
				for j := range worst {
					v = sum(v, scaled(0.3, q.factors(q.upperY(x, at), 0.3, j)))
				}
				x, z := move(x, 0.05, q.slope(x, at, v)), move(s["z"], 0.1, powers)
				return map[string][]float64{"x": x, "y": at, "z": z}
			}, nil,
		},
		{
			solvers.PDBO{Step: 0.05, ZStep: 0.3, OuterStep: 0.02, DualStep: 0.7, InnerSteps: 2, Slack: 0.01, Bound: 5,
				Extra: 0.5, Regularize: 0.1},
			func(k int, s map[string][]float64) map[string][]float64 {
				x, y, z := s["x"], s["y"], s["z"]
				for range 2 {
					z = move(z, 0.3, sum(q.lowerY(x, z), scaled(0.1, z)))
				}
				c := q.lower(x, y) - q.lower(x, z) - 0.05*floats.Dot(z, z) - 0.01
				ahead := c
				if k > 0 {
					ahead = 1.5*c - 0.5*s["gap before"][0]
				}
				lambda := min(5, max(0, s["multiplier"][0]+0.7*ahead))
				return map[string][]float64{
					"x": move(x, 0.02, sum(q.upperX(x, y), scaled(lambda, times(q.C, less(y, z))))),
					"y": move(y, 0.05, sum(q.upperY(x, y), scaled(lambda, q.lowerY(x, y)))), "z": z,
					"multiplier": {lambda}, "gap before": {c},
				}
			}, nil,
		},
	}
}
