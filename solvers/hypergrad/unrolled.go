package hypergrad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Unrolled is the derivative of F(x, y_T(x)) through T steps of an inner method, in reverse mode (iterative
// differentiation; Domke, AISTATS 2012; Franceschi, Donini, Frasconi, Pontil, ICML 2017, algorithm 1):
//
//	y_{t+1} = Φ_t(x, y_t);   a = ∇yF(x,y_T), g = ∇xF(x,y_T);   for t = T-1 … 0: g += (∂xΦ_t)ᵀa, a ← (∂yΦ_t)ᵀa
//
// from the y that the estimator is given, which counts as constant, or from Start. The states are kept at every ⌈√T⌉-th
// step, and a piece of so many steps is computed again when the recursion gets there: at most 2⌈√T⌉ states are kept,
// and the steps cost at most 2T gradients. The recursion costs T products with H and with C. Against ∇h, g has a bias
// that for gradient steps on a level of modulus μ shrinks like (1-ημ)^T.
type Unrolled struct {
	Inner Inner
	Steps int // T
	// Start is y_0 as a function of x where it depends on x, as the y_0 = x of MAML; nil: the given y.
	Start func(x *tensor.Node) *tensor.Node
	Rows  int // of a piece, see Implicit; 0: all together
}

func (Unrolled) Name() string { return "unrolled" }

// pathNeeds are the needs of methods that differentiate steps of the lower level.
func pathNeeds() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.UpperConstraints | problem.LowerSet | problem.LowerProx | problem.ModelState,
		Why: "its steps follow the gradient of one lower objective whose variable lasts, with a set or a proximal " +
			"map at most",
	}
}

func (Unrolled) Needs() Needs { return pathNeeds() }

// Prepare compiles one step, one adjoint step and takes the memory for the states.
func (m Unrolled) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	return prepareUnrolled(b, x, y, m, unrolling{
		field: "Unrolled", inner: m.Inner, steps: m.Steps, last: m.Steps, start: m.Start, rows: m.Rows,
		bias: func(p *problem.Problem) string {
			return fmt.Sprintf("the derivative of F(x, y_T(x)) through %d %s steps, exact to rounding; its bias "+
				"against ∇h vanishes as y_T comes near y*%s", m.Steps, m.Inner.Name(), contraction(p, m.Inner, m.Steps))
		},
	})
}

// contraction is how far gradient steps reduce the bias, in words, where the modulus is declared.
func contraction(p *problem.Problem, inner Inner, steps int) string {
	g, ok := inner.(GradientSteps)
	if !ok || p.Mu <= 0 || g.Step*p.Mu >= 1 {
		return ""
	}
	return fmt.Sprintf(", like (1-ημ)^%d = %.2g where the step η = %g is at most 1/L", steps,
		math.Pow(1-g.Step*p.Mu, float64(steps)), g.Step)
}

// unrolling is what Unrolled, Truncated and OneStep differ in.
type unrolling struct {
	field string // the name in messages
	inner Inner
	steps int // T
	last  int // K, the steps that are differentiated
	start func(x *tensor.Node) *tensor.Node
	rows  int
	bias  func(*problem.Problem) string
}

// unrolled is an unrolling prepared for a problem.
type unrolled struct {
	unrolling
	*path
	name          string
	segment       int                  // steps between two checkpoints
	outer, inside [][]*tensor.Variable // states at checkpoints, and those of one segment
	atStart       *tensor.Function     // what comes through Start; nil without it
}

func prepareUnrolled(b *problem.Bound, x, y *tensor.Variable, m Method, u unrolling) (Estimator, error) {
	rule, err := checkPath(b, m, x, y, u)
	if err != nil {
		return nil, err
	}
	sc := b.Executor.Scope()
	e := &unrolled{unrolling: u, name: m.Name(), path: newPath(b, sc, x, startAt(x, y, u.start), rule, u.steps, u.rows)}
	e.refuseZero(u.field, u.start != nil)
	e.single = u.last == 1 && u.start == nil
	e.prepareBack(x, nil)
	e.segment = int(math.Ceil(math.Sqrt(float64(u.last))))
	e.outer = e.slots((u.last - 1) / e.segment)
	e.inside = e.slots(e.segment)
	if u.start != nil {
		e.atStart = e.prepareStart(x, u.start)
	}
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e, nil
}

// startAt builds y_0: as a function of x, or the given y.
func startAt(x, y *tensor.Variable, start func(*tensor.Node) *tensor.Node) func() *tensor.Node {
	return func() *tensor.Node {
		if start != nil {
			return start(x.Node())
		}
		return y.Node()
	}
}

// prepareStart compiles what comes through Start: g += (∂y_0/∂x)ᵀa.
func (p *path) prepareStart(x *tensor.Variable, start func(*tensor.Node) *tensor.Node) *tensor.Function {
	return p.scope.Compile("path start", func() []tensor.Update {
		through := tensor.VJP([]*tensor.Node{start(x.Node())}, []*tensor.Node{x.Node()}, nodes(p.a[:1]))
		return []tensor.Update{{Var: p.g, Value: p.g.Node().Add(through[0])}}
	})
}

// refuseZero refuses steps through which no derivative passes where F sees x in no other way.
func (p *path) refuseZero(field string, started bool) {
	if !p.rule.flat || started || p.scope.Err() != nil {
		return
	}
	p.scope.Note(tensor.Catch(func() {
		if !tensor.Depends(p.point(problem.Upper, p.b.All(problem.Upper)).Value(), p.x) {
			p.scope.Note(fmt.Errorf("hypergrad: %s: the estimate is 0 for every x of the problem %s: no derivative "+
				"passes through %s steps, F does not depend on x directly, and y_0 does not depend on x; give Start, "+
				"or take other steps", field, p.b.Name, p.rule.name))
		}
	}))
}

func (e *unrolled) Compute(ctx context.Context) (*Hypergradient, error) {
	var counts problem.Counts
	if err := cmp.Or(e.begin.Run(1), e.advance(ctx, e.steps-e.last, &counts)); err != nil {
		return nil, err
	}
	for _, slot := range e.outer {
		if err := cmp.Or(copyState(slot, e.state()), e.advance(ctx, e.segment, &counts)); err != nil {
			return nil, err
		}
	}
	// The last segment need not be computed twice: its states are kept at once.
	from := len(e.outer) * e.segment
	length := e.last - from
	err := cmp.Or(e.record(ctx, length, &counts), e.advance(ctx, 1, &counts), e.finish(ctx, &counts),
		e.reverse(ctx, from, length, &counts))
	for i := len(e.outer) - 1; i >= 0 && err == nil; i-- {
		from = i * e.segment
		err = cmp.Or(copyState(e.state(), e.outer[i]), e.setClock(e.steps-e.last+from),
			e.record(ctx, e.segment, &counts), e.reverse(ctx, from, e.segment, &counts))
	}
	if err == nil && e.atStart != nil {
		err = e.atStart.Run(1)
	}
	if err != nil {
		return nil, err
	}
	return e.result(e.name, e.bias(e.b.Problem), len(e.outer)+len(e.inside), counts)
}

// record keeps n states, that at hand and those after the n-1 steps from there.
func (e *unrolled) record(ctx context.Context, n int, counts *problem.Counts) error {
	for i := range n {
		if i > 0 {
			if err := e.advance(ctx, 1, counts); err != nil {
				return err
			}
		}
		if err := copyState(e.inside[i], e.state()); err != nil {
			return err
		}
	}
	return nil
}

// reverse takes the adjoint steps of n recorded states, of which the first is number from of those that are
// differentiated.
func (e *unrolled) reverse(ctx context.Context, from, n int, counts *problem.Counts) error {
	if err := e.setClock(e.steps - e.last + from + n - 1); err != nil {
		return err
	}
	for i := n - 1; i >= 0; i-- {
		if err := cmp.Or(copyState(e.state(), e.inside[i]), e.back(ctx, counts)); err != nil {
			return err
		}
	}
	return nil
}

// Close frees the programs and vectors.
func (e *unrolled) Close() error { return e.scope.Close() }
