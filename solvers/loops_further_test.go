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

// barrier is BVFIM, whose search goes from the longest step to shorter ones here and stops at the first that will do.
func (q plain) barrier(penalty string) loop {
	a := solvers.BVFIM{Step: 2, ZStep: 0.3, OuterStep: 0.05, InnerSteps: 2, UpperSteps: 3, Penalty: penalty,
		Barrier: 0.3, Slack: 0.5, Regularize: 0.2, RegularizeUp: 0.1, Exponent: 0.5, Decrease: 0.3}
	return loop{a, func(k int, s map[string][]float64) map[string][]float64 {
		fall := 1 / math.Sqrt(float64(k+1))
		x, y, z, step, inside := s["x"], s["y"], s["z"], s["step"][0], penalty == "log"
		for range 2 {
			z = move(z, 0.3, sum(q.lowerY(x, z), scaled(0.2*fall, z)))
		}
		g := q.lower(x, z) + 0.1*fall*floats.Dot(z, z)
		if inside {
			g += 0.5 * fall
		}
		weight := func(y []float64) float64 { // the slope of the penalty by G
			if room := g - q.lower(x, y); inside {
				return 0.3 * fall / room
			} else {
				return math.Max(0, -room) / (0.3 * fall)
			}
		}
		phi := func(y []float64) float64 {
			value := q.upper(x, y) + 0.05*fall*floats.Dot(y, y)
			if room := g - q.lower(x, y); !inside {
				return value + math.Pow(math.Max(0, -room), 2)/(0.6*fall)
			} else if room > 0 {
				return value - 0.3*fall*math.Log(room)
			}
			return math.Inf(1)
		}
		for range 3 {
			if inside && q.lower(x, y) >= g {
				y = z
			}
			slope := sum(sum(q.upperY(x, y), scaled(0.1*fall, y)), scaled(weight(y), q.lowerY(x, y)))
			from := step
			step = from / 512
			for size, i := 2*from, 0; i < 10; size, i = size/2, i+1 {
				if there := move(y, size, slope); phi(there) <= phi(y)-0.3*size*floats.Dot(slope, slope) {
					y, step = there, size
					break
				}
			}
		}
		slope := sum(q.upperX(x, y), scaled(weight(y), times(q.C, less(y, z))))
		return map[string][]float64{"x": move(x, 0.05, slope), "y": y, "z": z, "step": {step}}
	}, nil}
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
		{
			// With one objective beside the penalty ½(α - 1)² that the tests put on α, which changes nothing else.
			solvers.MORBiT{Step: 0.3, OuterStep: 0.05, DualStep: 0.4, NeumannStep: 0.2, Terms: 2, Schedule: "sqrt"},
			func(k int, s map[string][]float64) map[string][]float64 {
				fall := 1 / math.Sqrt(float64(k+1))
				x, y, alpha := s["x"], q.descend(s["x"], s["y"], 0.3*fall, 1), s["alpha"][0]
				b := q.upperY(x, y)
				once := move(b, 0.2, times(q.A, b))
				v := scaled(0.2, sum(b, sum(once, move(once, 0.2, times(q.A, once)))))
				return map[string][]float64{"x": move(x, 0.05*fall, q.slope(x, y, v)), "y": y, "v": v,
					"alpha": {alpha + 0.4*fall*(1-alpha)}}
			}, nil,
		},
		{
			solvers.MMB{Step: 0.3, OuterStep: 0.05, DualStep: 1, Average: 0.25, Schedule: "sqrt"},
			func(k int, s map[string][]float64) map[string][]float64 {
				fall, theta := 1/math.Sqrt(float64(k+1)), 0.25
				if k == 0 {
					theta = 1
				}
				x, y, v := s["x"], s["y"], s["v"]
				d := sum(scaled(1-theta, s["d"]), scaled(theta, q.slope(x, y, v)))
				return map[string][]float64{"x": move(x, 0.05*fall, d), "y": q.descend(x, y, 0.3*fall, 1), "d": d,
					"v": move(v, 0.3*fall, less(times(q.A, v), q.upperY(x, y)))}
			}, nil,
		},
		q.barrier("log"), q.barrier("quadratic"),
	}
}
