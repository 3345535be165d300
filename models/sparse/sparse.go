// Package sparse runs trained networks of which few weights are left, on the processor. Their weights are kept without
// the zeros, so that a network takes the less time and memory the fewer are left. There are no derivatives: networks
// are trained by package tensor, whose products apply a mask.
package sparse

import (
	"errors"
	"fmt"

	"bilevel/cpu"
	"bilevel/internal/expr"
	"bilevel/models"
)

// Network computes outputs [batch, outputs] of inputs [batch, inputs]. Between layers a batch lies in columns.
type Network struct {
	In, Out []float32 // inputs to be written before Run, and outputs, both by rows

	pool  *cpu.Pool
	steps []interface{ Run() error }
}

// functions are the activations as steps of an elementwise expression.
var functions = map[models.Activation]expr.Fn{
	models.Relu: expr.Relu, models.Tanh: expr.Tanh, models.Sigmoid: expr.Sigmoid, models.Softplus: expr.Softplus,
}

// New prepares a network for batches of one size, on a number of threads. It is freed by Close.
func New(layers []models.Affine, batch, threads int) (*Network, error) {
	if len(layers) == 0 || batch < 1 || threads < 1 {
		return nil, fmt.Errorf("a sparse network of %d layers for a batch of %d on %d threads: wants at least 1 of "+
			"each", len(layers), batch, threads)
	}
	n := &Network{pool: cpu.NewPool(threads, cpu.Detected())}
	inputs := layers[0].In
	n.In = make([]float32, batch*inputs)
	x := n.In
	if batch > 1 {
		x = make([]float32, len(n.In))
		n.steps = append(n.steps, cpu.NewCopy(n.pool, columns(x, inputs, batch), byRow(n.In, inputs, batch)))
	}
	for _, l := range layers {
		y := make([]float32, l.Out*batch)
		n.steps = append(n.steps, cpu.NewSparseGemm(n.pool, cpu.Compress(short(l.Weight), l.Out, l.In), x, y, batch))
		e := &expr.Expr{
			Steps: []expr.Step{{Fn: expr.Input}, {Fn: expr.Input, Arg: 1}, {Fn: expr.Add, Args: [3]int{0, 1}}},
			Outs:  []int{2},
		}
		if l.Activation != models.Identity {
			fn, ok := functions[l.Activation]
			if !ok {
				return nil, errors.Join(fmt.Errorf("a sparse network with the activation %q: there is none",
					l.Activation), n.Close())
			}
			e.Steps, e.Outs = append(e.Steps, expr.Step{Fn: fn, Args: [3]int{2}}), []int{3}
		}
		out := columns(y, l.Out, batch)
		bias := cpu.Array{Real: short(l.Bias), Shape: out.Shape, Strides: []int{1, 0}}
		n.steps = append(n.steps, cpu.NewMap(n.pool, e, out.Shape, []cpu.Array{out, bias}, []cpu.Array{out}))
		x = y
	}
	n.Out = x
	if batch > 1 {
		n.Out = make([]float32, len(x))
		outputs := layers[len(layers)-1].Out
		n.steps = append(n.steps, cpu.NewCopy(n.pool, byRow(n.Out, outputs, batch), columns(x, outputs, batch)))
	}
	return n, nil
}

// Run computes Out of In.
func (n *Network) Run() error {
	n.pool.Lock()
	defer n.pool.Unlock()
	for _, s := range n.steps {
		if err := s.Run(); err != nil {
			return err
		}
	}
	return nil
}

// Close ends the threads.
func (n *Network) Close() error {
	n.pool.Close()
	return nil
}

// columns shows [features, batch], and byRow the same of [batch, features].
func columns(x []float32, features, batch int) cpu.Array {
	return cpu.Array{Real: x, Shape: []int{features, batch}, Strides: []int{batch, 1}}
}

func byRow(x []float32, features, batch int) cpu.Array {
	return cpu.Array{Real: x, Shape: []int{features, batch}, Strides: []int{1, features}}
}

func short(a []float64) []float32 {
	list := make([]float32, len(a))
	for i, v := range a {
		list[i] = float32(v)
	}
	return list
}
