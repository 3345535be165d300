package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Trained is a model file that `bilevel train` wrote.
type Trained struct {
	Columns []string  // the features' names, where it was trained on a table
	Origin  []float64 // what was subtracted from features before they were rounded, see data.Options; empty: nothing
	// ZeroBased says that it was trained on LIBSVM's text whose first index was 0.
	ZeroBased bool

	file  *file
	names []string // of the classes; nil: 0, 1, 2, …
}

// Open reads a model file.
func Open(path string) (*Trained, error) {
	if strings.HasSuffix(path, ".npz") {
		return nil, fmt.Errorf("%s is an archive of NumPy arrays; a model of bilevel train is a .safetensors file",
			path)
	}
	f, err := openSafetensors(path)
	if err != nil {
		return nil, err
	}
	m := &Trained{file: f, Origin: []float64{}, ZeroBased: f.metadata[zeroBasedKey] == "true"}
	for _, list := range []struct {
		key string
		to  any
	}{{namesKey, &m.names}, {columnsKey, &m.Columns}, {originKey, &m.Origin}} {
		if text, ok := f.metadata[list.key]; ok {
			if err := json.Unmarshal([]byte(text), list.to); err != nil {
				return nil, fmt.Errorf("%s: its metadata %q are no list", path, list.key)
			}
		}
	}
	return m, nil
}

// Network reads the model, with the scaling of the data's values that it was trained with.
func (t *Trained) Network() (n Network, err error) {
	f := t.file
	own := *f
	own.arrays = maps.Clone(f.arrays) // reading takes what is no array of the network away
	_, ok := f.metadata[modelKey]
	if mean, deviation := f.arrays[meanName], f.arrays[deviationName]; !ok || len(mean.values) == 0 ||
		len(mean.values) != len(deviation.values) {
		return n, fmt.Errorf(
			"%s was not written by bilevel train: it does not say what model it is and how its inputs are scaled",
			f.path)
	}
	classes, err := strconv.Atoi(f.metadata[classesKey])
	if err != nil {
		return n, fmt.Errorf("%s does not say how many classes it has", f.path)
	}
	if t.names != nil && len(t.names) != classes {
		return n, fmt.Errorf("%s names %d classes, but has %d", f.path, len(t.names), classes)
	}
	if _, ok := f.metadata[imageKey]; !ok && models.IsNetwork(f.metadata[modelKey]) {
		return n, fmt.Errorf("%s does not say what images it is for", f.path)
	}
	if n, err = own.network(Reading{}); err != nil {
		return n, fmt.Errorf("%s: %w", f.path, err)
	}
	if n.Classes != classes {
		return n, fmt.Errorf("%s says that it has %d classes, and its arrays have %d", f.path, classes, n.Classes)
	}
	return n, nil
}

// placed is a network on a device, with the rows that it is asked about, scaled as it was trained.
type placed struct {
	Network
	scope    *tensor.Scope
	p, state *tensor.Node
	rows     []float32
}

// place puts the network there. The caller closes the scope, also after an error.
func (t *Trained) place(ex *tensor.Executor, set *data.Set) (on placed, err error) {
	on.scope = ex.Scope()
	if on.Network, err = t.Network(); err != nil {
		return on, err
	}
	if set.Dim != on.Inputs {
		return on, fmt.Errorf("the rows have %d features, the model %s takes %d", set.Dim, t.file.path, on.Inputs)
	}
	if on.rows = set.Features; on.Scaler != nil {
		on.rows = make([]float32, len(set.Features))
		on.Scaler.Origin = set.Origin
		if err := on.Scaler.Apply(on.rows, set.Features); err != nil {
			return on, err
		}
	}
	y := on.scope.Variable("y", tensor.Real, on.Params.Size())
	on.p = y.Node()
	if err := y.Write(on.Params.Flat); err != nil || on.State.Size() == 0 {
		return on, err
	}
	v := on.scope.Variable("state", tensor.Real, on.State.Size())
	on.state = v.Node()
	return on, v.Write(on.State.Flat)
}

// logits are the network's outputs for rows x.
func (on placed) logits(x *tensor.Node) *tensor.Node {
	z, _ := on.Model.Apply(on.p, on.state, x, params.Eval)
	return z
}

// Logits are the network's outputs for rows, [rows, classes].
func (t *Trained) Logits(ctx context.Context, ex *tensor.Executor, set *data.Set) (z []float32, err error) {
	on, err := t.place(ex, set)
	defer func() { err = errors.Join(err, on.scope.Close()) }()
	if err != nil {
		return nil, err
	}
	const most = 128 // rows at once
	x := on.scope.Variable("rows", tensor.Real, most, set.Dim)
	out := on.scope.Variable("logits", tensor.Real, most, on.Classes)
	f := on.scope.Compile("logits", func() []tensor.Update {
		return []tensor.Update{{Var: out, Value: on.logits(x.Node())}}
	})
	if err := on.scope.Err(); err != nil {
		return nil, err
	}
	batch := make([]float32, most*set.Dim)
	for rest := on.rows; len(rest) > 0; rest = rest[min(len(rest), len(batch)):] {
		n := copy(batch, rest) / set.Dim
		if err := errors.Join(ctx.Err(), x.Write32(batch)); err != nil {
			return nil, err
		}
		if err := f.Run(1); err != nil {
			return nil, err
		}
		part, err := out.Read32()
		if err != nil {
			return nil, err
		}
		z = append(z, part[:n*on.Classes]...)
	}
	for i, v := range z {
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, t.noNumber(i/on.Classes, float64(v))
		}
	}
	return z, nil
}

// noNumber is the error of a model whose outputs are no numbers.
func (t *Trained) noNumber(row int, v float64) error {
	return fmt.Errorf("the model %s gives %g for row %d: look for weights that are no finite numbers, deviations of "+
		"its inputs that are 0, and very large values in the rows", t.file.path, v, row)
}

// Predict labels rows: a table of row, label and the model's probability of it. Labels are the names that the training
// data gave their classes.
func (t *Trained) Predict(ctx context.Context, ex *tensor.Executor, set *data.Set) (
	table experiments.Table, err error) {
	on, err := t.place(ex, set)
	defer func() { err = errors.Join(err, on.scope.Close()) }()
	if err != nil {
		return table, err
	}
	logits := func(b problem.Batch) *tensor.Node { return on.logits(b.Get("features")) }
	e, err := problem.NewEvaluator(ex, problem.Rows{"features": problem.Reals(on.rows, set.Dim)}, 0, nil,
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
	on.scope.Own(e.Close)
	v, err := e.Run(ctx)
	if err != nil {
		return table, err
	}
	table = experiments.Table{Name: "labels", Columns: []string{"row", "label", "probability"}}
	for i, label := range v.Ints["label"] {
		if p := v.Reals["log probability"][i]; math.IsNaN(p) || math.IsInf(p, 0) {
			return table, t.noNumber(i, p)
		}
		word := strconv.Itoa(int(label))
		if t.names != nil {
			word = t.names[label]
		}
		table.Rows = append(table.Rows, []string{
			strconv.Itoa(i), word, experiments.Number(math.Exp(v.Reals["log probability"][i])),
		})
	}
	table.AddFiles(set.Files, func(i int) int32 { return int32(i) })
	return table, nil
}
