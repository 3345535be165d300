package hypergrad

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/dustin/go-humanize"
)

// Forward is the derivative of F(x, y_T(x)) of Unrolled in forward mode (forward hypergradient, real-time
// hyper-parameter optimization; Franceschi, Donini, Frasconi, Pontil, ICML 2017, algorithm 2):
//
//	Z_{t+1} = ∂yΦ_t Z_t + ∂xΦ_t,   Z_0 = dy_0/dx;   g = ∇xF(x,y_T) + Z_Tᵀ ∇yF(x,y_T)
//
// One column of Z [q, p] after the other goes through a step. No states are kept, but p columns are, and each step
// costs p products with H and with Cᵀ: it is meant for few upper variables. The result is that of Unrolled to rounding.
type Forward struct {
	Inner Inner
	Steps int // T
	// Start is y_0 as a function of x where it depends on x; nil: the given y, which counts as constant.
	Start func(x *tensor.Node) *tensor.Node
	// Memory is the most bytes that the columns may take; 0: 256 MiB.
	Memory int64
	Rows   int // of a piece, see Implicit; 0: all together
}

func (Forward) Name() string { return "forward" }
func (Forward) Needs() Needs { return pathNeeds() }

// defaultColumns is the memory for the columns of Z where nothing is said.
const defaultColumns = 256 << 20

// forward is Forward prepared for a problem.
type forward struct {
	Forward
	*path
	columns [][]*tensor.Variable // Z, one column of the whole state after the other
	column  *tensor.Variable     // the number of the column at hand
	work    []*tensor.Variable   // that column
	fy      *tensor.Variable
	first   *tensor.Function // Z_0
	tangent stage
	collect *tensor.Function
}

// Prepare compiles the step and that of a column, and takes the memory for the columns.
func (m Forward) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	rule, err := checkPath(b, m, x, y, unrolling{field: "Forward", inner: m.Inner, steps: m.Steps, rows: m.Rows})
	if err != nil {
		return nil, err
	}
	np, q := x.Size(), b.Lower.Start.Size()
	m.Memory = cmp.Or(m.Memory, defaultColumns)
	need := int64(np) * int64(q) * int64(1+rule.extra) * b.Executor.Info().ElementBytes(tensor.Real)
	if need > m.Memory {
		return nil, fmt.Errorf("hypergrad: Forward keeps a column of %d numbers for each of the %d upper variables, "+
			"which takes %s; Forward.Memory allows %s: take Unrolled, or allow more", q*(1+rule.extra), np,
			humanize.IBytes(uint64(need)), humanize.IBytes(uint64(max(0, m.Memory))))
	}
	sc := b.Executor.Scope()
	e := &forward{Forward: m, path: newPath(b, sc, x, startAt(x, y, m.Start), rule, m.Steps, m.Rows),
		column: sc.Variable("column", tensor.Int), fy: sc.Variable("forward ∇yF", tensor.Real, q)}
	e.refuseZero("Forward", m.Start != nil)
	e.columns = e.slots(np)
	e.work = e.slots(1)[0]
	e.ending = prepareEnding(e.pieces, x, func(fy *tensor.Node) []tensor.Update {
		return []tensor.Update{{Var: e.fy, Value: fy}}
	})
	e.prepareColumns(x)
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e, nil
}

func (e *forward) prepareColumns(x *tensor.Variable) {
	np, q := x.Size(), e.y.Size()
	unit := func() *tensor.Node { // the direction in x that belongs to the column
		return tensor.Iota(0, np).Eq(e.column.Node().Reshape(1).Expand(np))
	}
	turn := func() tensor.Update { // to the next column, and from the last to the first
		next := e.column.Node().Add(tensor.IntConst(1))
		return tensor.Update{Var: e.column, Value: next.Mul(next.Lt(tensor.IntConst(int32(np))).ToInt())}
	}
	e.first = e.scope.Compile("forward begin", func() []tensor.Update {
		z := make([]*tensor.Node, len(e.work))
		for i := range z {
			z[i] = tensor.Zeros(q)
		}
		if e.Start != nil {
			y0 := e.Start(e.x)
			z[0] = tensor.JVP([]*tensor.Node{y0}, []*tensor.Node{e.x}, []*tensor.Node{unit()})[0]
		}
		return append(updates(e.work, z), turn())
	})
	e.tangent = e.stage("tangent", func(t *terms) []tensor.Update {
		stand := e.gradientStandIn(t)
		y, v := e.rule.apply(e.x, e.rate(), e.y.Node(), nodes(e.extra), stand)
		z := nodes(e.work)
		var along *tensor.Node // of ∇yG; nil is zero
		if !e.rule.flat {
			products := t.of(problem.Lower, func(p *problem.Point) []*tensor.Node {
				return []*tensor.Node{p.HVP(z[0]), p.CrossT(unit())}
			})
			along = products[0].Add(products[1])
		}
		wrt, directions := append(nodes(e.state()), stand), append(z, along)
		if e.rule.direct {
			wrt, directions = append(wrt, e.x), append(directions, unit())
		}
		next := tensor.JVP(append([]*tensor.Node{y}, v...), wrt, directions)
		return append(updates(e.work, next), turn())
	})
	e.collect = e.scope.Compile("forward collect", func() []tensor.Update {
		slope := tensor.Dot(e.work[0].Node(), e.fy.Node())
		return []tensor.Update{{Var: e.g, Value: e.g.Node().Add(unit().Mul(slope))}, turn()}
	})
}

// each does something with every column in turn, which stands in work meanwhile.
func (e *forward) each(ctx context.Context, do func() error) error {
	for _, column := range e.columns {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := copyState(e.work, column); err != nil {
			return err
		}
		if err := do(); err != nil {
			return err
		}
		if err := copyState(column, e.work); err != nil {
			return err
		}
	}
	return nil
}

func (e *forward) Compute(ctx context.Context) (*Hypergradient, error) {
	var counts problem.Counts
	if err := cmp.Or(e.begin.Run(1), e.column.WriteInts([]int32{0})); err != nil {
		return nil, err
	}
	if err := e.each(ctx, func() error { return e.first.Run(1) }); err != nil {
		return nil, err
	}
	for range e.Steps {
		if err := e.each(ctx, func() error { return e.tangent.repeat(ctx, 1, &counts) }); err != nil {
			return nil, err
		}
		if err := e.advance(ctx, 1, &counts); err != nil {
			return nil, err
		}
	}
	if err := e.finish(ctx, &counts); err != nil {
		return nil, err
	}
	if err := e.each(ctx, func() error { return e.collect.Run(1) }); err != nil {
		return nil, err
	}
	bias := fmt.Sprintf("the derivative of F(x, y_T(x)) through %d %s steps, exact to rounding; its bias against ∇h "+
		"vanishes as y_T comes near y*%s", e.Steps, e.Inner.Name(), contraction(e.p, e.Inner, e.Steps))
	return e.result("forward", bias, len(e.columns), counts)
}

// Close frees the programs and vectors.
func (e *forward) Close() error { return e.scope.Close() }
