package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/internal/hostmemory"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Inputs is what the rows of data are for a model.
type Inputs struct {
	Count     int                  // numbers of a row
	Image     models.Image         // for networks of images; zero where rows are none
	NoImage   error                // why they are none
	Normalize models.Normalization // the first layer of networks of images
}

// InputsOf describes the rows of a data set.
func InputsOf(set *data.Dataset) (in Inputs) {
	in.Count = 1
	for _, d := range set.Shape {
		in.Count *= d
	}
	if set.Train != nil { // rows need no shape
		in.Count = set.Train.Dim
	}
	in.Image.Height, in.Image.Width, in.Image.Channels, in.NoImage = set.Image()
	return in
}

// anyInputs serve to find out whether a name is that of a model, before there are data.
var anyInputs = Inputs{Count: 1, Image: models.Image{Height: 256, Width: 256, Channels: 3}}

// CheckName refuses names that are no model's, and settings that do not go with it.
func CheckName(name string, batchNorm bool, start models.Start) (models.Model, error) {
	return Architecture(name, batchNorm, start, anyInputs, 2)
}

// Networks lists the names of the usual networks of images.
func Networks() []string { return models.NetworkNames() }

// NetworkForms says of each kind of them how its name is written, and what it is.
func NetworkForms() []string { return models.NetworkForms() }

// Architecture is the model of a name for rows of data in so many classes: softmax, mlp:300-100 with the widths of its
// hidden layers, or a network of images that models.ByName knows, such as resnet20.
func Architecture(name string, batchNorm bool, start models.Start, in Inputs, classes int) (models.Model, error) {
	if models.IsNetwork(name) {
		switch {
		case batchNorm:
			return nil, fmt.Errorf("batch_norm: the model %s has the normalizations that it is known with", name)
		case in.NoImage != nil:
			return nil, fmt.Errorf("the model %s is for images: %w", name, in.NoImage)
		}
		s := models.Spec{Image: in.Image, Classes: classes, Normalize: in.Normalize, Start: start}
		return models.ByName(name, s)
	}
	if name == "softmax" {
		if batchNorm {
			return nil, errors.New("batch_norm: softmax regression has no hidden layers to normalize")
		}
		return models.Softmax{Inputs: in.Count, Classes: classes}, nil
	}
	hidden, ok := strings.CutPrefix(name, "mlp:")
	if !ok {
		return nil, fmt.Errorf("unknown model %q (there are softmax, mlp:WIDTHS, such as mlp:300-100, and networks of "+
			"images: %s)", name, strings.Join(models.NetworkNames(), ", "))
	}
	m := models.MLP{Widths: []int{in.Count}, BatchNorm: batchNorm, Start: start}
	for _, text := range strings.Split(hidden, "-") {
		w, err := strconv.Atoi(text)
		if err != nil || w < 1 || w > 1<<20 {
			return nil, fmt.Errorf("model %q: %q is no width of a hidden layer", name, text)
		}
		m.Widths = append(m.Widths, w)
	}
	m.Widths = append(m.Widths, classes)
	return m, m.Check()
}

// prepare splits the data and builds the problem and its evaluators.
func (t *task) prepare(set *data.Dataset) (err error) {
	t.source = set
	p := data.Preparation{Train: t.Train, Val: t.Val, NoOnes: true}
	if t.data, err = Prepare(set, t.Model, t.Augment, p, t.seed); err != nil {
		return err
	}
	if err := experiments.CheckBatch(t.Batch, t.Train); err != nil {
		return err
	}
	if t.model, err = Architecture(t.Model, t.BatchNorm, t.Start, t.data.Inputs, t.data.Classes); err != nil {
		return err
	}
	if err := t.checkInputs(t.model.Params()); err != nil {
		return err
	}
	if err := StartFits(t.Model, t.model.Params().Size()); err != nil {
		return err
	}
	start, state := t.model.Init(t.seed)
	if t.From != "" {
		n, err := ReadNetwork(t.From, Reading{Name: t.Model, BatchNorm: t.BatchNorm, Inputs: t.data.Inputs,
			Classes: t.data.Classes, White: WhitePixel(set)})
		if err != nil {
			return err
		}
		if err := n.Fits(t.From, t.data.Count, t.data.Classes); err != nil {
			return err
		}
		t.model, t.BatchNorm, start, state = n.Model, n.BatchNorm, n.Params, n.State
	}
	t.y = t.scope.Variable("y", tensor.Real, start.Size())
	if state.Size() > 0 {
		t.state = t.scope.Variable("state", tensor.Real, state.Size())
	}
	level := problem.Level{Start: start, Sampler: problem.Epochs(t.Batch), Loss: t.loss}
	if level.Rows, err = experiments.Upload(t.scope, t.data.Train); err != nil {
		return err
	}
	if t.bound, err = minimize.Alone("training", level, state).Bind(t.ex); err != nil {
		return err
	}
	t.scope.Own(func() error { return t.bound.Close() })
	for _, part := range []struct {
		set *data.Set
		to  **problem.Evaluator
	}{{t.data.Val, &t.val}, {t.data.Test, &t.test}} {
		rows, err := experiments.Upload(t.scope, part.set)
		if err != nil {
			return err
		}
		metrics := []problem.Metric{
			{Name: "mistakes", Of: func(b problem.Batch) *tensor.Node {
				return models.Mistakes(t.logits(b, params.Eval), b.Get("label"))
			}},
			{Name: "loss", Of: func(b problem.Batch) *tensor.Node {
				return tensor.CrossEntropy(t.logits(b, params.Eval), b.Get("label"))
			}},
		}
		if *part.to, err = problem.NewEvaluator(t.ex, rows, 0, metrics, nil); err != nil {
			return err
		}
		t.scope.Own((*part.to).Close)
	}
	return nil
}

// StartFits refuses models whose start values alone, float64 on the host, are more than the memory that the machine has
// to give. Where the system does not say what is free, nothing is refused.
func StartFits(name string, parameters int) error {
	const gb = 1e9
	need := 8 * int64(parameters)
	if free, ok := hostmemory.Available(); ok && need > free {
		return fmt.Errorf("the model %s has %d parameters, whose start values would take %.1f GB of memory, and "+
			"%.1f GB are free: take narrower layers", name, parameters, float64(need)/gb, float64(free)/gb)
	}
	return nil
}

// loss is the mean cross-entropy of a batch, with smoothed labels where they are asked for, whose images may be shifted
// and mirrored at random, and the moved running statistics.
func (t *task) loss(_, y problem.Vars, b problem.Batch, p problem.Pass) problem.Loss {
	z, next := t.model.Apply(y.Flat(), p.State.Flat(), t.data.Features(b), p.Mode)
	losses := tensor.CrossEntropy(z, b.Get("label"))
	if t.LabelSmoothing > 0 {
		losses = models.SmoothedCrossEntropy(z, b.Get("label"), t.LabelSmoothing)
	}
	return problem.Loss{Value: losses.Mean(), State: next}
}

// Names of what a model file holds beside the model's own arrays.
const (
	meanName, deviationName = "scaler.mean", "scaler.deviation"
	modelKey, batchNormKey  = "model", "batch_norm"
	classesKey, namesKey    = "classes", "class_names" // the names as a list in JSON
	columnsKey              = "columns"                // of a table, likewise
	zeroBasedKey            = "zero_based"             // "true" where the first index of LIBSVM's text was 0
	// originKey is what was subtracted from each column before it was rounded to float32, a list in JSON. The scaler's
	// mean is that of the numbers before.
	originKey = "origin"
	// imageKey is the height, width and channels of a network's images, a list in JSON.
	imageKey = "image"
	// unitsKey is the numbers of units that a network of images has in place of those that it is known with, a list in
	// JSON in the order of models.Shrinkable.
	unitsKey = "units"
)

// export is the trained model with the scaler of its inputs.
func (t *task) export(y, state []float64) experiments.Model {
	return File{Architecture: t.Model, BatchNorm: t.BatchNorm, Model: t.model, Data: t.data.Prepared,
		Source: t.source}.Of(y, state)
}

// File is what a model file says beside the model's parameters.
type File struct {
	Architecture string // by its name, see Architecture
	BatchNorm    bool
	Model        models.Model
	Data         *data.Prepared // with the scaler of the inputs
	Source       *data.Dataset  // whose classes and columns it names
}

// Of is the file of a model's parameters and state, which `bilevel predict` reads.
func (f File) Of(p, state []float64) experiments.Model {
	all := params.Values{Layout: f.Model.Params(), Flat: p}.Join(params.Values{Layout: f.Model.State(), Flat: state})
	all = all.And(meanName, f.Data.Scaler.Mean...).And(deviationName, f.Data.Scaler.Deviation...)
	metadata := map[string]string{
		modelKey: f.Architecture, batchNormKey: fmt.Sprint(f.BatchNorm), classesKey: fmt.Sprint(f.Data.Classes),
		"format": "pt",
	}
	lists := map[string]any{}
	if len(f.Source.ClassNames) > 0 {
		lists[namesKey] = f.Source.ClassNames
	}
	if len(f.Source.Columns) > 0 {
		lists[columnsKey] = f.Source.Columns
	}
	if f.Source.ZeroBased {
		metadata[zeroBasedKey] = "true"
	}
	if len(f.Data.Scaler.Origin) > 0 {
		lists[originKey] = f.Data.Scaler.Origin
	}
	if n, ok := f.Model.(models.Network); ok {
		lists[imageKey] = []int{n.Image().Height, n.Image().Width, n.Image().Channels}
		if n.Counts() != nil {
			lists[unitsKey] = n.Counts()
		}
	}
	for key, list := range lists {
		text, err := json.Marshal(list)
		if err != nil {
			panic(err) // a list of strings or numbers
		}
		metadata[key] = string(text)
	}
	return experiments.Model{Name: "model", Arrays: all, Metadata: metadata}
}
