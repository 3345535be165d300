package models

import (
	"bilevel/models/params"
	"bilevel/tensor"
)

// pass is one pass through a network while its graph is built.
type pass struct {
	op   string      // the network's name for errors
	w, s params.Vars // parameters and running statistics
	mode params.Mode
	next params.Vars // the updated running statistics, by name
}

// all applies layers one after the other.
func (r *pass) all(layers []layer, x *tensor.Node) *tensor.Node {
	for _, l := range layers {
		x = l.apply(r, x)
	}
	return x
}

func (c conv) apply(r *pass, x *tensor.Node) *tensor.Node {
	y := tensor.Conv2D(x, r.w[c.name+".weight"], tensor.Stride(c.stride, c.stride),
		tensor.Padding(c.padding, c.padding, c.padding, c.padding), tensor.Groups(c.groupCount()))
	return plusBias(y, r.w[c.name+".bias"])
}

func (n norm) apply(r *pass, x *tensor.Node) *tensor.Node {
	return batchNorm(r.op, n.name, r.w, r.s, x, r.mode, r.next)
}

func (relu) apply(_ *pass, x *tensor.Node) *tensor.Node { return x.Relu() }

func (m maxPool) apply(_ *pass, x *tensor.Node) *tensor.Node {
	return tensor.MaxPool2D(x, m.size, m.size)
}

func (mean) apply(_ *pass, x *tensor.Node) *tensor.Node { return tensor.GlobalAvgPool(x) }

func (l linear) apply(r *pass, x *tensor.Node) *tensor.Node {
	n := x.Shape()[0]
	return x.Reshape(n, x.Size()/n).MatMul(r.w[l.name+".weight"].T()).Add(r.w[l.name+".bias"])
}

// An average over one pixel takes every stride-th of them.
func (n narrow) apply(_ *pass, x *tensor.Node) *tensor.Node {
	return tensor.AvgPool2D(x, 1, 1, tensor.Stride(n.stride, n.stride)).Pad(3, n.before, n.after)
}

func (r residual) apply(p *pass, x *tensor.Node) *tensor.Node {
	from := p.all(r.body[:r.shared], x)
	y := p.all(r.body[r.shared:], from)
	if len(r.shortcut) == 0 {
		from = x
	}
	return y.Add(p.all(r.shortcut, from))
}
