// Package tensortest checks derivatives numerically, and gives tests their executors.
package tensortest

import (
	"fmt"
	"math"
	"math/rand/v2"

	"bilevel/tensor"
)

// Case is a function of Real arrays whose derivatives are to be checked.
type Case struct {
	Name   string
	Shapes [][]int
	// Build gives the value (any shape) for nodes of the shapes; it is called several times.
	Build func(x []*tensor.Node) *tensor.Node
	// Sample draws one element of the inputs; nil means standard normal. Keep it away from kinks and poles.
	Sample func(r *rand.Rand) float64
}

// fdStep is u^(1/3) for float64: there the truncation error h²f‴/6 and the rounding error u f/h of a central
// difference balance, both near 4e-11 for values near 1.
const fdStep = 6e-6

// tolerance allows three orders of magnitude over that for larger third derivatives, relative to the sizes at hand.
const tolerance = 1e-7

// Check compares, at one random point along random directions, in the device's arithmetic (use the float64 reference):
//
//   - the JVP with a central difference of the value,
//   - the VJP with the JVP by the identity <c, J t> = <Jᵀ c, t>,
//
// and does the same for the function x ↦ Jᵀ(x) c until order is used up. It returns the first discrepancy.
func Check(ex *tensor.Executor, c Case, order int, seed uint64) error {
	r := rand.New(rand.NewPCG(seed, 1))
	for level := 1; level <= order; level++ {
		if err := check(ex, c, r); err != nil {
			return fmt.Errorf("%s, order %d: %w", c.Name, level, err)
		}
		c = transposed(ex, c, r)
	}
	return nil
}

// transposed is x ↦ Jᵀ(x) c, all parts one after the other, for a random fixed c.
func transposed(ex *tensor.Executor, c Case, r *rand.Rand) Case {
	build := c.Build
	seed := r.Uint64()
	c.Build = func(x []*tensor.Node) *tensor.Node {
		y := build(x)
		w := randomVariable(ex, "cotangent", y.Shape(), rand.New(rand.NewPCG(seed, 2)), nil)
		var parts []*tensor.Node
		for _, g := range tensor.VJP([]*tensor.Node{y}, x, []*tensor.Node{w.Node()}) {
			parts = append(parts, g.Flatten())
		}
		return tensor.Concat(0, parts...)
	}
	return c
}

func randomVariable(ex *tensor.Executor, name string, shape []int, r *rand.Rand,
	sample func(*rand.Rand) float64) *tensor.Variable {
	v := ex.Variable(name, tensor.Real, shape...)
	values := make([]float64, v.Size())
	for i := range values {
		if sample != nil {
			values[i] = sample(r)
		} else {
			values[i] = r.NormFloat64()
		}
	}
	if err := v.Write(values); err != nil {
		panic(err)
	}
	return v
}

func check(ex *tensor.Executor, c Case, r *rand.Rand) error {
	n := len(c.Shapes)
	x, t := make([]*tensor.Variable, n), make([]*tensor.Variable, n)
	xs, ts := make([]*tensor.Node, n), make([]*tensor.Node, n)
	for i, s := range c.Shapes {
		x[i] = randomVariable(ex, fmt.Sprint("x", i), s, r, c.Sample)
		t[i] = randomVariable(ex, fmt.Sprint("t", i), s, r, nil)
		xs[i], ts[i] = x[i].Node(), t[i].Node()
	}
	var y, w, jt *tensor.Variable
	cts := make([]*tensor.Variable, n)
	f, err := ex.Compile(c.Name, func() []tensor.Update {
		value := c.Build(xs)
		y = ex.Variable("y", tensor.Real, value.Shape()...)
		jt = ex.Variable("jvp", tensor.Real, value.Shape()...)
		w = randomVariable(ex, "w", value.Shape(), r, nil)
		values := []*tensor.Node{value}
		updates := []tensor.Update{{Var: y, Value: value}, {Var: jt, Value: tensor.JVP(values, xs, ts)[0]}}
		for i, g := range tensor.VJP(values, xs, []*tensor.Node{w.Node()}) {
			cts[i] = ex.Variable("vjp", tensor.Real, g.Shape()...)
			updates = append(updates, tensor.Update{Var: cts[i], Value: g})
		}
		return updates
	})
	if err != nil {
		return err
	}
	defer f.Close()
	at := func(h float64) ([]float64, error) {
		for i := range x {
			p, _ := x[i].Read()
			d, _ := t[i].Read()
			for k := range p {
				p[k] += h * d[k]
			}
			if err := x[i].Write(p); err != nil {
				return nil, err
			}
		}
		if err := f.Run(1); err != nil {
			return nil, err
		}
		return y.Read()
	}
	up, err := at(fdStep)
	if err != nil {
		return err
	}
	down, err := at(-2 * fdStep)
	if err != nil {
		return err
	}
	if _, err := at(fdStep); err != nil {
		return err
	}
	forward, err := jt.Read()
	if err != nil {
		return err
	}
	scale := 1.0
	for i := range up {
		scale = max(scale, math.Abs(up[i]), math.Abs(forward[i]))
	}
	for i := range up {
		fd := (up[i] - down[i]) / (2 * fdStep)
		if !(math.Abs(fd-forward[i]) <= tolerance*scale) {
			return fmt.Errorf("JVP element %d is %g, the central difference %g", i, forward[i], fd)
		}
	}
	weights, _ := w.Read()
	left, size := dot(weights, forward)
	right := 0.0
	for i := range x {
		d, _ := t[i].Read()
		g, err := cts[i].Read()
		if err != nil {
			return err
		}
		s, abs := dot(d, g)
		right += s
		size += abs
	}
	if !(math.Abs(left-right) <= 1e-11*(1+size)) {
		return fmt.Errorf("<c, J t> = %g but <Jᵀ c, t> = %g", left, right)
	}
	return nil
}

// dot is Σ a_i b_i and Σ |a_i b_i|.
func dot(a, b []float64) (sum, abs float64) {
	for i := range a {
		sum += a[i] * b[i]
		abs += math.Abs(a[i] * b[i])
	}
	return sum, abs
}
