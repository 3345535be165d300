package bench

import (
	"context"
	"math"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

const (
	loops  = 256 // iterations of an algorithm in one call
	period = 128 // iterations between two passes over all rows
)

// algorithms lists one workload for each core algorithm: an iteration on data hyper-cleaning, with minibatches of 64
// rows of each level. bench/peers/algorithms.py says what each computes.
func algorithms() (all []Workload) {
	for _, c := range []struct {
		key    string
		a      solvers.Algorithm
		second string // the state's second vector in the check value; empty: none
	}{
		{"ttsa", solvers.TTSA{Step: 0.1, OuterStep: 10, NeumannStep: 0.01, Terms: 10, Exponent: 0.4, OuterExponent: 0.6,
			Delay: 1}, "v"},
		{"stocbio", solvers.StocBiO{Step: 0.01, OuterStep: 10, NeumannStep: 0.01, Terms: 10, InnerSteps: 10}, "v"},
		{"alset", solvers.ALSET{Step: 0.01, OuterStep: 10, NeumannStep: 0.01, Terms: 10, InnerSteps: 5}, "v"},
		{"amigo", solvers.AmIGO{Step: 0.01, VStep: 0.01, OuterStep: 10, InnerSteps: 10, VSteps: 10}, "v"},
		{"soba", solvers.SOBA{Step: 0.1, OuterStep: 10}, "v"},
		{"masoba", solvers.MASOBA{Step: 0.1, OuterStep: 10, Average: 0.1}, "v"},
		{"saba", solvers.SABA{Step: 0.01, OuterStep: 10}, "v"},
		{"srba", solvers.SRBA{Step: 0.1, OuterStep: 10, Period: period}, "v"},
		{"sustain", solvers.SUSTAIN{Step: 0.1, OuterStep: 10, NeumannStep: 0.01, Terms: 10, Momentum: 0.5}, "v"},
		{"vrbo", solvers.VRBO{
			Step: 0.01, OuterStep: 10, NeumannStep: 0.01, Terms: 5, InnerSteps: 3, Period: period,
		}, "h"},
		{"f2sa", solvers.F2SA{YStep: 0.001, ZStep: 0.01, OuterStep: 1, Multiplier: 10, InnerSteps: 10}, "z"},
		{"f2sa_adam", solvers.F2SAAdam{YStep: 0.001, ZStep: 0.001, OuterStep: 0.01, Multiplier: 10, InnerSteps: 10,
			Beta1: 0.9, Beta2: 0.99}, "z"},
		{"aid", solvers.AIDBiO{Step: 0.01, OuterStep: 10, InnerSteps: 10, CGSteps: 10}, "v"},
		{"itd", solvers.ITDBiO{Step: 0.01, OuterStep: 1000, InnerSteps: 10}, ""},
		{"bome", solvers.BOME{Step: 0.01, ZStep: 0.01, OuterStep: 10, InnerSteps: 10, Eta: 0.5}, "z"},
		{"vpbgd", solvers.VPBGD{YStep: 0.01, ZStep: 0.01, OuterStep: 10, Penalty: 10, InnerSteps: 10}, "z"},
	} {
		all = append(all, Workload{"algorithm_" + c.key + "_b64", func(ex *tensor.Executor) (*Prepared, error) {
			return iterate(ex, c.a, c.second)
		}})
	}
	return all
}

// iterate prepares calls of so many iterations from the start.
func iterate(ex *tensor.Executor, a solvers.Algorithm, second string) (*Prepared, error) {
	p, err := cleaningProblem(ex, 64, nil)
	if err != nil {
		return nil, err
	}
	b, err := p.Bind(ex)
	if err != nil {
		return nil, err
	}
	e, _, err := solvers.InitDrawing(context.Background(), b, a, loops, func(k, limit int) int {
		return int(splitmix64(uint64(k)+lengthStream<<32) % uint64(limit))
	})
	if err != nil {
		return nil, err
	}
	reset, err := restart(e)
	if err != nil {
		return nil, err
	}
	loss := ex.Variable("loss", tensor.Real)
	evaluate, err := ex.Compile("loss", func() []tensor.Update {
		f := p.Upper.Value(problem.Vars{}, p.Lower.Start.Layout.Vars(e.Variable("y").Node()), b.All(problem.Upper))
		return []tensor.Update{{Var: loss, Value: f}}
	})
	if err != nil {
		return nil, err
	}
	return &Prepared{
		Call: func() error {
			if err := reset.Run(1); err != nil {
				return err
			}
			return e.Step(context.Background(), 0, loops)
		},
		Per: loops,
		Check: func() (float64, error) {
			z := 0.0
			if second != "" {
				var err error
				if z, err = norm(e.Variable(second)); err != nil {
					return 0, err
				}
			}
			return moved(e, z)
		},
		Loss: func() (float64, error) {
			if err := evaluate.Run(1); err != nil {
				return 0, err
			}
			return loss.Number()
		},
	}, nil
}

// moved is |y| + |x - startWeight| + z.
func moved(e *engine.Engine, z float64) (float64, error) {
	y, err := norm(e.Variable("y"))
	if err != nil {
		return 0, err
	}
	x, err := e.Variable("x").Read()
	if err != nil {
		return 0, err
	}
	square := 0.0
	for _, v := range x {
		square += (v - startWeight) * (v - startWeight)
	}
	return y + z + math.Sqrt(square), nil
}

// restart puts the start values back. All but x, its copies and the powers of Adam's factors are zero.
func restart(e *engine.Engine) (*tensor.Function, error) {
	start := map[string]float64{"x": startWeight, "x before": startWeight, "power1": 1, "power2": 1}
	return e.Executor().Compile("restart", func() (updates []tensor.Update) {
		for _, name := range e.Names() {
			v := e.Variable(name)
			updates = append(updates, tensor.Update{Var: v, Value: tensor.Full(start[name], v.Shape()...)})
		}
		return updates
	})
}
