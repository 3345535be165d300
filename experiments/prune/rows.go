package prune

import (
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/prune"
)

// open reads the network that is pruned, where there is one, with the scaling that it was trained with.
func (t *task) open(in train.Inputs) error {
	if t.From == "" {
		return nil
	}
	set := t.env.Data
	r := train.Reading{Inputs: in, Classes: set.Classes, White: train.WhitePixel(set)}
	if models.IsNetwork(t.Model) { // perceptrons are known by their arrays
		r.Otherwise = t.Model
	}
	n, err := train.ReadNetwork(t.From, r)
	if err != nil {
		return err
	}
	if err := n.Fits(t.From, set.Train.Dim, set.Classes); err != nil {
		return err
	}
	net, isNetwork := n.Model.(models.Network)
	switch {
	case isNetwork && n.Scaler != nil:
		return fmt.Errorf("from: %s scales each number of its images by itself, which is not pruned here", t.From)
	case isNetwork:
		t.scaler = &data.Scaler{Mean: net.Normalization().Mean, Deviation: net.Normalization().Deviation}
	case n.Scaler != nil:
		t.scaler = n.Scaler
	case n.Name == "":
		return fmt.Errorf("from: %s does not say what model it is and how its inputs are scaled: wants a model file "+
			"of bilevel train or prune run, or a network of images", t.From)
	default:
		return fmt.Errorf("from: the network %s normalizes its inputs itself, which is not pruned here", t.From)
	}
	t.model, t.start = n.Model, [2]params.Values{n.Params, n.State}
	t.Model, t.BatchNorm = n.Name, n.BatchNorm
	return nil
}

// structure asks the model what can be pruned.
func (t *task) structure() (err error) {
	s := &t.prune.Structure
	if err := t.checkExclude(t.model.Params()); err != nil {
		return err
	}
	if !t.Units {
		*s, err = prune.Weights(t.model.Params(), func(a params.Array) bool {
			return models.IsWeight(a) && !t.excludes(a)
		})
		return err
	}
	m, ok := t.model.(models.Shrinkable)
	if !ok {
		return fmt.Errorf("units: the model %s has no units that could be left out", t.Model)
	}
	units, err := t.unitsLeft(m)
	if err == nil {
		*s, err = prune.Units(m.Params(), units)
	}
	return err
}

// excludesNone is the value of the setting exclude for which all layers are pruned.
const excludesNone = "none"

// excluded are the patterns of the names of layers that are not pruned. Where none are given, the first and the last
// layer of a network of images keep their weights; of units, the classes are none in any case.
func (c Config) excluded(l params.Layout) []string {
	if c.Exclude != nil || c.Units || !models.IsNetwork(c.Model) {
		return c.Exclude
	}
	var layers []string
	for _, a := range l {
		if models.IsWeight(a) {
			layers = append(layers, models.LayerOf(a))
		}
	}
	return []string{layers[0], layers[len(layers)-1]}
}

// excludes tells whether the layer of an array is not pruned.
func (t *task) excludes(a params.Array) bool {
	return slices.ContainsFunc(t.excluded(t.model.Params()), func(pattern string) bool {
		ok, _ := path.Match(pattern, models.LayerOf(a))
		return ok
	})
}

// checkExclude refuses patterns that no layer with weights has for its name.
func (c Config) checkExclude(l params.Layout) error {
	var layers []string
	for _, a := range l {
		if models.IsWeight(a) {
			layers = append(layers, models.LayerOf(a))
		}
	}
	for _, pattern := range c.Exclude {
		if pattern == excludesNone {
			continue
		}
		if _, err := path.Match(pattern, ""); err != nil {
			return fmt.Errorf("exclude %q is no pattern of names: %w", pattern, err)
		}
		if !slices.ContainsFunc(layers, func(name string) bool { ok, _ := path.Match(pattern, name); return ok }) {
			return fmt.Errorf("exclude %q: no layer of the model %s has such a name; there are %s, and %s to exclude "+
				"nothing", pattern, c.Model, strings.Join(layers, ", "), excludesNone)
		}
	}
	return nil
}

// unitsLeft are the groups of units that may be pruned. A group is made by all layers that add to one residual stream:
// all of them are excluded, or none.
func (t *task) unitsLeft(m models.Shrinkable) (list []params.Units, err error) {
	for _, u := range m.Units() {
		var makers, kept []string
		for _, s := range u.Slots {
			a, err := m.Params().Find(s.Array)
			if err != nil {
				return nil, err
			}
			if !s.Output || !models.IsWeight(a) {
				continue
			}
			if makers = append(makers, models.LayerOf(a)); t.excludes(a) {
				kept = append(kept, models.LayerOf(a))
			}
		}
		switch len(kept) {
		case 0:
			list = append(list, u)
		case len(makers):
		default:
			return nil, experiments.Usagef("exclude: the channels of %s are those of one residual stream with the "+
				"channels of all of %s: exclude all of these layers, or none", strings.Join(kept, ", "),
				strings.Join(makers, ", "))
		}
	}
	return list, nil
}

// What the setting split may be: which rows are for validation, and for the test where the set has no part for it.
const (
	// Drawn are rows drawn at random, the same ones as those that `bilevel train` draws with the same seed and sizes.
	Drawn = "drawn"
	// Last are the last rows, for figures that were measured so. The numbers of a perceptron's rows are then scaled all
	// alike, by the whole training file.
	Last = "last"
)

// split divides the rows into the parts and scales those of perceptrons. Networks of images normalize their inputs
// themselves: where the network is from a file that does not say how, by the training rows.
func (t *task) split(set *data.Dataset) (err error) {
	isNetwork := models.IsNetwork(t.Model)
	if !isNetwork {
		set = set.Widened()
	}
	p := data.Preparation{Train: set.Train.N(), Val: t.Val, NoOnes: true, InOrder: t.Split == Last,
		Scale: t.scaling(set)}
	test := 0
	if set.Test == nil {
		test = p.Train / 6
	}
	if p.Train -= test; set.Val == nil {
		p.Train -= t.Val
	}
	if p.Train < 1 {
		return experiments.Usagef("val is %d of %d training rows, of which %d are for the test: nothing is left to "+
			"train on", t.Val, set.Train.N(), test)
	}
	if t.rows, err = train.Prepare(set, t.Model, t.Augment, p, t.seed); err != nil {
		return err
	}
	t.parts = [3]*data.Set{t.rows.Train, t.rows.Val, t.rows.Test}
	if isNetwork && t.scaler != nil && len(t.scaler.Mean) > 0 {
		return nil
	}
	t.scaler = t.rows.Scaler
	if isNetwork && t.From != "" {
		return t.open(t.rows.Inputs)
	}
	return nil
}

// scaling is how the inputs of perceptrons are scaled: as those of the network from a file were, pixels of images all
// alike, so that a radius is the same for each of them, and else column by column.
func (t *task) scaling(set *data.Dataset) func(*data.Set) (*data.Scaler, error) {
	own := t.scaler
	switch {
	case own != nil:
		return func(rows *data.Set) (*data.Scaler, error) {
			return &data.Scaler{Mean: own.Mean, Deviation: own.Deviation, Origin: rows.Origin}, nil
		}
	case t.Split == Last:
		return func(*data.Set) (*data.Scaler, error) { return wholeScaler(set.Train), nil }
	case train.InputsOf(set).NoImage == nil:
		return func(rows *data.Set) (*data.Scaler, error) { return wholeScaler(rows), nil }
	}
	return data.Standardize
}

// wholeScaler has the mean and the deviation of all numbers of a set for every column.
func wholeScaler(s *data.Set) *data.Scaler {
	n, mean, square := float64(len(s.Features)), 0.0, 0.0
	for _, v := range s.Features {
		mean += float64(v)
	}
	mean /= n
	for _, v := range s.Features {
		d := float64(v) - mean
		square += d * d
	}
	deviation := math.Sqrt(square / n)
	if deviation == 0 {
		deviation = 1
	}
	c := &data.Scaler{Mean: make([]float64, s.Dim), Deviation: make([]float64, s.Dim), Origin: s.Origin}
	for j := range c.Mean {
		c.Mean[j], c.Deviation[j] = mean, deviation
	}
	for j, o := range s.Origin {
		c.Mean[j] += o
	}
	return c
}
