package models

import (
	"fmt"
	"strconv"

	"bilevel/models/params"
	"bilevel/tensor"
)

// MLP is a multilayer perceptron: x ← φ(N_i(x·W_iᵀ + b_i)) for each layer i from 0, without N and φ in the last layer.
// N is batch normalization or, where BatchNorm is false, the identity. Inputs [B, …] with Widths[0] numbers per row
// give outputs [B, Widths[last]]. All fields but Widths may stay zero: the perceptron then has relu, biases, no batch
// normalization, and He's start values.
//
// Its arrays have the names and the order of those of PyTorch's nn.Sequential(Linear, BatchNorm1d, φ, Linear, …), whose
// members are counted from 0: 0.weight [out, in], 0.bias [out], and so on. The first batch normalization is member 1,
// with 1.weight and 1.bias as parameters and 1.running_mean, 1.running_var and 1.num_batches_tracked as state. A linear
// map that is followed by a batch normalization has no bias: the normalization would subtract it again, so that the
// loss would not depend on it, and the Hessian of the loss would be singular. In PyTorch that is Linear(…, bias=False).
type MLP struct {
	Widths     []int // inputs, hidden layers, outputs
	Activation Activation
	NoBias     bool  // leaves out the biases of linear maps
	BatchNorm  bool  // normalizes the input of each φ
	Start      Start // empty: He for relu and softplus, Glorot for the other activations
	// InputsFirst stores each weight array as [in, out], the transpose of PyTorch's. A seed gives the same network
	// either way.
	InputsFirst bool
	Normalize   Normalization
}

// Check refuses widths and names that make no sense.
func (m MLP) Check() error {
	if len(m.Widths) < 2 {
		return fmt.Errorf("perceptron of widths %v: wants at least two, inputs and outputs", m.Widths)
	}
	for _, w := range m.Widths {
		if w < 1 {
			return fmt.Errorf("perceptron of widths %v: wants positive ones", m.Widths)
		}
	}
	if _, _, err := m.Activation.find(); err != nil {
		return err
	}
	if m.Start != "" {
		if err := m.Start.check(); err != nil {
			return err
		}
	}
	return m.Normalize.check(m.Widths[0])
}

// dense is one layer of a perceptron.
type dense struct {
	linear, norm string // names of its linear map and of its batch normalization; norm is empty where there is none
	in, out      int
	bias, last   bool
}

// layers lists the layers. A layer's names are the numbers that its parts have in PyTorch's nn.Sequential.
func (m MLP) layers() []dense {
	must("MLP", m.Check())
	members := 2 // linear map, φ
	if m.BatchNorm {
		members = 3
	}
	out := make([]dense, len(m.Widths)-1)
	for i := range out {
		d := dense{linear: strconv.Itoa(i * members), in: m.Widths[i], out: m.Widths[i+1], last: i == len(out)-1}
		if m.BatchNorm && !d.last {
			d.norm = strconv.Itoa(i*members + 1)
		}
		d.bias = !m.NoBias && d.norm == ""
		out[i] = d
	}
	return out
}

func (m MLP) Params() (l params.Layout) {
	for _, d := range m.layers() {
		if m.InputsFirst {
			l = l.With(d.linear+".weight", d.in, d.out)
		} else {
			l = l.With(d.linear+".weight", d.out, d.in)
		}
		if d.bias {
			l = l.With(d.linear+".bias", d.out)
		}
		if d.norm != "" {
			l = l.With(d.norm+".weight", d.out).With(d.norm+".bias", d.out)
		}
	}
	return l
}

// Costs lists the linear maps, normalizations and activations in the order in which they are computed.
func (m MLP) Costs() (rows []LayerCost) {
	row := func(name, kind string, width, parameters, multiplyAdds int) {
		rows = append(rows, LayerCost{Name: name, Kind: kind, Output: []int{width}, Parameters: parameters,
			MultiplyAdds: multiplyAdds, Activations: width})
	}
	phi := m.Activation
	if phi == "" {
		phi = Relu
	}
	for _, d := range m.layers() {
		parameters := d.in * d.out
		if d.bias {
			parameters += d.out
		}
		row(d.linear, "linear", d.out, parameters, d.in*d.out)
		if d.norm != "" {
			row(d.norm, "batch norm", d.out, 2*d.out, 0)
		}
		if !d.last {
			row("", string(phi), d.out, 0, 0)
		}
	}
	return rows
}

func (m MLP) State() (l params.Layout) {
	for _, d := range m.layers() {
		if d.norm != "" {
			l = batchNormState(l, d.norm, d.out)
		}
	}
	return l
}

// Init draws linear maps from Start. Batch normalizations begin with weight 1, bias 0, running mean 0 and variance 1.
func (m MLP) Init(seed uint64) (p, state params.Values) {
	start := m.Start
	if start == "" {
		_, start, _ = m.Activation.find()
	}
	p, state = zeros(m.Params()), zeros(m.State())
	number := make(map[string]int) // position in the layout, which gives each array random numbers of its own
	for i, a := range p.Layout {
		number[a.Name] = i
	}
	for _, d := range m.layers() {
		weight, bias := d.linear+".weight", d.linear+".bias"
		draws := make([]float64, d.in*d.out) // [in, out]
		start.weights(draws, d.in, d.out, seed, number[weight])
		dst := p.Of(weight)
		for i, v := range draws {
			if !m.InputsFirst {
				i = i%d.out*d.in + i/d.out
			}
			dst[i] = v
		}
		if d.bias {
			start.bias(p.Of(bias), d.in, d.out, seed, number[bias])
		}
		if d.norm != "" {
			fill(p.Of(d.norm+".weight"), 1)
			fill(state.Of(d.norm+runningVar), 1)
		}
	}
	return p, state
}

func fill(dst []float64, v float64) {
	for i := range dst {
		dst[i] = v
	}
}

func (m MLP) Apply(p, state, inputs *tensor.Node, mode params.Mode) (outputs, next *tensor.Node) {
	w, s := open("MLP", m, p, state, mode)
	phi, _, _ := m.Activation.find()
	statistics := params.Vars{} // the updated running statistics, by name
	x := m.Normalize.apply(rows("MLP", inputs, m.Widths[0]))
	for _, d := range m.layers() {
		weight := w[d.linear+".weight"]
		if !m.InputsFirst {
			weight = weight.T()
		}
		x = plusBias(x.MatMul(weight), w[d.linear+".bias"])
		if d.norm != "" {
			x = batchNorm("MLP", d.norm, w, s, x, mode, statistics)
		}
		if !d.last {
			x = phi(x)
		}
	}
	if len(statistics) == 0 {
		return x, state
	}
	return x, m.State().Spread(func(a params.Array) *tensor.Node { return statistics[a.Name] }).StopGradient()
}
