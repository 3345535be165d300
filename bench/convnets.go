package bench

import (
	"fmt"
	"math"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/tensor"
)

// The attack on networks of images: pixels lie in [0, 1].
const imageRate, imageRadius = 2.0 / 255, 8.0 / 255

// convNets lists the workloads of three networks of images.
func convNets() (all []Workload) {
	lenet := func(m models.Image) (models.Network, error) {
		net := models.LeNet{Image: m, Classes: 10, Convolutions: []int{32, 64}, Hidden: []int{1024}, Pad: true}
		return net.Network()
	}
	named := func(name string) func(models.Image) (models.Network, error) {
		return func(m models.Image) (models.Network, error) {
			return models.ByName(name, models.Spec{Image: m, Classes: 10})
		}
	}
	loops := map[string]func(*network) (*Prepared, error){
		"fwd": (*network).forward, "grad": (*network).grad, "dx": (*network).inputGradient, "hvp": (*network).hvp,
		"pgd10": (*network).imagePGD, "fastbat": (*network).fastBAT,
	}
	digits := models.Image{Height: 28, Width: 28, Channels: 1}
	colours := models.Image{Height: 32, Width: 32, Channels: 3}
	for _, net := range []struct {
		name  string
		make  func(models.Image) (models.Network, error)
		image models.Image
		batch int
		loops []string
	}{
		{"lenet", lenet, digits, 64, []string{"grad", "hvp"}},
		{"resnet20", named("resnet20:a"), colours, 128, []string{"fwd", "grad", "dx", "hvp", "pgd10", "fastbat"}},
		{"preact18", named("preactresnet18:input"), colours, 64, []string{"fwd", "grad", "dx", "pgd10", "fastbat"}},
		{"preact18", named("preactresnet18:input"), colours, 128, []string{"grad"}},
	} {
		for _, l := range net.loops {
			key := fmt.Sprintf("%s_b%d_%s", net.name, net.batch, l)
			all = append(all, onConvNet(key, net.make, net.image, net.batch, loops[l]))
		}
	}
	return all
}

// onConvNet is the workload of a loop on the network that make gives for images of a size.
func onConvNet(
	key string, make func(models.Image) (models.Network, error), image models.Image, batch int,
	prepare func(*network) (*Prepared, error),
) Workload {
	return Workload{key, func(ex *tensor.Executor) (*Prepared, error) {
		model, err := make(image)
		if err != nil {
			return nil, err
		}
		n, err := newConvNet(ex, model, image, batch)
		if err != nil {
			return nil, err
		}
		return prepare(n)
	}}
}

// newConvNet fills a network of images as the definition says: parameter i, in order of use, is array 100 + i.
func newConvNet(ex *tensor.Executor, model models.Model, image models.Image, batch int) (n *network, err error) {
	n = &network{ex: ex, model: model, B: batch, rate: imageRate, radius: imageRadius}
	layout, state := model.Params(), model.State()
	_, values := model.Init(0)
	normalized := 0 // batch normalizations so far
	for _, a := range state {
		if len(values.Of(a.Name)) == 1 {
			continue // a count of batches
		}
		scale, plus, first := 0.25, 0.0, 300
		if normalized%2 == 1 {
			scale, plus, first = 0.5, 1, 400
		}
		for j, v := range array(uint64(first+normalized/2), a.Size(), scale, plus) {
			values.Of(a.Name)[j] = float64(v)
		}
		normalized++
	}
	shape := []int{batch, image.Height, image.Width, image.Channels}
	for _, in := range []struct {
		to     **tensor.Variable
		name   string
		values []float32
		shape  []int
	}{
		{&n.w, "weights", flatParameters(layout, 100, 1), []int{layout.Size()}},
		{&n.v, "vector", flatParameters(layout, 200, 0), []int{layout.Size()}},
		{&n.x, "inputs", turned(array(1, product4(shape), 0.5, 0.5), shape, channelsFirst), shape},
	} {
		if *in.to, err = input(ex, in.name, in.values, in.shape...); err != nil {
			return nil, err
		}
	}
	if state.Size() > 0 {
		n.state = ex.Variable("state", tensor.Real, state.Size())
		if err := n.state.Write(values.Flat); err != nil {
			return nil, err
		}
	}
	n.a = ex.Variable("labels", tensor.Int, batch)
	return n, n.a.WriteInts(labels(batch))
}

// flatParameters are the arrays first, first + 1, … for the parameters of a network: weights of scale √(3/fan-in),
// vectors of 1/4. Scales of normalizations have plus added; they are the vectors called weight.
func flatParameters(layout params.Layout, first int, plus float64) []float32 {
	out := make([]float32, layout.Size())
	for i, a := range layout {
		scale, shift := 0.25, 0.0
		shape, order := []int{1, 1, 1, a.Size()}, channelsFirst
		switch {
		case len(a.Shape) == 4:
			shape, order = a.Shape, outputsFirst
			scale = math.Sqrt(3 / float64(a.Size()/a.Shape[3]))
		case len(a.Shape) == 2: // the definition has the inputs first, those of maps by channels
			shape, order = []int{a.Shape[0], 1, 1, a.Shape[1]}, [4]int{3, 1, 2, 0}
			if a.Peer != nil {
				shape, order = a.Peer.Split, [4]int{3, 1, 2, 0}
			}
			scale = math.Sqrt(3 / float64(a.Shape[1]))
		case a.Name[len(a.Name)-len(".weight"):] == ".weight":
			shift = plus
		}
		copy(out[a.Off:], turned(array(uint64(first+i), a.Size(), scale, shift), shape, order))
	}
	return out
}

// forward is the outputs in evaluation.
func (n *network) forward() (*Prepared, error) {
	shape := []int{1, 1, n.B, 10}
	r := n.ex.Variable("r", tensor.Real, n.B, 10)
	p, err := n.once(r, func() []tensor.Update {
		return []tensor.Update{{Var: r, Value: n.logits(n.w.Node(), n.x.Node(), params.Eval)}}
	})
	if err == nil {
		p.Check = func() (float64, error) { return dotCheck(r, shape, [4]int{0, 1, 2, 3}) }
	}
	return p, err
}

// inputGradient is the gradient of the mean cross-entropy with respect to the images, in evaluation.
func (n *network) inputGradient() (*Prepared, error) {
	g := n.like(n.x)
	return n.once(g, func() []tensor.Update {
		x := n.x.Node()
		return []tensor.Update{{Var: g, Value: tensor.Grad(n.loss(n.w.Node(), x, params.Eval), x)[0]}}
	})
}

// imagePGD is pgd10 in evaluation, checked by the loss that it has come to.
func (n *network) imagePGD() (*Prepared, error) {
	p, d, err := n.pgd(params.Eval)
	if err != nil {
		return nil, err
	}
	loss := n.ex.Variable("loss", tensor.Real)
	evaluate, err := n.ex.Compile("loss", func() []tensor.Update {
		return []tensor.Update{{Var: loss, Value: n.loss(n.w.Node(), n.x.Node().Add(d.Node()), params.Eval)}}
	})
	p.Check = func() (float64, error) {
		if err := evaluate.Run(1); err != nil {
			return 0, err
		}
		return loss.Number()
	}
	return p, err
}

// fastBAT is the direction of a step of Fast-BAT with 1/λ = 1, all passes with the statistics of their own batch:
//
//	z ← clip(z₀ + ∇ₓℓ(x + z₀));  u = z + ∇ₓℓ(x + z);  d = clip(u)
//	(∇ℓ(x + d) + ∇⟨∇ₓℓ(x + z), M ∘ ∇ₓℓ(x + d)⟩)/B,  M = 1 where u lies inside the limits
//
// ℓ is the sum of the cross-entropies, and ∇ without index is by the parameters; d and M ∘ ∇ₓℓ(x + d) are held
// constant.
func (n *network) fastBAT() (*Prepared, error) {
	out, z0 := n.like(n.w), n.like(n.x)
	shape := n.x.Shape()
	start := turned(array(2, product4(shape), imageRadius, 0), shape, channelsFirst)
	x := turned(array(1, product4(shape), 0.5, 0.5), shape, channelsFirst)
	for i, d := range start {
		start[i] = min(max(x[i]+d, 0), 1) - x[i]
	}
	if err := z0.Write32(start); err != nil {
		return nil, err
	}
	return n.once(out, func() []tensor.Update {
		w, x := n.w.Node(), n.x.Node()
		lo := x.Neg().Max(tensor.Const(-n.radius))
		hi := x.Neg().AddConst(1).Min(tensor.Const(n.radius))
		sum := func(at *tensor.Node) *tensor.Node {
			return tensor.CrossEntropy(n.logits(w, at, params.TrainFrozen), n.a.Node()).Sum()
		}
		slope := func(at *tensor.Node) *tensor.Node { return tensor.Grad(sum(at), at)[0] }
		z := z0.Node().Add(slope(x.Add(z0.Node()))).Clamp(lo, hi).StopGradient()
		g := slope(x.Add(z))
		u := z.Add(g).StopGradient()
		at := x.Add(u.Clamp(lo, hi))
		loss := sum(at)
		direct := tensor.Grad(loss, w, at)
		zero := tensor.Const(0)
		inside := func(v *tensor.Node) *tensor.Node { // v where u lies inside the limits, 0 elsewhere
			return tensor.Where(lo.Lt(u), tensor.Where(u.Lt(hi), v, zero), zero)
		}
		implicit := tensor.Grad(tensor.Dot(g, inside(direct[1]).StopGradient()), w)[0]
		return []tensor.Update{{Var: out, Value: direct[0].Add(implicit).Scale(1 / float64(n.B))}}
	})
}
