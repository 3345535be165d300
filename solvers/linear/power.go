package linear

import (
	"context"

	"bilevel/tensor"
)

// Power finds the largest eigenvalue of a matrix, in absolute value, by the power method: d ← A d/|A d|.
type Power struct {
	d, value *tensor.Variable
	product  *Product     // nil where the operator is part of the loop
	loop     *tensor.Loop // bodies: one product, begin
}

// NewPower compiles the method, for a vector [n] that it begins with, of any length but 0. What it makes belongs to the
// scope.
func NewPower(sc *tensor.Scope, m Matrix, start *tensor.Node) (*Power, error) {
	if err := m.check("Power"); err != nil {
		return nil, err
	}
	p := &Power{d: sc.Variable("power d", tensor.Real, m.N), value: sc.Number("power value"), product: m.Product}
	apply := m.graph()
	unit := func(v *tensor.Node) (size, d *tensor.Node) { // 0 where v is 0
		size = Norm(v)
		return size, v.Div(tensor.Where(tensor.Const(0).Lt(size), size, tensor.Const(1)))
	}
	p.loop = sc.Loop("the largest eigenvalue", func() []tensor.Update {
		size, d := unit(apply(p.d.Node()))
		return []tensor.Update{{Var: p.value, Value: size}, {Var: p.d, Value: d}}
	}, func() []tensor.Update {
		_, d := unit(start)
		return append(p.product.clear(), tensor.Update{Var: p.d, Value: d},
			tensor.Update{Var: p.value, Value: tensor.Const(0)})
	})
	return p, sc.Err()
}

// Measure is |A d| after so many products, at most the largest |eigenvalue|, where the variables of the matrix stand.
// It returns between two products when ctx ends.
func (p *Power) Measure(ctx context.Context, products int) (float64, error) {
	if err := p.loop.Setup(); err != nil {
		return 0, err
	}
	if err := p.loop.Body(1).Run(1); err != nil {
		return 0, err
	}
	for range products {
		if err := repeat(ctx, p.loop, p.product, p.d, 1); err != nil {
			return 0, err
		}
	}
	return p.value.Number()
}
