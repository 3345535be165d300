package attack

import (
	"fmt"

	"bilevel/tensor"
)

// FAB is the targeted fast adaptive boundary attack (Croce, Hein, "Minimally distorted adversarial examples with a fast
// adaptive boundary attack", ICML 2020, algorithm 1; targeted as in the ensemble of their other paper of that year,
// section 5). It looks for the nearest adversarial example. With f = z_t - z_y, t being the target, P the projection
// onto the plane f(x_k) + ⟨∇f(x_k), u - x_k⟩ = 0 and [0, 1] together, and C onto [0, 1],
//
//	d₁ = P(x_k) - x_k,   d₂ = P(x₀) - x₀,   α = min(‖d₁‖/(‖d₁‖ + ‖d₂‖), 1/10)
//	x_{k+1} = C((1-α)(x_k + η d₁) + α(x₀ + η d₂)),   η = 1.05
//	where x_{k+1} is misclassified: x_{k+1} ← x₀ + β(x_{k+1} - x₀),   β = 0.9
//
// Restarts after the first begin at a random point half the radius away. An image is broken once a misclassified point
// lies in the ball.
type FAB struct {
	Steps    int // 0: 100
	Restarts int // 0 is refused
	Targets  int // classes with the largest logits of the image after its own; 0: 9

	minimal bool // go on to the nearest point after one in the ball has been found
}

func (FAB) Name() string { return "fab-t" }

func (p FAB) plan(m Model, n Norm) (*plan, []string, error) {
	if p.Steps == 0 {
		p.Steps = 100
	}
	if p.Targets == 0 {
		p.Targets = defaultTargets
	}
	switch {
	case p.Steps < 1:
		return nil, nil, fmt.Errorf("steps %d: wants at least 1", p.Steps)
	case p.Restarts < 1:
		return nil, nil, fmt.Errorf("restarts %d: wants at least 1, which begins once", p.Restarts)
	case p.Targets < 1:
		return nil, nil, fmt.Errorf("targets %d: wants at least 1 target class", p.Targets)
	}
	classes, warnings := targets(p.Targets, m.Classes)
	pl := &plan{programs: fmt.Sprint("fab ", classes, p.minimal), runs: p.Restarts * classes,
		begin: func(b *build) { fabBegin(b, n, classes) }}
	const look = 10 // steps between two looks of the host
	step := func(b *build) { fabStep(b, n, p.minimal) }
	for done := 0; done < p.Steps; done += look {
		pl.phases = append(pl.phases, phase{name: "step", step: step, times: min(look, p.Steps-done)})
	}
	return pl, warnings, nil
}

// far is more than any distance between two images.
const far = 1e10

func fabBegin(b *build, n Norm, classes int) {
	x0, y := b.load()
	b.set("target", b.chosen(x0, y, classes))
	start := n.spread(b, x0.Shape()[1]).Scale(0.5)
	first := b.run().ToReal().Lt(tensor.Const(float64(classes)))
	b.set("x", tensor.Where(first, x0, x0.Add(start).Max(tensor.Const(0)).Min(tensor.Const(1))))
	b.set("adv", x0)
	b.set("nearest", tensor.Full(far, b.rows))
	b.set("found", tensor.Zeros(b.rows))
}

func fabStep(b *build, n Norm, minimal bool) {
	const eta, beta, alphaMax = 1.05, 0.9, 0.1
	const least = 1e-8 // of a distance that is divided by
	x0, y, x := b.get("x0"), b.get("y"), b.get("x")
	zero, one := tensor.Const(0), tensor.Const(1)
	difference := func(z, y, t *tensor.Node) *tensor.Node { return pick(z, t).Sub(pick(z, y)) }
	_, f, w := b.ascent(difference, x, y, b.get("target"))
	w = tensor.Where(w.Eq(w), w, zero)
	fx := column(f)

	// The plane is where ⟨w, u - x⟩ = -f: from x0 that is ⟨w, u - x0⟩ = -f + ⟨w, x - x0⟩.
	back := w.Mul(x.Sub(x0)).SumKeep(1)
	d1, d2 := n.hyperplane(x, w, fx.Neg()), n.hyperplane(x0, w, back.Sub(fx))
	a1, a2 := n.size(d1).Max(tensor.Const(least)), n.size(d2).Max(tensor.Const(least))
	alpha := a1.Div(a1.Add(a2)).Min(tensor.Const(alphaMax))
	next := x.Add(d1.Scale(eta)).Mul(one.Sub(alpha)).Add(x0.Add(d2.Scale(eta)).Mul(alpha)).Max(zero).Min(one)

	now := wrong(b.a.logits(next), y)
	found, nearest := b.get("found"), b.get("nearest")
	away := n.size(next.Sub(x0)).Reshape(b.rows)
	inBall := now.Mul(away.Le(b.eps()))
	take := inBall.Mul(away.Lt(nearest))
	if !minimal { // what is found stays
		take = take.Mul(one.Sub(found))
	}
	b.set("adv", tensor.Where(column(take), next, b.get("adv")))
	b.set("nearest", tensor.Where(take, away, nearest))
	b.set("found", found.Max(inBall))
	b.set("x", tensor.Where(column(now), x0.Add(next.Sub(x0).Scale(beta)), next))
}
