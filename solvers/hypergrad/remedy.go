package hypergrad

import (
	"fmt"
	"strings"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// remedies says what to use instead for features of a problem that a method cannot use.
var remedies = []struct {
	features problem.Features
	use      string
	method   Method // that can use them; nil: none, and use says what to change
}{
	{problem.LowerSet | problem.LowerConstraints, "KKT differentiates the optimality conditions with multipliers",
		KKT{}},
	{problem.LowerResidual, "Root is meant for residuals", Root{}},
	{problem.LowerProx, "Prox is meant for proximal maps", Prox{}},
	{problem.UpperSaddle, "give the upper objective at the best of the further variable, as Value", nil},
	{problem.LowerPerBatch, "fix one batch and give its variable as Lower.Start", nil},
	{problem.ModelState, "give objectives that take the running statistics as constants, as Value", nil},
}

// instead is what to do about features, in words; empty where there is nothing to say.
func instead(all, left problem.Features, by string) string {
	var parts []string
	for _, r := range remedies {
		switch {
		case left&r.features == 0:
		case r.method == nil:
			parts = append(parts, r.use)
		case r.method.Name() != by && all&^r.method.Needs().Usable == 0:
			parts = append(parts, r.use)
		}
	}
	return strings.Join(parts, "; ")
}

// refuse is the error for a problem that a method cannot use, with what to do instead.
func refuse(b *problem.Bound, m Method, x, y *tensor.Variable) error {
	switch {
	case b == nil:
		return fmt.Errorf("hypergrad: %s: there is no problem that is bound to a device (nil)", m.Name())
	case x == nil || y == nil || x == y:
		return fmt.Errorf("hypergrad: %s: wants a variable for x and another one for y", m.Name())
	}
	n := m.Needs()
	err := b.Refuse("hypergrad: "+m.Name(), n.Usable, n.Why)
	if err == nil {
		return nil
	}
	if other := instead(b.Features(), b.Features()&^n.Usable, m.Name()); other != "" {
		return fmt.Errorf("%w (%s)", err, other)
	}
	return err
}
