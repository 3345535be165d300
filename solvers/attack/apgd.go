package attack

import (
	"fmt"
	"math"

	"bilevel/tensor"
)

// APGD is Auto-PGD (Croce, Hein, "Reliable evaluation of adversarial robustness with an ensemble of diverse
// parameter-free attacks", ICML 2020, algorithm 1): projected gradient ascent with momentum whose step size, 2ε at
// first, is halved for each image by itself,
//
//	z       = P(x_k + s_k d(∇f(x_k)))
//	x_{k+1} = P(x_k + α(z - x_k) + (1-α)(x_k - x_{k-1})),   α = 3/4, and 1 in the first step
//
// At checkpoints w_0 = 0, w_1, … (⌈p_j·Steps⌉ with p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)) an
// image halves its step and goes back to its best point where, since the last checkpoint,
//
//	the loss rose in fewer than ρ(w_j - w_{j-1}) steps, ρ = 3/4, or
//	the step was not halved at the last checkpoint, and the best loss has not changed.
//
// The losses: "ce" the cross-entropy, "dlr" the difference of logits ratio (eq. 6), "dlr-targeted" its targeted form
// (eq. 7), once for each of the Targets classes with the largest logits of the image after its own.
type APGD struct {
	Loss     string // empty: ce
	Steps    int    // 0: 100
	Restarts int    // 0 is refused
	Targets  int    // of dlr-targeted; 0: 9
}

// apgdLosses has a row for each loss.
var apgdLosses = []struct {
	loss     string
	name     string // of the attack
	of       loss
	classes  int // that it needs
	targeted bool
}{
	{"ce", "apgd-ce", crossEntropy, 2, false},
	{"dlr", "apgd-dlr", dlr, 4, false},
	{"dlr-targeted", "apgd-t", targetedDLR, 4, true},
}

const defaultTargets = 9

func (p APGD) filled() APGD {
	if p.Loss == "" {
		p.Loss = apgdLosses[0].loss
	}
	if p.Steps == 0 {
		p.Steps = 100
	}
	if p.Targets == 0 {
		p.Targets = defaultTargets
	}
	return p
}

// Name is apgd-ce, apgd-dlr or apgd-t.
func (p APGD) Name() string {
	for _, row := range apgdLosses {
		if row.loss == p.filled().Loss {
			return row.name
		}
	}
	return "apgd"
}

// targets is how many classes a targeted attack goes through: all but the image's own, if there are no more.
func targets(wanted, classes int) (n int, warnings []string) {
	if wanted > classes-1 {
		warnings = append(warnings, fmt.Sprintf("%d target classes are wanted, and the model has %d classes: each "+
			"image is pushed to the %d others", wanted, classes, classes-1))
	}
	return min(wanted, classes-1), warnings
}

func (p APGD) plan(m Model, n Norm) (*plan, []string, error) {
	p = p.filled()
	for _, row := range apgdLosses {
		if row.loss != p.Loss {
			continue
		}
		switch {
		case p.Steps < 1:
			return nil, nil, fmt.Errorf("steps %d: wants at least 1", p.Steps)
		case p.Restarts < 1:
			return nil, nil, fmt.Errorf("restarts %d: wants at least 1, which begins once", p.Restarts)
		case p.Targets < 1:
			return nil, nil, fmt.Errorf("targets %d: wants at least 1 target class", p.Targets)
		case m.Classes < row.classes:
			return nil, nil, fmt.Errorf("the loss %s needs logits of at least %d classes, and the model has %d: leave "+
				"this attack out, apgd-ce, fab-t and square do with fewer", p.Loss, row.classes, m.Classes)
		}
		pl := &plan{programs: row.name, runs: p.Restarts, zero: true, late: true, phases: p.phases(n, row.of)}
		var warnings []string
		classes := 0
		if row.targeted {
			classes, warnings = targets(p.Targets, m.Classes)
			pl.runs *= classes
		}
		pl.programs += fmt.Sprint(" ", classes)
		pl.begin = func(b *build) { apgdBegin(b, n, row.of, classes) }
		return pl, warnings, nil
	}
	return nil, nil, fmt.Errorf("unknown loss %q: there are ce, dlr and dlr-targeted", p.Loss)
}

// checkpoints are the steps after which step sizes are looked at, all below the number of steps.
func checkpoints(steps int) (w []int) {
	for before, p := 0.0, 0.22; ; before, p = p, p+max(p-before-0.03, 0.06) {
		at := int(math.Ceil(p*float64(steps) - 1e-9)) // 1e-9: p is not exact
		if at >= steps {
			return w
		}
		if len(w) == 0 || at > w[len(w)-1] {
			w = append(w, at)
		}
	}
}

// phases are the steps up to each checkpoint, and what happens there.
func (p APGD) phases(n Norm, l loss) (all []phase) {
	const rho = 0.75
	step := func(b *build) { apgdStep(b, n, l) }
	done := 0
	for _, w := range checkpoints(p.Steps) {
		all = append(all,
			phase{name: "step", step: step, times: w - done},
			phase{name: "check", step: apgdCheck, times: 1, number: rho * float64(w-done), quiet: true})
		done = w
	}
	return append(all, phase{name: "step", step: step, times: p.Steps - done})
}

// chosen is the target of the run: the class of rank run mod targets among those with the largest logits of the image,
// its own left out.
func (b *build) chosen(x0, y *tensor.Node, targets int) *tensor.Node {
	ranks := rivals(b.a.logits(x0), y, targets)
	for i := range ranks {
		ranks[i] = ranks[i].Reshape(1, b.rows)
	}
	run := b.run() // in restarts of all targets
	rank := run.Sub(run.ToReal().AddConst(0.5).Scale(1 / float64(targets)).Floor().ToInt().Mul(
		tensor.IntConst(int32(targets))))
	return tensor.Gather(tensor.Concat(0, ranks...), rank.Reshape(1)).Reshape(b.rows)
}

func apgdBegin(b *build, n Norm, l loss, targets int) {
	x0, y := b.load()
	target := y
	if targets > 0 {
		target = b.chosen(x0, y, targets)
	}
	b.set("target", target)
	x := b.project(x0.Add(n.spread(b, x0.Shape()[1])), x0)
	z, value, g := b.ascent(l, x, y, target)
	b.set("zero", isZero(g))
	b.set("found", wrong(z, y))
	for _, name := range []string{"adv", "x", "before", "bestx"} {
		b.set(name, x)
	}
	for _, name := range []string{"g", "bestg"} {
		b.set(name, g)
	}
	for _, name := range []string{"best", "last", "checked"} { // the best loss, that of the last step, and at the check
		b.set(name, value)
	}
	b.set("rises", tensor.Zeros(b.rows))
	b.set("step", b.eps().Scale(2).Expand(b.rows))
	b.set("halved", tensor.Full(1, b.rows)) // so that the first checkpoint does not halve for want of progress
}

func apgdStep(b *build, n Norm, l loss) {
	x0, y, old := b.get("x0"), b.get("y"), b.get("x")
	z := b.project(old.Add(n.steepest(b.get("g")).Mul(column(b.get("step")))), x0)
	first := b.tick().Eq(tensor.IntConst(0))
	alpha := tensor.Where(first, tensor.Const(1), tensor.Const(0.75))
	moved := old.Sub(b.get("before")).Mul(tensor.Const(1).Sub(alpha))
	x := b.project(old.Add(z.Sub(old).Mul(alpha)).Add(moved), x0)
	logits, value, g := b.ascent(l, x, y, b.get("target"))

	found := b.get("found")
	now := wrong(logits, y)
	better := b.get("best").Lt(value)
	// What is found stays; else the best point is what the attack hands out.
	take := tensor.Const(1).Sub(found).Mul(now.Max(better))
	b.set("adv", tensor.Where(column(take), x, b.get("adv")))
	b.set("found", found.Max(now))
	b.set("bestx", tensor.Where(column(better), x, b.get("bestx")))
	b.set("bestg", tensor.Where(column(better), g, b.get("bestg")))
	b.set("best", tensor.Where(better, value, b.get("best")))
	b.set("rises", b.get("rises").Add(b.get("last").Lt(value)))
	b.set("last", value)
	b.set("before", old)
	b.set("x", x)
	b.set("g", g)
}

func apgdCheck(b *build) {
	best := b.get("best")
	few := b.get("rises").Lt(b.number())
	stuck := tensor.Const(1).Sub(b.get("halved")).Mul(best.Le(b.get("checked")))
	halve := few.Max(stuck)
	b.set("step", b.get("step").Mul(tensor.Const(1).Sub(halve.Scale(0.5))))
	b.set("x", tensor.Where(column(halve), b.get("bestx"), b.get("x")))
	b.set("g", tensor.Where(column(halve), b.get("bestg"), b.get("g")))
	b.set("halved", halve)
	b.set("checked", best)
	b.set("rises", tensor.Zeros(b.rows))
}
