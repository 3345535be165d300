package train

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
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

// Network is the model of a file with its numbers.
type Network struct {
	Name          string // as Architecture knows it
	BatchNorm     bool
	Model         models.Model
	Params, State params.Values
	Scaler        *data.Scaler // of the inputs; nil where the model's first layer does it
	Inputs        int
	Classes       int
}

// Network reads the model.
func (t *Trained) Network() (n Network, err error) {
	f, path := t.file, t.path
	name, ok := f.Metadata[modelKey]
	n.Name, n.BatchNorm = name, f.Metadata[batchNormKey] == "true"
	n.Scaler = &data.Scaler{Mean: f.Arrays[meanName].Reals(), Deviation: f.Arrays[deviationName].Reals()}
	if !ok || len(n.Scaler.Mean) == 0 || len(n.Scaler.Mean) != len(n.Scaler.Deviation) {
		return n, fmt.Errorf(
			"%s was not written by bilevel train: it does not say what model it is and how its inputs are scaled", path,
		)
	}
	if n.Classes, err = strconv.Atoi(f.Metadata[classesKey]); err != nil {
		return n, fmt.Errorf("%s does not say how many classes it has", path)
	}
	if t.names != nil && len(t.names) != n.Classes {
		return n, fmt.Errorf("%s names %d classes, but has %d", path, len(t.names), n.Classes)
	}
	in := Inputs{Count: len(n.Scaler.Mean)}
	if models.IsNetwork(name) {
		if in, err = t.images(n.Scaler); err != nil {
			return n, err
		}
	}
	if in.Normalize.Mean != nil {
		n.Scaler = nil
	}
	n.Inputs = in.Count
	n.Model, err = Architecture(name, n.BatchNorm, "", in, n.Classes)
	if err != nil {
		return n, fmt.Errorf("%s: %w", path, err)
	}
	n.Params, n.State, err = fit(f, path, n.Model)
	return n, err
}

// images is what a network of images reads. It normalizes them itself where the scaling is that of their channels.
func (t *Trained) images(s *data.Scaler) (in Inputs, err error) {
	var size []int
	err = json.Unmarshal([]byte(t.file.Metadata[imageKey]), &size)
	if err != nil || len(size) != 3 || slices.Min(size) < 1 || slices.Max(size) > mostPixels {
		return in, fmt.Errorf("%s does not say what images it is for: its metadata %q are no height, width and "+
			"channels", t.path, imageKey)
	}
	in.Image = models.Image{Height: size[0], Width: size[1], Channels: size[2]}
	switch in.Count = in.Image.Size(); len(s.Mean) {
	case in.Image.Channels:
		in.Normalize = models.Normalization{Mean: s.Mean, Deviation: s.Deviation}
	case in.Count:
	default:
		return in, fmt.Errorf("%s scales %d inputs, but its images are %v", t.path, len(s.Mean), in.Image)
	}
	return in, nil
}

// mostPixels bounds the sides of images in model files.
const mostPixels = 1 << 16

// Predict labels rows: a table of row, label and the model's probability of it. Labels are the names that the training
// data gave their classes.
func (t *Trained) Predict(ctx context.Context, ex *tensor.Executor, set *data.Set) (
	table experiments.Table, err error) {
	n, err := t.Network()
	if err != nil {
		return table, err
	}
	if set.Dim != n.Inputs {
		return table, fmt.Errorf("the rows have %d features, the model %s takes %d", set.Dim, t.path, n.Inputs)
	}
	m, p, state := n.Model, n.Params, n.State
	sc := ex.Scope()
	defer func() { err = errors.Join(err, sc.Close()) }()
	scaled := set.Features
	if n.Scaler != nil {
		scaled = make([]float32, len(set.Features))
		if err := n.Scaler.Apply(scaled, set.Features); err != nil {
			return table, err
		}
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
