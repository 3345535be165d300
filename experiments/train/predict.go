package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/internal/safetensors"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Trained is a model file that `bilevel train` wrote.
type Trained struct {
	Columns []string // the features' names, where it was trained on a table

	path  string
	file  *safetensors.File
	names []string // of the classes; nil: 0, 1, 2, …
}

// Open reads a model file.
func Open(path string) (*Trained, error) {
	f, err := open(path)
	if err != nil {
		return nil, err
	}
	m := &Trained{path: path, file: f}
	for key, to := range map[string]*[]string{namesKey: &m.names, columnsKey: &m.Columns} {
		if text, ok := f.Metadata[key]; ok {
			if err := json.Unmarshal([]byte(text), to); err != nil {
				return nil, fmt.Errorf("%s: its metadata %q are no list of names", path, key)
			}
		}
	}
	return m, nil
}

// network is the model of a file with its numbers.
type network struct {
	model    models.Model
	p, state params.Values
	scaler   *data.Scaler
	classes  int
}

// network reads the model.
func (t *Trained) network() (n network, err error) {
	f, path := t.file, t.path
	name, ok := f.Metadata[modelKey]
	n.scaler = &data.Scaler{Mean: f.Arrays[meanName].Reals(), Deviation: f.Arrays[deviationName].Reals()}
	if !ok || len(n.scaler.Mean) == 0 || len(n.scaler.Mean) != len(n.scaler.Deviation) {
		return n, fmt.Errorf(
			"%s was not written by bilevel train: it does not say what model it is and how its inputs are scaled", path,
		)
	}
	if n.classes, err = strconv.Atoi(f.Metadata[classesKey]); err != nil {
		return n, fmt.Errorf("%s does not say how many classes it has", path)
	}
	if t.names != nil && len(t.names) != n.classes {
		return n, fmt.Errorf("%s names %d classes, but has %d", path, len(t.names), n.classes)
	}
	n.model, err = Architecture(name, f.Metadata[batchNormKey] == "true", "", len(n.scaler.Mean), n.classes)
	if err != nil {
		return n, fmt.Errorf("%s: %w", path, err)
	}
	n.p, n.state, err = fit(f, path, n.model)
	return n, err
}

// Predict labels rows: a table of row, label and the model's probability of it. Labels are the names that the training
// data gave their classes.
func (t *Trained) Predict(ctx context.Context, ex *tensor.Executor, set *data.Set) (
	table experiments.Table, err error) {
	n, err := t.network()
	if err != nil {
		return table, err
	}
	if set.Dim != len(n.scaler.Mean) {
		return table, fmt.Errorf("the rows have %d features, the model %s takes %d", set.Dim, t.path,
			len(n.scaler.Mean))
	}
	m, p, state := n.model, n.p, n.state
	sc := ex.Scope()
	defer func() { err = errors.Join(err, sc.Close()) }()
	scaled := make([]float32, len(set.Features))
	if err := n.scaler.Apply(scaled, set.Features); err != nil {
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
		word := strconv.Itoa(int(label))
		if t.names != nil {
			word = t.names[label]
		}
		table.Rows = append(table.Rows, []string{
			strconv.Itoa(i), word, experiments.Number(math.Exp(v.Reals["log probability"][i])),
		})
	}
	return table, nil
}
