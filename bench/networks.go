package bench

import (
	"fmt"
	"math"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/tensor"
)

// network is a model on a device, with fixed weights and one batch of inputs.
type network struct {
	ex           *tensor.Executor
	model        models.Model
	w, v, m      *tensor.Variable // flat vectors [q]: weights, a vector to multiply the Hessian by, masks
	x            *tensor.Variable // [B, …]
	a            *tensor.Variable // labels
	state        *tensor.Variable // running statistics; nil where the model has none
	B            int
	rate, radius float64 // of the attack
}

// networks lists the workloads of two perceptrons: the gradient, a Hessian-vector product, conjugate gradients, an
// adversarial attack, and the gradient with respect to masks of the weights.
func networks() (all []Workload) {
	nets := []struct {
		name   string
		widths []int
	}{{"mlp300", []int{784, 300, 100, 10}}, {"mlp1024", []int{784, 1024, 1024, 10}}}
	loops := []struct {
		name    string
		prepare func(*network) (*Prepared, error)
	}{
		{"grad", (*network).grad}, {"hvp", (*network).hvp}, {"cg10", (*network).cg10},
		{"pgd10", (*network).pgd10}, {"mask", (*network).mask},
	}
	for _, net := range nets {
		for _, batch := range []int{64, 256, 1024} {
			for _, l := range loops {
				key := fmt.Sprintf("%s_b%d_%s", net.name, batch, l.name)
				all = append(all, onNetwork(key, net.widths, batch, l.prepare))
			}
		}
	}
	return all
}

// onNetwork is the workload of a loop on a network of these widths.
func onNetwork(key string, widths []int, batch int, prepare func(*network) (*Prepared, error)) Workload {
	return Workload{key, func(ex *tensor.Executor) (*Prepared, error) {
		n, err := newNetwork(ex, widths, batch)
		if err != nil {
			return nil, err
		}
		return prepare(n)
	}}
}

func newNetwork(ex *tensor.Executor, widths []int, batch int) (*network, error) {
	model := models.MLP{Widths: widths, InputsFirst: true} // the peer stores its weights in this way
	n := &network{ex: ex, model: model, B: batch, rate: 0.01, radius: 0.1}
	q := model.Params().Size()
	flat := func(first uint64, bias float32) []float32 {
		out := make([]float32, q)
		for i, a := range model.Params() {
			values := out[a.Off : a.Off+a.Size()]
			if models.IsWeight(a) {
				copy(values, array(first+uint64(i/2), a.Size(), math.Sqrt(3/float64(a.Shape[0])), 0))
				continue
			}
			for j := range values {
				values[j] = bias
			}
		}
		return out
	}
	var err error
	for _, in := range []struct {
		to     **tensor.Variable
		name   string
		values []float32
		shape  []int
	}{
		{&n.w, "weights", flat(10, 0), []int{q}},
		{&n.v, "vector", flat(20, 0), []int{q}},
		{&n.m, "masks", flat(20, 1), []int{q}},
		{&n.x, "inputs", array(1, batch*widths[0], 0.5, 0.5), []int{batch, widths[0]}},
	} {
		if *in.to, err = input(ex, in.name, in.values, in.shape...); err != nil {
			return nil, err
		}
	}
	n.a = ex.Variable("labels", tensor.Int, batch)
	return n, n.a.WriteInts(labels(batch))
}

// logits are the outputs for parameters p on inputs x.
func (n *network) logits(p, x *tensor.Node, mode params.Mode) *tensor.Node {
	var state *tensor.Node
	if n.state != nil {
		state = n.state.Node()
	}
	z, _ := n.model.Apply(p, state, x, mode)
	return z
}

// loss is the mean cross-entropy for parameters p on inputs x. Under params.TrainFrozen, normalizations take the
// statistics of the batch.
func (n *network) loss(p, x *tensor.Node, mode params.Mode) *tensor.Node {
	return tensor.CrossEntropy(n.logits(p, x, mode), n.a.Node()).Mean()
}

// once prepares a loop that is a single run of one program, which leaves its result in out.
func (n *network) once(out *tensor.Variable, build func() []tensor.Update) (*Prepared, error) {
	f, err := n.ex.Compile("loop", build)
	if err != nil {
		return nil, err
	}
	return &Prepared{func() error { return f.Run(1) }, 1, func() (float64, error) { return norm(out) }, nil}, nil
}

// grad is the loss and its gradient.
func (n *network) grad() (*Prepared, error) {
	g, l := n.like(n.w), n.ex.Variable("loss", tensor.Real)
	return n.once(g, func() []tensor.Update {
		loss := n.loss(n.w.Node(), n.x.Node(), params.TrainFrozen)
		return []tensor.Update{{Var: l, Value: loss}, {Var: g, Value: tensor.Grad(loss, n.w.Node())[0]}}
	})
}

// hvp is a Hessian-vector product, forward and backward passes of the network included.
func (n *network) hvp() (*Prepared, error) {
	out := n.like(n.w)
	return n.once(out, func() []tensor.Update {
		w := n.w.Node()
		hv := tensor.HVP(n.loss(w, n.x.Node(), params.TrainFrozen), []*tensor.Node{w}, []*tensor.Node{n.v.Node()})[0]
		return []tensor.Update{{Var: out, Value: hv}}
	})
}

// cg10 is ten steps of conjugate gradients on (H + I) x = v from 0, with the Hessian linearized once per call. Like the
// peer it has no stopping test: linear.CG would stop here, because H + I is not positive definite.
func (n *network) cg10() (*Prepared, error) {
	const steps = 10
	w, b := n.w.Node(), n.v.Node()
	x, r, d, rr := n.like(n.w), n.like(n.w), n.like(n.w), n.ex.Variable("r'r", tensor.Real)
	loop, err := n.ex.CompileLoop("cg",
		func() []tensor.Update {
			X, R, D, RR := x.Node(), r.Node(), d.Node(), rr.Node()
			ad := tensor.HVP(n.loss(w, n.x.Node(), params.TrainFrozen), []*tensor.Node{w}, []*tensor.Node{D})[0].Add(D)
			alpha := RR.Div(tensor.Dot(D, ad))
			next := R.Sub(alpha.Mul(ad))
			square := tensor.Dot(next, next)
			return []tensor.Update{
				{Var: x, Value: X.Add(alpha.Mul(D))}, {Var: r, Value: next},
				{Var: d, Value: next.Add(square.Div(RR).Mul(D))}, {Var: rr, Value: square},
			}
		},
		func() []tensor.Update {
			return []tensor.Update{
				{Var: x, Value: tensor.Zeros(x.Size())}, {Var: r, Value: b},
				{Var: d, Value: b}, {Var: rr, Value: tensor.Dot(b, b)},
			}
		})
	if err != nil {
		return nil, err
	}
	call := func() error {
		if err := loop.Setup(); err != nil {
			return err
		}
		if err := loop.Body(1).Run(1); err != nil { // the start: x = 0, r = d = v
			return err
		}
		return loop.Run(steps)
	}
	return &Prepared{call, 1, func() (float64, error) { return norm(x) }, nil}, nil
}

// pgd10 is ten steps of the attack of pgd.
func (n *network) pgd10() (*Prepared, error) {
	p, d, err := n.pgd(params.TrainFrozen)
	if err != nil {
		return nil, err
	}
	p.Check = func() (float64, error) { return norm(d) }
	return p, nil
}

// pgd is ten steps of projected gradient descent in the maximum norm, from 0:
// d = clip(clip(d + rate sign(g), -radius, radius) + x, 0, 1) - x.
func (n *network) pgd(mode params.Mode) (*Prepared, *tensor.Variable, error) {
	const steps = 10
	d := n.like(n.x)
	zero, err := n.ex.Compile("start", func() []tensor.Update {
		return []tensor.Update{{Var: d, Value: tensor.Zeros(d.Shape()...)}}
	})
	if err != nil {
		return nil, nil, err
	}
	loop, err := n.ex.Compile("pgd", func() []tensor.Update {
		x, old := n.x.Node(), d.Node()
		g := tensor.Grad(n.loss(n.w.Node(), x.Add(old), mode), old)[0]
		ball := old.Add(g.Sign().Scale(n.rate)).Clamp(tensor.Const(-n.radius), tensor.Const(n.radius))
		return []tensor.Update{{Var: d, Value: ball.Add(x).Clamp(tensor.Const(0), tensor.Const(1)).Sub(x)}}
	})
	if err != nil {
		return nil, nil, err
	}
	call := func() error {
		if err := zero.Run(1); err != nil {
			return err
		}
		return loop.Run(steps)
	}
	return &Prepared{Call: call, Per: 1}, d, nil
}

// mask is the loss of the network with parameters m ∘ w, and its gradient with respect to the masks m.
func (n *network) mask() (*Prepared, error) {
	g, l := n.like(n.m), n.ex.Variable("loss", tensor.Real)
	return n.once(g, func() []tensor.Update {
		masked := n.model.Params().Spread(func(a params.Array) *tensor.Node {
			return a.Of(n.m.Node()).Mul(a.Of(n.w.Node()))
		})
		loss := n.loss(masked, n.x.Node(), params.TrainFrozen)
		return []tensor.Update{{Var: l, Value: loss}, {Var: g, Value: tensor.Grad(loss, n.m.Node())[0]}}
	})
}

// like is a new variable of the same shape.
func (n *network) like(v *tensor.Variable) *tensor.Variable {
	return n.ex.Variable("result", tensor.Real, v.Shape()...)
}
