package hypergrad

import (
	"context"
	"fmt"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// path is T steps of an inner method on the device: one program takes a step, another takes the adjoint step back.
//
//	s_{t+1} = Φ_t(x, s_t),   s = (y, v)
//
// The adjoint recursion of F(x, y_T), with s_T given by the path, is (Griewank, Walther 2008, chapter 3)
//
//	a = (∇yF(x,y_T), 0), g = ∇xF(x,y_T);   for t = T-1 … 0: g += (∂xΦ_t)ᵀa, a ← (∂sΦ_t)ᵀa
//
// Both programs read the number t of the step on the device, so that a run of many steps needs no word from the host.
type path struct {
	*pieces
	rule   stepRule
	length int                // T
	y      *tensor.Variable   // y_t
	extra  []*tensor.Variable // v_t
	clock  *tensor.Variable   // t
	rates  *tensor.Variable   // [T, rates of a step], or one row where they do not change

	begin *tensor.Function // s_0
	step  stage

	a       []*tensor.Variable // cotangents of y and v
	adjoint []stage            // of one step, one after the other
	single  bool               // one adjoint step is all there are, and nothing comes through y_0
	*ending
}

// newPath compiles the forward step. x is read in every step; from builds y_0.
func newPath(b *problem.Bound, sc *tensor.Scope, x *tensor.Variable, from func() *tensor.Node, rule stepRule, steps,
	rows int) *path {
	q := b.Lower.Start.Size()
	p := &path{
		rule: rule, length: steps, y: sc.Variable("path y", tensor.Real, q), clock: sc.Variable("path t", tensor.Int),
	}
	p.pieces = newPieces(b, sc, x, p.y, rows)
	for range rule.extra {
		p.extra = append(p.extra, sc.Variable("path "+rule.name, tensor.Real, q))
	}
	p.writeRates()
	p.begin = sc.Compile("path begin", func() []tensor.Update {
		updates := []tensor.Update{{Var: p.y, Value: from()}, {Var: p.clock, Value: tensor.IntConst(0)}}
		for _, v := range p.extra {
			updates = append(updates, tensor.Update{Var: v, Value: tensor.Zeros(q)})
		}
		return updates
	})
	p.step = p.stage("step", func(t *terms) []tensor.Update {
		g := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node { return []*tensor.Node{p.GradY()} })[0]
		y, v := rule.apply(p.x, p.rate(), p.y.Node(), nodes(p.extra), g)
		return append(updates(p.state(), append([]*tensor.Node{y}, v...)), p.tick(1))
	})
	return p
}

func (p *path) writeRates() {
	rows := p.length
	if p.rule.steady {
		rows = 1
	}
	var table []float64
	for t := range rows {
		table = append(table, p.rule.rates(t)...)
	}
	p.rates = p.scope.Variable("path rates", tensor.Real, rows, len(table)/rows)
	p.scope.Note(p.rates.Write(table))
}

// rate builds the rates of the step at hand.
func (p *path) rate() []*tensor.Node {
	table := p.rates.Node()
	row := table
	if !p.rule.steady {
		row = tensor.Gather(table, p.clock.Node().Reshape(1))
	}
	out := make([]*tensor.Node, table.Shape()[1])
	for i := range out {
		out[i] = row.Slice(1, i, i+1).Reshape()
	}
	return out
}

// tick moves the clock.
func (p *path) tick(by int32) tensor.Update {
	return tensor.Update{Var: p.clock, Value: p.clock.Node().Add(tensor.IntConst(by))}
}

// state is s_t.
func (p *path) state() []*tensor.Variable { return append([]*tensor.Variable{p.y}, p.extra...) }

func nodes(vars []*tensor.Variable) []*tensor.Node {
	out := make([]*tensor.Node, len(vars))
	for i, v := range vars {
		out[i] = v.Node()
	}
	return out
}

func updates(vars []*tensor.Variable, values []*tensor.Node) []tensor.Update {
	out := make([]tensor.Update, len(vars))
	for i, v := range vars {
		out[i] = tensor.Update{Var: v, Value: values[i]}
	}
	return out
}

// gradientStandIn is ∇yG as an input of its own for the derivatives of a step: no derivative passes into the gradient's
// own graph. Where the derivative does not depend on it, the gradient is not computed.
func (p *path) gradientStandIn(t *terms) *tensor.Node {
	if !p.rule.curved {
		return p.y.Node().StopGradient()
	}
	return t.of(problem.Lower, func(p *problem.Point) []*tensor.Node {
		return []*tensor.Node{p.GradY()}
	})[0].StopGradient()
}

// prepareBack compiles the end of the path, where the cotangents begin, and the adjoint step, at the state from before
// the step. also, where it is not nil, builds more updates of the adjoint step's program, from ∇yG.
func (p *path) prepareBack(x *tensor.Variable, also func(t *terms) []tensor.Update) {
	q := p.y.Size()
	for range p.state() {
		p.a = append(p.a, p.scope.Variable("adjoint", tensor.Real, q))
	}
	p.ending = prepareEnding(p.pieces, x, func(fy *tensor.Node) []tensor.Update {
		begin := []tensor.Update{{Var: p.a[0], Value: fy}}
		for _, a := range p.a[1:] {
			begin = append(begin, tensor.Update{Var: a, Value: tensor.Zeros(q)})
		}
		return begin
	})
	if also == nil {
		also = func(*terms) []tensor.Update { return nil }
	}
	g := p.ending.g
	// pull builds the cotangents of y (without what comes through ∇yG), of v, and of ∇yG; and g with what comes through
	// the map that ends the step.
	pull := func(t *terms) (ay *tensor.Node, av []*tensor.Node, w, sum *tensor.Node) {
		gradient := p.gradientStandIn(t)
		y, v := p.rule.apply(p.x, p.rate(), p.y.Node(), nodes(p.extra), gradient)
		wrt := append(nodes(p.state()), gradient)
		sum = g.Node()
		if p.rule.direct {
			wrt = append(wrt, p.x)
		}
		c := tensor.VJP(append([]*tensor.Node{y}, v...), wrt, nodes(p.a))
		if p.rule.direct {
			sum, c = sum.Add(c[len(c)-1]), c[:len(c)-1]
		}
		return c[0], c[1 : len(c)-1], c[len(c)-1], sum
	}
	through := func(t *terms, ay, w, sum *tensor.Node) []tensor.Update {
		if p.rule.flat {
			return []tensor.Update{{Var: p.a[0], Value: ay}, p.tick(-1)}
		}
		if p.single { // the cotangent of y_0 is not asked for
			cw := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node { return []*tensor.Node{p.Cross(w)} })[0]
			return []tensor.Update{{Var: g, Value: sum.Add(cw)}, p.tick(-1)}
		}
		products := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node {
			return []*tensor.Node{p.HVP(w), p.Cross(w)}
		})
		return []tensor.Update{
			{Var: p.a[0], Value: ay.Add(products[0])}, {Var: g, Value: sum.Add(products[1])}, p.tick(-1),
		}
	}
	if p.whole(problem.Lower) {
		p.adjoint = []stage{p.stage("adjoint", func(t *terms) []tensor.Update {
			ay, av, w, sum := pull(t)
			return append(append(through(t, ay, w, sum), updates(p.a[1:], av)...), also(t)...)
		})}
		return
	}
	// Sums over pieces read w in a variable.
	w := p.scope.Variable("adjoint w", tensor.Real, q)
	p.adjoint = []stage{
		p.stage("adjoint pull", func(t *terms) []tensor.Update {
			ay, av, at, sum := pull(t)
			all := append([]tensor.Update{{Var: p.a[0], Value: ay}, {Var: w, Value: at}, {Var: g, Value: sum}},
				updates(p.a[1:], av)...)
			return append(all, also(t)...)
		}),
		p.stage("adjoint products", func(t *terms) []tensor.Update {
			return through(t, p.a[0].Node(), w.Node(), g.Node())
		}),
	}
}

// advance takes n steps, and looks at ctx every few of them.
func (p *path) advance(ctx context.Context, n int, counts *problem.Counts) error {
	return p.step.repeat(ctx, n, counts)
}

// walk takes the whole path from its beginning and then what its end asks for.
func (p *path) walk(ctx context.Context, counts *problem.Counts) error {
	if err := p.begin.Run(1); err != nil {
		return err
	}
	if err := p.advance(ctx, p.length, counts); err != nil {
		return err
	}
	return p.finish(ctx, counts)
}

// back takes one adjoint step at the state that stands in y and v.
func (p *path) back(ctx context.Context, counts *problem.Counts) error {
	for _, s := range p.adjoint {
		if err := s.repeat(ctx, 1, counts); err != nil {
			return err
		}
	}
	return nil
}

// setClock says that the state is that of step t.
func (p *path) setClock(t int) error { return p.clock.WriteInts([]int32{int32(t)}) }

// slots are places for n states. They take their memory at once, so that a path that does not fit is refused before it
// begins.
func (p *path) slots(n int) [][]*tensor.Variable {
	out := make([][]*tensor.Variable, n)
	for i := range out {
		for _, s := range p.state() {
			v := p.scope.Variable(fmt.Sprintf("path state %d", i), tensor.Real, s.Size())
			p.scope.Note(v.CopyFrom(s))
			out[i] = append(out[i], v)
		}
	}
	return out
}

// copyState copies a state on the device.
func copyState(to, from []*tensor.Variable) error {
	for i := range to {
		if err := to[i].CopyFrom(from[i]); err != nil {
			return err
		}
	}
	return nil
}

// stepsAtOnce is how many steps a device is given before ctx is looked at again.
const stepsAtOnce = 32

// repeat runs a stage n times and adds what the oracle counts.
func (s stage) repeat(ctx context.Context, n int, counts *problem.Counts) error {
	*counts = counts.Plus(s.counts, int64(n))
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(s.sweeps) > 0 {
			if err := s.run(ctx); err != nil {
				return err
			}
			n--
			continue
		}
		k := min(n, stepsAtOnce)
		if err := s.program.Run(k); err != nil {
			return err
		}
		n -= k
	}
	return nil
}

// stationarity builds the distance of the lower level from its solution, and names it.
func stationarity(b *problem.Bound, x, y, g *tensor.Node) (*tensor.Node, string) {
	down := y.Sub(g)
	switch set := b.Set(problem.Lower); {
	case set != nil:
		return linear.Norm(y.Sub(set.Project(down, b.All(problem.Lower)))), MeasureProjected
	case b.Lower.Prox != nil:
		return linear.Norm(y.Sub(b.Prox(x, down, tensor.Const(1)))), MeasureProximal
	}
	return linear.Norm(g), MeasureGradient
}

// checkPath refuses problems, numbers of steps and of rows that can never work, and gives the rule of the steps.
func checkPath(b *problem.Bound, m Method, x, y *tensor.Variable, u unrolling) (stepRule, error) {
	if err := refuse(b, m, x, y); err != nil {
		return stepRule{}, err
	}
	if u.steps < 1 {
		return stepRule{}, fmt.Errorf("hypergrad: %s.Steps is %d: wants the number of lower steps, at least 1", u.field,
			u.steps)
	}
	if u.rows < 0 {
		return stepRule{}, fmt.Errorf("hypergrad: %s.Rows is %d: wants at least 1, or 0 for all rows together", u.field,
			u.rows)
	}
	return innerRule(u.field, b, u.inner)
}
