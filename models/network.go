package models

import (
	"fmt"
	"strings"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Network is a convolutional network: images [B, …], with the channels of a pixel side by side, give logits
// [B, classes]. It is made by the architectures of this package, such as ResNet and LeNet, whose arrays have the names
// and the order of public PyTorch code; params.Array.Peer says how each is stored there.
type Network struct {
	name      string
	image     Image
	classes   int
	layers    []layer
	normalize Normalization
	start     Start // empty: He
	counts    []int // of the channels that are left in each group; nil: all
}

// network checks a list of layers.
func network(name string, in Image, classes int, normalize Normalization, start Start, layers ...layer) (
	Network, error) {
	n := Network{name: name, image: in, classes: classes, layers: layers, normalize: normalize, start: start}
	return n, n.Check()
}

// Name is what the network is called.
func (n Network) Name() string { return n.name }

// Image is the size of the images that the network takes.
func (n Network) Image() Image { return n.image }

// Normalization is the network's first layer.
func (n Network) Normalization() Normalization { return n.normalize }

// Classes is the number of its outputs.
func (n Network) Classes() int { return n.classes }

// Check refuses sizes that cannot be, and names the layer.
func (n Network) Check() error {
	switch {
	case n.image.Height < 1 || n.image.Width < 1 || n.image.Channels < 1:
		return fmt.Errorf("%s: images of %v: wants at least one pixel and one channel", n.name, n.image)
	case n.classes < 2:
		return fmt.Errorf("%s: %d classes: wants at least 2", n.name, n.classes)
	}
	if n.start != "" {
		if err := n.start.check(); err != nil {
			return fmt.Errorf("%s: %w", n.name, err)
		}
	}
	if err := n.normalize.check(n.image.Channels); err != nil {
		return fmt.Errorf("%s: %w", n.name, err)
	}
	if p := n.plan(); p.err != nil {
		return fmt.Errorf("%s for images of %v: %w", n.name, n.image, p.err)
	}
	return nil
}

// plan goes through the layers.
func (n Network) plan() *plan {
	p := &plan{inputs: map[string]int{}}
	p.all(n.layers, n.image)
	return p
}

func (n Network) Params() params.Layout { return n.plan().params }

func (n Network) State() params.Layout { return n.plan().state }

// Init draws the weights of convolutions and linear maps from the network's start values, He's where it names none.
// Batch normalizations begin with weight 1, bias 0, running mean 0 and variance 1; other biases are those of the start
// values.
func (n Network) Init(seed uint64) (p, state params.Values) {
	start := n.start
	if start == "" {
		start = He
	}
	plan := n.plan()
	p, state = zeros(plan.params), zeros(plan.state)
	in, out := 0, 0 // of the weights whose bias follows
	for number, a := range p.Layout {
		dst := p.Of(a.Name)
		sums, isWeight := plan.inputs[a.Name]
		switch {
		case isWeight:
			in, out = sums, a.Size()/sums
			start.weights(dst, in, out, seed, number)
			if len(a.Shape) == 2 { // draws are [inputs, outputs], as those of perceptrons
				copy(dst, transposed(dst, in, out))
			}
		case strings.HasSuffix(a.Name, ".weight"):
			fill(dst, 1)
			in = 0
		case in > 0:
			start.bias(dst, in, out, seed, number)
		}
	}
	for _, a := range state.Layout {
		if strings.HasSuffix(a.Name, runningVar) {
			fill(state.Of(a.Name), 1)
		}
	}
	return p, state
}

// Apply takes images [B, height, width, channels], or as rows of that many numbers, and normalizes them first.
func (n Network) Apply(p, state, inputs *tensor.Node, mode params.Mode) (outputs, next *tensor.Node) {
	w, s := open(n.name, n, p, state, mode)
	x := rows(n.name, inputs, n.image.Size())
	x = n.normalize.apply(x.Reshape(x.Shape()[0], n.image.Height, n.image.Width, n.image.Channels))
	r := &pass{op: n.name, w: w, s: s, mode: mode, next: params.Vars{}}
	x = r.all(n.layers, x)
	outputs = x.Reshape(x.Shape()[0], n.classes)
	if len(r.next) == 0 {
		return outputs, state
	}
	next = n.State().Spread(func(a params.Array) *tensor.Node { return r.next[a.Name] }).StopGradient()
	return outputs, next
}

// transposed is a matrix [rows, columns] as [columns, rows].
func transposed(a []float64, rows, columns int) []float64 {
	out := make([]float64, len(a))
	for i := range rows {
		for j := range columns {
			out[j*rows+i] = a[i*columns+j]
		}
	}
	return out
}

// LayerCost is what a layer of a network has and costs.
type LayerCost struct {
	Name       string `json:"name"` // of its arrays, before the last dot; empty where it has none
	Kind       string `json:"kind"`
	Output     []int  `json:"output"` // height, width and channels of the maps that it makes, or its width
	Parameters int    `json:"parameters"`
	// MultiplyAdds are the products of a forward pass over one image.
	MultiplyAdds int `json:"multiply_adds"`
	Activations  int `json:"activations"` // elements of its output for one image
}

// Costs lists the layers in the order in which they are computed.
func (n Network) Costs() []LayerCost { return n.plan().rows }
