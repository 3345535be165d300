package prune

import (
	"context"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Magnitude is one-shot magnitude pruning: the scores [s] of weights θ [q] are their Magnitudes (Han, Pool, Tran,
// Dally, NeurIPS 2015; for units Li, Kadav, Durdanovic, Samet, Graf, ICLR 2017, there with the sum of absolute values).
func Magnitude(ctx context.Context, ex *tensor.Executor, s Structure, theta []float64) (scores []float64, err error) {
	sc := ex.Scope()
	defer func() { err = joined(err, sc.Close()) }()
	v := sc.Variable("theta", tensor.Real, len(theta))
	if err := v.Write(theta); err != nil {
		return nil, err
	}
	list, err := values(ctx, ex, "magnitude", func() []*tensor.Node { return []*tensor.Node{s.Magnitudes(v.Node())} })
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// Magnitudes are scores [s] of parameters z [q]: |z| of a weight, and of a unit the Euclidean norm of the parameters
// that make its output, which are its weights, its bias and its normalizations, in all layers that make it.
func (s Structure) Magnitudes(z *tensor.Node) *tensor.Node {
	if !s.ByUnit() {
		return z.Abs()
	}
	squares := make(map[string]*tensor.Node)
	for _, u := range s.units {
		for _, slot := range u.Slots {
			if !slot.Output {
				continue
			}
			a, _ := s.Params.Find(slot.Array)
			var others []int
			for axis := range a.Shape {
				if axis != slot.Axis {
					others = append(others, axis)
				}
			}
			sum := a.Of(z).Square()
			if len(others) > 0 {
				sum = sum.Sum(others...)
			}
			if every := period(a, slot); every < sum.Size() {
				sum = sum.Reshape(sum.Size()/every, every).Sum(0)
			}
			sum = sum.Reshape(sum.Size()).Slice(0, slot.From, slot.From+u.Count)
			if before := squares[u.Name]; before != nil {
				sum = before.Add(sum)
			}
			squares[u.Name] = sum
		}
	}
	return s.Scores.Spread(func(a params.Array) *tensor.Node { return squares[a.Name].Sqrt() })
}
