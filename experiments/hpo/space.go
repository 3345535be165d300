package hpo

import (
	"fmt"
	"math"

	"bilevel/experiments"
	"bilevel/models/params"
	"bilevel/solvers/problem"
)

// Searches.
const (
	Features = "features" // a weight for each feature of a logistic regression
	Layers   = "layers"   // a weight for each layer of a perceptron, and label smoothing
)

// Searches lists them.
func Searches() []string { return []string{Features, Layers} }

// The box of x: weights e^x from 8e-7 to 7.4, label smoothing 1/(1 + e^-x) from 0.0003 to 0.5. All searches begin at
// weights of 9e-4 and a smoothing of 0.02.
const (
	leastWeight, mostWeight, firstWeight          = -14, 2, -7
	leastSmoothing, mostSmoothing, firstSmoothing = -8, 0, -4
)

// hyperparameter is one element of x.
type hyperparameter struct {
	name          string
	lo, hi, start float64
	axis          int // of a grid, which gives equal values to all that share one
	// value is what x stands for, and setting what `bilevel train` calls it, with the value that it takes there.
	value   func(x float64) float64
	setting func(value float64) (name, text string)
}

// space is the box that is searched, an interval for each hyperparameter.
type space []hyperparameter

// weight is a weight of squares, which train knows as the weight decay of the arrays of a pattern. train is by how much
// it is larger there.
func weight(name, pattern string, train float64) hyperparameter {
	return hyperparameter{
		name: name, lo: leastWeight, hi: mostWeight, start: firstWeight, value: math.Exp,
		setting: func(v float64) (string, string) { return listSetting, fmt.Sprintf("%s=%.9g", pattern, train*v) },
	}
}

// featureSpace has a weight for each feature. train has softmax regression in the place of logistic regression. Its two
// rows of weights are w/2 and -w/2 at a minimum, so that with twice the weights its penalty is the same.
func featureSpace(features int, columns []string) (s space) {
	for j := range features {
		name := fmt.Sprint("feature ", j)
		if j < len(columns) {
			name = columns[j]
		}
		s = append(s, weight(name, fmt.Sprint("weight:", j), 2))
	}
	return s
}

// layerSpace has a weight for each layer, and label smoothing.
func layerSpace(l params.Layout) (s space) {
	for _, a := range WeightArrays(l) {
		s = append(s, weight(a.Name, a.Name, 1))
	}
	return append(s, hyperparameter{
		name: "label smoothing", lo: leastSmoothing, hi: mostSmoothing, start: firstSmoothing, axis: 1,
		value: func(x float64) float64 { return 1 / (1 + math.Exp(-x)) },
		setting: func(v float64) (string, string) {
			return "label_smoothing", fmt.Sprintf("%.9g", v)
		},
	})
}

// start is where every search begins.
func (s space) start() []float64 {
	x := make([]float64, len(s))
	for j, h := range s {
		x[j] = h.start
	}
	return x
}

// bounds is the box as a set of x.
func (s space) bounds() problem.Set {
	var b problem.Bounds
	for _, h := range s {
		b.Lo, b.Hi = append(b.Lo, h.lo), append(b.Hi, h.hi)
	}
	return b
}

// table lists the hyperparameters of a point, each with the setting of `bilevel train` that it is.
func (s space) table(x []float64) experiments.Table {
	t := experiments.Table{Name: hyperparameterTable, Columns: []string{"name", "value", "setting", "train"}}
	for j, h := range s {
		v := h.value(x[j])
		name, text := h.setting(v)
		t.Rows = append(t.Rows, []string{h.name, experiments.Number(v), name, text})
	}
	return t
}
