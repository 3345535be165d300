package models

import (
	"fmt"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Image is the size of images, or of the maps that a layer makes of them.
type Image struct{ Height, Width, Channels int }

// Size is the number of elements.
func (i Image) Size() int { return i.Height * i.Width * i.Channels }

func (i Image) String() string { return fmt.Sprintf("%d×%d×%d", i.Height, i.Width, i.Channels) }

// layer is one word of the vocabulary that convolutional networks are written in. A network is a list of layers, and
// everything that is known of it comes from the list: its arrays and their names, its shapes and costs, its graph, and
// which channels depend on which.
type layer interface {
	// plan adds to p what the layer has and costs for maps of one size, and gives the size of the maps that it makes.
	plan(p *plan, in Image) Image
	// apply builds the layer's graph for maps [B, height, width, channels].
	apply(r *pass, x *tensor.Node) *tensor.Node
	// wire gives the channels of the maps that the layer makes of maps with channels in, and the layer as it is for the
	// channels that are left.
	wire(w *wiring, in []int) (out []int, smaller layer)
}

// plan is what is known of a network without building its graph.
type plan struct {
	params, state params.Layout
	rows          []LayerCost
	inputs        map[string]int // that each output of a linear map or convolution sums over, by the weights' name
	err           error          // the first layer that cannot be
}

// add puts an array behind the others. The layouts are the plan's own: they grow in place, where Layout.Append copies,
// which would make the cost of a deep network grow with the square of its depth.
func add(l *params.Layout, a params.Array) {
	a.Off = l.Size()
	*l = append(*l, a)
}

// fail notes the first error.
func (p *plan) fail(layer, format string, args ...any) {
	if p.err == nil {
		p.err = fmt.Errorf("layer %s: %s", layer, fmt.Sprintf(format, args...))
	}
}

// row notes what a layer costs.
func (p *plan) row(name, kind string, out Image, parameters, multiplyAdds int) {
	p.rows = append(p.rows, LayerCost{Name: name, Kind: kind, Output: []int{out.Height, out.Width, out.Channels},
		Parameters: parameters, MultiplyAdds: multiplyAdds, Activations: out.Size()})
}

// all plans layers one after the other.
func (p *plan) all(layers []layer, in Image) Image {
	for _, l := range layers {
		if p.err != nil {
			return in
		}
		in = l.plan(p, in)
	}
	return in
}

// conv is a convolution without dilation, with weights [rows, columns, inputs/groups, outputs]. PyTorch stores them as
// [outputs, inputs/groups, rows, columns].
type conv struct {
	name            string
	outputs         int
	kernel          int // rows and columns
	stride, padding int
	groups          int // 0: 1
	bias            bool
}

func (c conv) groupCount() int { return max(1, c.groups) }

func (c conv) plan(p *plan, in Image) Image {
	out := Image{c.along(p, in.Height), c.along(p, in.Width), c.outputs}
	g := c.groupCount()
	if in.Channels%g != 0 || c.outputs%g != 0 {
		p.fail(c.name, "%d groups do not divide its %d input and %d output channels", g, in.Channels, c.outputs)
	}
	if p.err != nil {
		return out
	}
	each := in.Channels / g
	w := params.Array{Name: c.name + ".weight", Shape: []int{c.kernel, c.kernel, each, c.outputs},
		Peer: &params.Peer{Order: []int{3, 2, 0, 1}}}
	add(&p.params, w)
	p.inputs[w.Name] = c.kernel * c.kernel * each
	size := w.Size()
	if c.bias {
		add(&p.params, params.Array{Name: c.name + ".bias", Shape: []int{c.outputs}})
		size += c.outputs
	}
	p.row(c.name, fmt.Sprintf("conv %d×%d", c.kernel, c.kernel), out, size, out.Height*out.Width*w.Size())
	return out
}

// along is the number of places of the kernel along an axis.
func (c conv) along(p *plan, n int) int {
	padded := n + 2*c.padding
	switch {
	case c.kernel < 1 || c.stride < 1 || c.outputs < 1 || c.padding < 0:
		p.fail(c.name, "a convolution to %d channels with a kernel of %d, stride %d and padding %d", c.outputs,
			c.kernel, c.stride, c.padding)
		return 0
	case c.kernel > padded:
		p.fail(c.name, "its kernel of %d×%d is larger than its input, which is %d wide with the padding: take larger "+
			"images or a model with fewer reductions", c.kernel, c.kernel, padded)
		return 0
	}
	return (padded-c.kernel)/c.stride + 1
}

// norm is batch normalization of channels.
type norm struct{ name string }

func (n norm) plan(p *plan, in Image) Image {
	add(&p.params, params.Array{Name: n.name + ".weight", Shape: []int{in.Channels}})
	add(&p.params, params.Array{Name: n.name + ".bias", Shape: []int{in.Channels}})
	for _, a := range batchNormState(nil, n.name, in.Channels) {
		add(&p.state, a)
	}
	p.row(n.name, "batch norm", in, 2*in.Channels, 0)
	return in
}

// relu is max(x, 0).
type relu struct{}

func (relu) plan(p *plan, in Image) Image {
	p.row("", "relu", in, 0, 0)
	return in
}

// maxPool takes the largest of windows that lie side by side.
type maxPool struct{ size int }

func (m maxPool) plan(p *plan, in Image) Image {
	out := Image{in.Height / m.size, in.Width / m.size, in.Channels}
	if out.Size() == 0 {
		p.fail("max pool", "windows of %d×%d are larger than its maps of %v: take larger images", m.size, m.size, in)
	}
	p.row("", "max pool", out, 0, 0)
	return out
}

// mean is the mean of each channel over the whole map.
type mean struct{}

func (mean) plan(p *plan, in Image) Image {
	out := Image{1, 1, in.Channels}
	p.row("", "mean", out, 0, 0)
	return out
}

// linear is a linear map of all elements of a map with weights [outputs, inputs] and a bias. Our maps have the channels
// of a pixel side by side; PyTorch's have each channel by itself, so that the inputs are in another order there.
type linear struct {
	name    string
	outputs int
}

func (l linear) plan(p *plan, in Image) Image {
	w := params.Array{Name: l.name + ".weight", Shape: []int{l.outputs, in.Size()}}
	if in.Height*in.Width > 1 && in.Channels > 1 {
		w.Peer = &params.Peer{Split: []int{l.outputs, in.Height, in.Width, in.Channels}, Order: []int{0, 3, 1, 2},
			Shape: w.Shape}
	}
	add(&p.params, w)
	add(&p.params, params.Array{Name: l.name + ".bias", Shape: []int{l.outputs}})
	p.inputs[w.Name] = in.Size()
	out := Image{1, 1, l.outputs}
	p.row(l.name, "linear", out, w.Size()+l.outputs, w.Size())
	return out
}

// narrow is the shortcut without parameters of He, Zhang, Ren, Sun (CVPR 2016), option A: every stride-th pixel in each
// direction, with channels of zeros before and behind.
type narrow struct{ stride, before, after int }

func (n narrow) plan(p *plan, in Image) Image {
	out := Image{(in.Height-1)/n.stride + 1, (in.Width-1)/n.stride + 1, n.before + in.Channels + n.after}
	p.row("", "shortcut", out, 0, 0)
	return out
}

// residual adds a shortcut to what its body makes of x. The shortcut begins behind the first layers of the body, as
// many as shared says: with 0 it reads x itself. An empty shortcut is the identity.
type residual struct {
	body, shortcut []layer
	shared         int
}

func (r residual) plan(p *plan, in Image) Image {
	from := p.all(r.body[:r.shared], in)
	out := p.all(r.body[r.shared:], from)
	if len(r.shortcut) == 0 {
		from = in
	}
	if beside := p.all(r.shortcut, from); p.err == nil && beside != out {
		p.fail("residual", "maps of %v cannot be added to a shortcut of %v", out, beside)
	}
	p.row("", "add", out, 0, 0)
	return out
}
