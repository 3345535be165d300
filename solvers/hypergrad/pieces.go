package hypergrad

import (
	"context"

	"bilevel/models/params"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// pieces builds what is asked of both objectives at (x, y), over all rows at once or as sums over pieces of rows.
type pieces struct {
	b     *problem.Bound
	scope *tensor.Scope
	o     *problem.Oracle
	x, y  *tensor.Node
	state *tensor.Node // running statistics, nil where there are none
	rows  int          // of a piece; 0: all at once
}

func newPieces(b *problem.Bound, sc *tensor.Scope, x, y *tensor.Variable, rows int) *pieces {
	at := &pieces{b: b, scope: sc, o: b.Oracle(), x: x.Node(), y: y.Node(), rows: rows}
	if n := b.State.Size(); n > 0 {
		v := sc.Variable("hypergradient model state", tensor.Real, n)
		at.state = v.Node()
		sc.Note(v.Write(b.State.Flat))
	}
	return at
}

// point is an objective on some rows. Statistics of batches are those of the rows at hand.
func (at *pieces) point(side problem.Side, rows problem.Batch) *problem.Point {
	return at.pointAt(side, at.y, rows)
}

// pointAt is an objective at another y.
func (at *pieces) pointAt(side problem.Side, y *tensor.Node, rows problem.Batch) *problem.Point {
	return at.o.At(side, at.x, y, rows, params.TrainFrozen, at.state)
}

// whole says whether a level is looked at in one piece.
func (at *pieces) whole(side problem.Side) bool {
	return at.rows == 0 || at.b.All(side).Rows <= at.rows
}

// system prepares a solver for H.
func (at *pieces) system(s linear.Solver, n int) (linear.System, error) {
	m, err := at.matrix(n, func(rows problem.Batch, v *tensor.Node) *tensor.Node {
		return at.point(problem.Lower, rows).HVP(v)
	})
	if err != nil {
		return nil, err
	}
	return s.Prepare(at.b.Executor, m)
}

// matrix is the one whose product with v is the mean over all rows of what product builds for some rows.
func (at *pieces) matrix(n int, product func(rows problem.Batch, v *tensor.Node) *tensor.Node) (linear.Matrix, error) {
	if at.whole(problem.Lower) {
		return linear.Matrix{N: n, Apply: func(v *tensor.Node) *tensor.Node {
			return product(at.b.All(problem.Lower), v)
		}}, nil
	}
	in := at.scope.Variable("hypergradient d", tensor.Real, n)
	out := at.scope.Variable("hypergradient H d", tensor.Real, n)
	sweep := at.b.NewSweep(at.scope, "hypergradient product", problem.Lower, at.rows,
		func(rows problem.Batch) []problem.Sum {
			return []problem.Sum{{Var: out, Value: product(rows, in.Node())}}
		})
	return linear.Matrix{N: n, Product: &linear.Product{In: in, Out: out, Run: sweep.Run}}, at.scope.Err()
}

// stage is sums over pieces, and then a program that reads them.
type stage struct {
	sweeps  []*problem.Sweep
	program *tensor.Function
	counts  problem.Counts // of one run
}

func (s stage) run(ctx context.Context) error {
	for _, w := range s.sweeps {
		if err := w.Run(ctx); err != nil {
			return err
		}
	}
	return s.program.Run(1)
}

// terms gives a stage's program what it asks of the objectives.
type terms struct {
	from  *pieces
	stage *stage
	name  string
}

// of is what ask builds at the point of a level, over all rows. What is asked for must be a mean over rows.
func (t *terms) of(side problem.Side, ask func(*problem.Point) []*tensor.Node) []*tensor.Node {
	return t.at(side, t.from.y, ask)
}

// at is of at another y.
func (t *terms) at(side problem.Side, y *tensor.Node, ask func(*problem.Point) []*tensor.Node) []*tensor.Node {
	at := t.from
	before := at.o.Counts
	if at.whole(side) {
		values := ask(at.pointAt(side, y, at.b.All(side)))
		t.stage.counts = t.stage.counts.Plus(at.o.Counts, 1).Plus(before, -1)
		return values
	}
	var sums []*tensor.Variable
	first := true
	sweep := at.b.NewSweep(at.scope, "hypergradient "+t.name+" "+side.String(), side, at.rows,
		func(rows problem.Batch) []problem.Sum {
			values := ask(at.pointAt(side, y, rows))
			out := make([]problem.Sum, len(values))
			for i, v := range values {
				if first {
					sums = append(sums, at.scope.Variable("hypergradient sum", tensor.Real, v.Shape()...))
				}
				out[i] = problem.Sum{Var: sums[i], Value: v}
			}
			if first { // the sweep builds a piece several times, of different numbers of rows
				t.stage.counts = t.stage.counts.Plus(at.o.Counts, 1).Plus(before, -1)
			}
			first = false
			return out
		})
	if err := at.scope.Err(); err != nil {
		tensor.Fail("hypergradient", "%v", err) // the caller is itself inside Compile, which gives the error back
	}
	t.stage.sweeps = append(t.stage.sweeps, sweep)
	nodes := make([]*tensor.Node, len(sums))
	for i, v := range sums {
		nodes[i] = v.Node()
	}
	return nodes
}

// stage compiles a program, and the sums that it reads. An error stays in the scope.
func (at *pieces) stage(name string, build func(*terms) []tensor.Update) stage {
	s := stage{}
	s.program = at.scope.Compile("hypergradient "+name, func() []tensor.Update {
		return build(&terms{at, &s, name})
	})
	return s
}
