package train

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Predict labels rows with a model that `bilevel train` wrote: a table of row, label and the model's probability of it.
func Predict(ctx context.Context, ex *tensor.Executor, path string, set *data.Set) (
	table experiments.Table, err error) {
	f, err := open(path)
	if err != nil {
		return table, err
	}
	name, ok := f.Metadata[modelKey]
	scaler := &data.Scaler{Mean: f.Arrays[meanName].Reals(), Deviation: f.Arrays[deviationName].Reals()}
	if !ok || len(scaler.Mean) == 0 || len(scaler.Mean) != len(scaler.Deviation) {
		return table, fmt.Errorf(
			"%s was not written by bilevel train: it does not say what model it is and how its inputs are scaled", path,
		)
	}
	if set.Dim != len(scaler.Mean) {
		return table, fmt.Errorf("the rows have %d features, the model %s takes %d", set.Dim, path, len(scaler.Mean))
	}
	classes, err := strconv.Atoi(f.Metadata[classesKey])
	if err != nil {
		return table, fmt.Errorf("%s does not say how many classes it has", path)
	}
	m, err := Architecture(name, f.Metadata[batchNormKey] == "true", "", set.Dim, classes)
	if err != nil {
		return table, fmt.Errorf("%s: %w", path, err)
	}
	p, state, err := fit(f, path, m)
	if err != nil {
		return table, err
	}
	sc := ex.Scope()
	defer func() { err = errors.Join(err, sc.Close()) }()
	scaled := make([]float32, len(set.Features))
	if err := scaler.Apply(scaled, set.Features); err != nil {
		return table, err
	}
	y := sc.Variable("y", tensor.Real, p.Size())
	if err := y.Write(p.Flat); err != nil {
		return table, err
	}
	var s *tensor.Node
	if state.Size() > 0 {
		v := sc.Variable("state", tensor.Real, state.Size())
		if err := v.Write(state.Flat); err != nil {
			return table, err
		}
		s = v.Node()
	}
	logits := func(b problem.Batch) *tensor.Node {
		z, _ := m.Apply(y.Node(), s, b.Get("features"), params.Eval)
		return z
	}
	e, err := problem.NewEvaluator(ex, problem.Rows{"features": problem.Reals(scaled, set.Dim)}, 0, nil,
		[]problem.PerRow{
			{Name: "label", Type: tensor.Int, Of: func(b problem.Batch) *tensor.Node { return logits(b).ArgMax() }},
			{Name: "log probability", Type: tensor.Real, Of: func(b problem.Batch) *tensor.Node {
				z := logits(b)
				return tensor.CrossEntropy(z, z.ArgMax()).Neg()
			}},
		})
	if err != nil {
		return table, err
	}
	sc.Own(e.Close)
	v, err := e.Run(ctx)
	if err != nil {
		return table, err
	}
	table = experiments.Table{Name: "labels", Columns: []string{"row", "label", "probability"}}
	for i, label := range v.Ints["label"] {
		table.Rows = append(table.Rows, []string{
			strconv.Itoa(i), strconv.Itoa(int(label)), experiments.Number(math.Exp(v.Reals["log probability"][i])),
		})
	}
	return table, nil
}
