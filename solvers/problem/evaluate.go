package problem

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/tensor"
)

// Metric is a number for each row of a batch, [rows]: a loss, 1 for a mistake. Its mean over all rows is wanted.
type Metric struct {
	Name string
	Of   func(b Batch) *tensor.Node
}

// PerRow is something wanted for each row: a predicted label (Int), a probability.
type PerRow struct {
	Name string
	Type tensor.Type
	Of   func(b Batch) *tensor.Node
}

// Evaluator computes metrics over any number of rows in a memory that does not grow with them. The last batch is filled
// up with rows of weight 0, so that one program serves.
type Evaluator struct {
	n, size       int
	metrics       []string
	base          *tensor.Variable
	sums          *tensor.Variable // [metrics]
	perRow        []PerRow
	out           []*tensor.Variable // [size] each
	zero, program *tensor.Function
	scope         *tensor.Scope
}

// PadRows is the smallest of the sizes (ascending) that holds n rows, or the largest: the batch to which n rows are
// filled up.
func PadRows(n int, sizes ...int) int {
	for _, s := range sizes {
		if s >= n {
			return s
		}
	}
	return sizes[len(sizes)-1]
}

// DefaultEvaluationMemory is the arena in bytes that evaluations take where nothing is said.
const DefaultEvaluationMemory = 64 << 20

// NewEvaluator compiles metrics over rows, which it uploads where they are not on the executor's device (On). memory is
// the most bytes of intermediate values; 0 means DefaultEvaluationMemory. Its error says what one row alone would need
// where that does not fit.
func NewEvaluator(ex *tensor.Executor, rows Rows, memory int, metrics []Metric, perRow []PerRow) (*Evaluator, error) {
	if err := rows.check(); err != nil {
		return nil, fmt.Errorf("evaluation: %w", err)
	}
	if memory == 0 {
		memory = DefaultEvaluationMemory
	}
	n := rows.Count()
	if n < 1 {
		return nil, errors.New("evaluation: there are no rows")
	}
	seen := map[string]bool{}
	for _, m := range metrics {
		if seen[m.Name] {
			return nil, fmt.Errorf("evaluation: two metrics are called %q", m.Name)
		}
		seen[m.Name] = true
	}
	clear(seen)
	for _, p := range perRow {
		if seen[p.Name] {
			return nil, fmt.Errorf("evaluation: two results by row are called %q", p.Name)
		}
		seen[p.Name] = true
	}
	sc := ex.Scope()
	tables := map[string]*tensor.Node{}
	for _, name := range rows.names() {
		node, err := rows[name].upload(sc, "evaluation "+name)
		if err != nil {
			return nil, errors.Join(err, sc.Close())
		}
		tables[name] = node
	}
	const largest = 4096
	for size := PadRows(n, 16, 64, 256, 1024, largest); ; size /= 2 {
		e := &Evaluator{n: n, size: min(size, n), perRow: perRow, scope: ex.Scope()}
		e.compile(tables, metrics)
		if err := e.scope.Err(); err != nil {
			return nil, errors.Join(err, e.scope.Close(), sc.Close())
		}
		need := e.program.Memory().Arena
		if need <= memory {
			e.scope.Own(sc.Close)
			return e, nil
		}
		if err := e.scope.Close(); err != nil {
			return nil, errors.Join(err, sc.Close())
		}
		if e.size == 1 {
			return nil, errors.Join(fmt.Errorf("evaluation: one row alone needs %d bytes of intermediate values, "+
				"but %d are allowed", need, memory), sc.Close())
		}
	}
}

func (e *Evaluator) compile(tables map[string]*tensor.Node, metrics []Metric) {
	sc := e.scope
	e.base = sc.Variable("evaluation base", tensor.Int)
	e.sums = sc.Variable("evaluation sums", tensor.Real, max(1, len(metrics)))
	for _, m := range metrics {
		e.metrics = append(e.metrics, m.Name)
	}
	for _, p := range e.perRow {
		e.out = append(e.out, sc.Variable("evaluation "+p.Name, p.Type, e.size))
	}
	e.zero = sc.Compile("evaluation zero", func() []tensor.Update {
		return []tensor.Update{{Var: e.base, Value: tensor.IntConst(0)},
			{Var: e.sums, Value: tensor.Zeros(e.sums.Shape()...)}}
	})
	e.program = sc.Compile("evaluation", func() []tensor.Update {
		base := e.base.Node()
		row := tensor.Iota(0, e.size).Add(base)
		inside := row.Lt(tensor.IntConst(int32(e.n))) // 1 for rows that are there
		index := row.Mul(inside.ToInt())              // the others look at row 0, with weight 0
		b := Batch{Index: index, Rows: e.size, tables: tables}
		updates := []tensor.Update{{Var: e.base, Value: base.Add(tensor.IntConst(int32(e.size)))}}
		var sums []*tensor.Node
		for _, m := range metrics {
			v := e.column("metric", m.Name, tensor.Real, m.Of(b))
			sums = append(sums, tensor.Where(inside, v, tensor.Const(0)).Sum().Reshape(1))
		}
		if len(sums) > 0 {
			updates = append(updates, tensor.Update{Var: e.sums, Value: e.sums.Node().Add(tensor.Concat(0, sums...))})
		}
		for i, p := range e.perRow {
			value := e.column("result by row", p.Name, p.Type, p.Of(b))
			updates = append(updates, tensor.Update{Var: e.out[i], Value: value})
		}
		return updates
	})
}

// column checks that there is one value for each row of a batch, and gives them as a vector.
func (e *Evaluator) column(kind, name string, typ tensor.Type, n *tensor.Node) *tensor.Node {
	if n == nil {
		tensor.Fail("evaluation", "the %s %q gives no node", kind, name)
	}
	if n.Size() != e.size || n.Type() != typ {
		tensor.Fail("evaluation", "the %s %q gives %s %v for a batch of %d rows; wants one %s for each",
			kind, name, n.Type(), n.Shape(), e.size, typ)
	}
	return n.Reshape(e.size)
}

// Batch is the number of rows that are evaluated at once, Memory the bytes of intermediate values that they take.
func (e *Evaluator) Batch() int  { return e.size }
func (e *Evaluator) Memory() int { return e.program.Memory().Arena }

// Evaluation is what an Evaluator found.
type Evaluation struct {
	Sums  map[string]float64 // over all rows, by metric
	Rows  int
	Ints  map[string][]int32 // by row
	Reals map[string][]float64
}

// Mean is a metric's mean over the rows, NaN where there is none of that name.
func (v *Evaluation) Mean(metric string) float64 {
	sum, ok := v.Sums[metric]
	if !ok {
		return math.NaN()
	}
	return sum / float64(v.Rows)
}

// Run evaluates where the variables that the metrics read stand now, and returns between two batches when ctx ends.
func (e *Evaluator) Run(ctx context.Context) (*Evaluation, error) {
	v := &Evaluation{Sums: map[string]float64{}, Rows: e.n, Ints: map[string][]int32{}, Reals: map[string][]float64{}}
	if err := e.zero.Run(1); err != nil {
		return nil, err
	}
	for at := 0; at < e.n; at += e.size {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if err := e.program.Run(1); err != nil {
			return nil, err
		}
		for i, p := range e.perRow {
			if err := v.take(p, e.out[i], min(e.size, e.n-at)); err != nil {
				return nil, err
			}
		}
	}
	sums, err := e.sums.Read()
	for i, name := range e.metrics {
		v.Sums[name] = sums[i]
	}
	return v, err
}

// take reads the first rows of a batch.
func (v *Evaluation) take(p PerRow, from *tensor.Variable, rows int) error {
	if p.Type == tensor.Int {
		out, err := from.ReadInts()
		if err == nil {
			v.Ints[p.Name] = append(v.Ints[p.Name], out[:rows]...)
		}
		return err
	}
	out, err := from.Read()
	if err == nil {
		v.Reals[p.Name] = append(v.Reals[p.Name], out[:rows]...)
	}
	return err
}

// Close frees what the evaluator took.
func (e *Evaluator) Close() error { return e.scope.Close() }
