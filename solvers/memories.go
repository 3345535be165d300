package solvers

import (
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// memories are the settings of directions with the momentum of STORM, d₊ = D + (1 - η_k)(d - D⁻), where D⁻ is taken at
// the point of the iteration before.
type memories struct {
	momentum float64 // η in the first iteration
	exponent float64 // of the power by which steps fall; -1: exactly 0
	start    string  // true or zero
}

func (m memories) check(algorithm string) error {
	switch {
	case !(m.momentum > 0 && m.momentum <= 1):
		return fmt.Errorf("%s: momentum is %g: wants a number above 0 and at most 1, where nothing is remembered",
			algorithm, m.momentum)
	case m.exponent != -1 && !(m.exponent >= 0 && m.exponent <= 1):
		return fmt.Errorf("%s: exponent is %g: wants a number from 0 to 1, or -1 for constants", algorithm, m.exponent)
	case m.start != "" && m.start != "true" && m.start != "zero":
		return fmt.Errorf("%s: memory is %q: wants true or zero", algorithm, m.start)
	}
	return nil
}

// before is the point of the iteration before, as the state's vectors "x before" and "y before".
func (m memories) before(b *problem.Bound) []engine.Array {
	if m.start == "zero" {
		return []engine.Array{ofX(b, "x before"), {Name: "y before", Zeros: b.Lower.Start.Size()}}
	}
	return []engine.Array{
		{Name: "x before", Values: b.Upper.Start.Flat, Unwatched: true}, {Name: "y before", Values: b.Lower.Start.Flat},
	}
}

// remember makes a point the one before for the next iteration.
func remember(s *engine.State, x, y *tensor.Node) {
	s.Set("x before", x)
	s.Set("y before", y)
}

// keep is 1 - η_k, where η_k falls by an exponent of its own. Unless memories begin as zero vectors, the first
// estimates are those of the first point, which takes η_0 = 1.
func (m memories) keep(r Run, exponent float64) engine.Rate {
	momentum := r.falling("momentum", m.momentum, exponent, "constant")
	return engine.Rate{Name: "keep", At: func(k int) float64 {
		if k == 0 && m.start != "zero" {
			return 0
		}
		return 1 - momentum.At(k)
	}}
}
