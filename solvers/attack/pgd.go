package attack

import (
	"fmt"

	"bilevel/tensor"
)

// PGD is projected gradient ascent of the cross-entropy from random starts in the ball (Madry, Makelov, Schmidt,
// Tsipras, Vladu, ICLR 2018, section 2.1):
//
//	x ← P(x + s sign ∇CE(x))
//
// in l_inf, and with ∇CE/‖∇CE‖ in place of the sign in l_2. P projects onto the ball and onto [0, 1]. Each image keeps
// the first point that is misclassified, or else the point of the largest cross-entropy, of all points of all restarts.
type PGD struct {
	Steps    int     // 0: 50
	Restarts int     // of the whole ascent; 0 is refused, 1 begins once
	Step     float64 // s as a part of the radius; 0: max(1/4, 2.5/Steps)
}

// Name is pgd-50-10 for 50 steps and 10 restarts.
func (p PGD) Name() string { return fmt.Sprintf("pgd-%d-%d", p.filled().Steps, p.Restarts) }

func (p PGD) filled() PGD {
	if p.Steps == 0 {
		p.Steps = 50
	}
	if p.Step == 0 {
		p.Step = max(0.25, 2.5/float64(p.Steps))
	}
	return p
}

func (p PGD) plan(m Model, n Norm) (*plan, []string, error) {
	p = p.filled()
	switch {
	case p.Steps < 1:
		return nil, nil, fmt.Errorf("steps %d: wants at least 1", p.Steps)
	case p.Restarts < 1:
		return nil, nil, fmt.Errorf("restarts %d: wants at least 1, which begins once", p.Restarts)
	case !(p.Step > 0):
		return nil, nil, fmt.Errorf("step %g: wants a positive part of the radius", p.Step)
	}
	step := func(b *build) {
		x0, y := b.get("x0"), b.get("y")
		x := b.project(b.get("x").Add(n.steepest(b.get("g")).Mul(b.eps()).Scale(p.Step)), x0)
		z, value, g := b.ascent(crossEntropy, x, y, nil)
		found := b.get("found")
		// What is found stays; else the larger loss does.
		take := tensor.Const(1).Sub(found).Mul(wrong(z, y).Max(b.get("best").Lt(value)))
		b.set("adv", tensor.Where(column(take), x, b.get("adv")))
		b.set("best", tensor.Where(take, value, b.get("best")))
		b.set("found", found.Max(wrong(z, y)))
		b.set("x", x)
		b.set("g", g)
	}
	const look = 10 // steps between two looks of the host
	pl := &plan{programs: fmt.Sprintf("pgd %g", p.Step), runs: p.Restarts, zero: true, begin: func(b *build) {
		x0, y := b.load()
		x := b.project(x0.Add(n.spread(b, m.Inputs)), x0)
		z, value, g := b.ascent(crossEntropy, x, y, nil)
		b.set("zero", isZero(g))
		b.set("adv", x)
		b.set("best", value)
		b.set("found", wrong(z, y))
		b.set("x", x)
		b.set("g", g)
	}}
	for done := 0; done < p.Steps; done += look {
		pl.phases = append(pl.phases, phase{name: "step", step: step, times: min(look, p.Steps-done)})
	}
	return pl, nil, nil
}
