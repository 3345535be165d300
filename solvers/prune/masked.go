package prune

import (
	"bilevel/solvers/engine"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Masked trains the weights of a masked network by a method of package minimize: the mask is the problem's x. Where the
// mask is 0, the weight and every vector that the method keeps (momentum, moments, averages) stay as they are to the
// bit, so that weights are not decayed either, and m ⊙ θ is exactly 0.
type Masked struct{ minimize.Method }

// Spec is the method's, with a selection after its step.
func (m Masked) Spec(b *problem.Bound, n int) (engine.Spec, error) {
	spec, err := m.Method.Spec(b, n)
	if err != nil {
		return spec, err
	}
	var names []string
	for _, a := range spec.State {
		if a.Name != "x" && len(a.Values)+a.Zeros == b.Lower.Start.Size() {
			names = append(names, a.Name)
		}
	}
	phases := make([]engine.Phase, len(spec.Phases))
	for i, ph := range spec.Phases {
		build := ph.Build
		ph.Build = func(it *engine.Iteration, s *engine.State) {
			build(it, s)
			for _, name := range names {
				hold(s, s.Get("x"), name)
			}
		}
		phases[i] = ph
	}
	spec.Phases = phases
	return spec, nil
}

// hold keeps the elements of an entry of the state at which a mask is 0.
func hold(s *engine.State, mask *tensor.Node, name string) {
	s.Set(name, tensor.Where(mask, s.Next(name), s.Get(name)))
}
