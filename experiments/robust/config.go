// Package robust trains classifiers that keep their answers when inputs are perturbed, by the methods of
// solvers/robust, and says what Fast-BAT's implicit term does.
package robust

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/models"
	adversary "bilevel/solvers/attack"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/robust"
)

// TrainConfig is the settings of one run of training.
type TrainConfig struct {
	Method      string          `json:"method"` // of robust.Methods
	Eps         float64         `json:"eps"`    // radius of the ball, for pixels in [0, 1]
	Model       string          `json:"model"`  // softmax, mlp:300-100 or a network of images, see train.Architecture
	BatchNorm   bool            `json:"batch_norm"`
	Start       models.Start    `json:"start"` // the distribution of start values
	Train       int             `json:"train"` // rows
	Val         int             `json:"val"`
	Epochs      int             `json:"epochs"`
	Batch       int             `json:"batch"`
	LR          float64         `json:"lr"` // learning rate where the schedule's factor is 1
	Momentum    float64         `json:"momentum"`
	WeightDecay float64         `json:"weight_decay"`
	Schedule    engine.Schedule `json:"schedule"`
	White       float64         `json:"white"`        // the value of a white pixel in the data
	Evaluate    string          `json:"evaluate"`     // the rows that the end is judged by: test, or validation
	Examples    int             `json:"n_examples"`   // of them, the first ones
	AttackSteps int             `json:"attack_steps"` // of PGD in the evaluation, each of ε/4
	Restarts    int             `json:"restarts"`
	// Ensemble are attacks, of adversary.Parse, that the first EnsembleExamples of the rows meet together after that
	// evaluation; none by default.
	Ensemble         []string `json:"ensemble,omitempty"`
	EnsembleExamples int      `json:"ensemble_examples"`

	LabelSmoothing float64 `json:"label_smoothing,omitempty"` // see robust.Task.Smoothing
	// WeightAverage is robust.Task.Average: where it is above 0 the averages are what is evaluated and written.
	WeightAverage float64 `json:"weight_average,omitempty"`
	// Certificate is after how many of the epochs, spread evenly, the direction is compared with the certified
	// hypergradient, see certifier; 0: never. It is no part of the time or of the counts.
	Certificate int `json:"certificate,omitempty"`

	Augment string   `json:"augment,omitempty"` // of training images, see train.CropFlip
	From    string   `json:"from,omitempty"`    // a file of a network to start from, see train.ReadNetwork
	Set     []string `json:"set,omitempty"`     // NAME=VALUE of the method's own settings
}

// The rows that a trained model can be judged by. Whoever chooses among settings evaluates validation rows, so that the
// test rows of what is chosen have not been seen.
const (
	TestRows       = "test"
	ValidationRows = "validation"
)

// Defaults gives the settings for a set.
func Defaults(set *data.Dataset) TrainConfig {
	n := set.Train.N()
	c := TrainConfig{
		Method: "fast-at", Eps: 0.1, Model: "mlp:1024-1024", Start: models.PyTorch, Epochs: 6, Batch: 128, LR: 0.3,
		Momentum: 0.9, Schedule: "cyclic", White: train.WhitePixel(set), Evaluate: TestRows, Examples: 1000,
		AttackSteps: 20, Restarts: 2, EnsembleExamples: 200, Train: n,
	}
	if set.Val == nil {
		c.Val = min(5000, n/6)
		c.Train -= c.Val
	} else {
		c.Val = set.Val.N()
	}
	test := n / 6
	if set.Test != nil {
		test = set.Test.N()
	} else {
		c.Train -= test
	}
	c.Examples = min(c.Examples, test)
	c.EnsembleExamples = min(c.EnsembleExamples, test)
	if n < 5000 {
		c.Model, c.Epochs, c.Batch, c.LR = "mlp:128-128", 30, 32, 0.1
	}
	return c
}

// For gives the settings for networks of images: the epochs, the rate and the weight decay of the authors of Fast-BAT,
// and batches that suit the set. For other models they stay as they are.
func (c TrainConfig) For(model string) TrainConfig {
	if models.IsNetwork(model) {
		c.Model, c.Epochs, c.LR, c.WeightDecay = model, 20, 0.2, 5e-4
	}
	return c
}

// value is one of a set's features, counted through all rows.
func value(s *data.Set, i int) float32 {
	if s.Bytes != nil {
		return float32(s.Bytes[i])
	}
	return s.Features[i]
}

// pixels are the first n rows of a set as pixels in [0, 1], of values from 0 to white.
func pixels(s *data.Set, n int, white float64) []float32 {
	list := make([]float32, n*s.Dim)
	for i := range list {
		list[i] = float32(float64(value(s, i)) / white)
	}
	return list
}

// checkPixels refuses data whose values are no pixels from 0 to white.
func checkPixels(set *data.Dataset, white float64) error {
	for _, part := range []struct {
		name string
		of   *data.Set
	}{{"training", set.Train}, {"validation", set.Val}, {"test", set.Test}} {
		if part.of == nil {
			continue
		}
		for i := range part.of.N() * part.of.Dim {
			v := value(part.of, i)
			if !(v >= 0 && float64(v) <= white) {
				return fmt.Errorf("the value %g in row %d of the %s images is no pixel from 0 to %g: attacks work on "+
					"images in [0, 1], so give the value of a white pixel as --white, or shift the data", v,
					i/part.of.Dim, part.name, white)
			}
		}
	}
	return nil
}

// Train is the experiment.
type Train struct{}

func (Train) Name() string { return "robust train" }

func (Train) Cells(config any, seeds []uint64) ([]experiments.Cell, error) {
	c, ok := config.(TrainConfig)
	if !ok {
		return nil, fmt.Errorf("robust train: a configuration of type %T", config)
	}
	if err := c.check(); err != nil {
		return nil, err
	}
	return experiments.SeedCells("robust train", c, seeds), nil
}

// Shorten is experiments.Shortener's.
func (Train) Shorten(config any) any {
	c := config.(TrainConfig)
	c.Epochs = min(c.Epochs, 2)
	c.Certificate = min(c.Certificate, c.Epochs)
	return c
}

// check refuses settings that can never work, before anything is opened.
func (c TrainConfig) check() error {
	switch {
	case !(c.White > 0) || math.IsInf(c.White, 0):
		return fmt.Errorf("white is %g: wants the value of a white pixel, such as 1 or 255", c.White)
	case c.AttackSteps < 1 || c.Restarts < 1 || c.Examples < 1 || c.EnsembleExamples < 1:
		return fmt.Errorf("attack_steps %d, restarts %d, n_examples %d, ensemble_examples %d: wants at least 1 of each",
			c.AttackSteps, c.Restarts, c.Examples, c.EnsembleExamples)
	case c.Evaluate != TestRows && c.Evaluate != ValidationRows:
		return fmt.Errorf("evaluate is %q: wants %s or %s", c.Evaluate, TestRows, ValidationRows)
	}
	if c.Certificate < 0 || c.Certificate > c.Epochs {
		return fmt.Errorf("certificate is %d: wants a number of epochs from 0 to the %d of the training", c.Certificate,
			c.Epochs)
	}
	if _, err := c.ensemble(); err != nil {
		return err
	}
	if err := train.CheckAugment(c.Augment); err != nil {
		return err
	}
	m, err := c.method()
	if err != nil {
		return err
	}
	if free, ok := m.(robust.Free); ok && free.Replays > 1 && c.Augment != train.None && models.IsNetwork(c.Model) {
		return fmt.Errorf("%s goes on with the perturbation of a minibatch that it meets again, whose images must not "+
			"be shifted meanwhile: wants augment %s", c.Method, train.None)
	}
	if _, ok := m.(robust.FastBAT); c.Certificate > 0 && (!ok || c.BatchNorm || models.IsNetwork(c.Model)) {
		return fmt.Errorf("certificate: wants a Fast-BAT, whose direction has an implicit term, and a model without " +
			"batch normalization, softmax or mlp")
	}
	net, err := train.CheckName(c.Model, c.BatchNorm, c.Start)
	if err != nil {
		return err
	}
	t := robust.Task{Model: net, Sampler: problem.Epochs(max(1, c.Batch)), Eps: c.Eps, Optimizer: c.optimizer(),
		Smoothing: c.LabelSmoothing, Average: c.WeightAverage}
	_, unplanned := m.Plan(t)
	return errors.Join(t.Check(), unplanned)
}

// method is the one of the configuration's name with its settings.
func (c TrainConfig) method() (robust.Method, error) {
	entry, err := robust.ByName(c.Method)
	if err != nil {
		return nil, err
	}
	return entry.With(c.Set...)
}

// ensemble are the attacks of the setting of that name.
func (c TrainConfig) ensemble() (all []adversary.Attack, err error) {
	for _, name := range c.Ensemble {
		of, err := adversary.Parse(name)
		if err != nil {
			return nil, fmt.Errorf("ensemble: %w", err)
		}
		all = append(all, of...)
	}
	return all, nil
}

func (c TrainConfig) optimizer() robust.SGD {
	return robust.SGD{Rate: c.LR, Momentum: c.Momentum, WeightDecay: c.WeightDecay, Schedule: c.Schedule}
}

// Methods lists the names of the methods of training, and those of all their own settings.
func Methods() (names, settings []string) {
	for _, e := range robust.Methods() {
		names = append(names, e.Name())
	}
	for _, s := range robust.Settings() {
		settings = append(settings, s.Name)
	}
	return names, settings
}

// MethodLines is a line for each method: its name, where it is from, what a step costs, and its settings; and a line
// for each setting.
func MethodLines() string {
	var lines []string
	for _, e := range robust.Methods() {
		line := fmt.Sprintf("  %-20s %s; a step costs %s", e.Name(), e.Source, e.Passes)
		if fields := e.Fields(); len(fields) > 0 {
			line += "; " + strings.Join(fields, ", ")
		}
		lines = append(lines, line)
	}
	lines = append(lines, "", "Their settings are:", "")
	for _, s := range robust.Settings() {
		lines = append(lines, fmt.Sprintf("  %-20s %s", s.Name, s.About))
	}
	return strings.Join(lines, "\n")
}

// ParseEps reads a radius such as 0.1 or 8/255.
func ParseEps(text string) (float64, error) { return adversary.ParseRadius(text) }

// CheckEps refuses a radius that pixels in [0, 1] cannot have.
func CheckEps(eps float64) error { return robust.CheckEps(eps) }
