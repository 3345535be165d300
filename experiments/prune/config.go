// Package prune makes a network sparse: it trains a dense network, finds a mask by one of several methods, trains what
// is left, and measures what that costs in accuracy and saves in parameters and time.
package prune

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/internal/nearest"
	"bilevel/models"
	"bilevel/solvers/engine"
	"bilevel/solvers/minimize"
	"bilevel/solvers/prune"
)

// Config is the settings of one run. Numbers that are 0 take the method's own default where it has one.
type Config struct {
	Method string      `json:"method"`
	Keep   float64     `json:"keep"`  // part of the weights, or units, that is kept
	Scope  prune.Scope `json:"scope"` // global or layer
	Units  bool        `json:"units"` // prune whole units: neurons, or channels of convolutions
	Strict bool        `json:"strict"`
	// Exclude are patterns of the names of layers that are not pruned, or none; nil: see excluded.
	Exclude []string `json:"exclude,omitempty"`
	// SkipLatency leaves the latencies of the networks out, which are measured at the end of a run.
	SkipLatency bool `json:"skip_latency,omitempty"`
	// Augment changes training images at random, see train.CropFlip.
	Augment string `json:"augment,omitempty"`

	From      string       `json:"from"` // a model file to prune in place of training one; it says what model it is
	Model     string       `json:"model"`
	BatchNorm bool         `json:"batch_norm"`
	Start     models.Start `json:"start"`
	Val       int          `json:"val"`   // rows for validation; where the set brings some of its own, all of those
	Split     string       `json:"split"` // Drawn or Last
	Batch     int          `json:"batch"`

	Momentum    float64         `json:"momentum"` // of all steps, those on scores among them
	WeightDecay float64         `json:"weight_decay"`
	Schedule    engine.Schedule `json:"schedule"` // of all steps on weights

	PretrainEpochs int     `json:"pretrain_epochs"`
	PretrainStep   float64 `json:"pretrain_step"`
	PruneEpochs    int     `json:"prune_epochs"` // of a search; of each round of imp
	PruneStep      float64 `json:"prune_step"`
	PruneDecay     float64 `json:"prune_decay"` // weight decay while pruning
	FinetuneEpochs int     `json:"finetune_epochs"`
	FinetuneStep   float64 `json:"finetune_step"`

	ScoreStep     float64         `json:"score_step"`
	ScoreSchedule engine.Schedule `json:"score_schedule"`
	ScoreSign     bool            `json:"score_sign"`
	InverseGamma  float64         `json:"inverse_gamma"` // of the implicit term
	Batches       int             `json:"batches"`
	LowerSteps    int             `json:"lower_steps"`
	CGSteps       int             `json:"cg_steps"`
	CGTolerance   float64         `json:"cg_tolerance"`

	Part         float64      `json:"part"` // of what is left that a round of imp removes
	Rewind       prune.Rewind `json:"rewind"`
	RewindEpochs int          `json:"rewind_epochs"`

	// Certificate asks for the direction of BiP beside the certified hypergradient where the search ends.
	Certificate bool `json:"certificate,omitempty"`

	losses
}

// Defaults are the settings that every method has.
func Defaults(set *data.Dataset) Config {
	c := Config{
		Method: prune.RowBiP, Keep: 0.05, Scope: prune.Global, Model: "mlp:300-100", Start: models.He, Batch: 128,
		Momentum: 0.9, WeightDecay: 1e-4, Schedule: "cosine", PretrainEpochs: 5, PretrainStep: 0.05, PruneEpochs: 5,
		ScoreSchedule: "step", Val: set.Train.N() / 6, Split: Drawn,
	}
	if set.Val != nil {
		c.Val = set.Val.N()
	}
	if set.Train.N() < 5000 {
		c.Batch = 32
	}
	return c
}

// For gives the settings for a model: networks of images are trained with the steps and the weight decay of BiP's
// authors in all parts of a run. For other models they stay as they are.
func (c Config) For(model string) Config {
	if c.Model = model; models.IsNetwork(model) {
		c.PretrainStep, c.PruneStep, c.FinetuneStep, c.WeightDecay = 0.1, 0.1, 0.1, 5e-4
	}
	if model == "lenet" { // which has no normalizations
		c.PretrainStep, c.PruneStep, c.FinetuneStep = 0.02, 0.02, 0.02
	}
	return c
}

// method is one way to find a mask: how its settings are completed, and its steps.
type method struct {
	name, about string
	defaults    Config // of the numbers that depend on the method
	searches    bool   // by an iteration on scores
	steps       func(*task) []step
}

// oneShot methods train what is left for as long as others search and train.
var oneShot = Config{FinetuneEpochs: 10, FinetuneStep: 0.1, PruneStep: 0.05}

// searching methods train as long as they search.
var searching = Config{FinetuneEpochs: 5, FinetuneStep: 0.05, PruneStep: 0.05}

// with is c with the settings of a search on scores.
func (c Config) with(pruneStep, scoreStep, inverseGamma, pruneDecay float64) Config {
	c.PruneStep, c.ScoreStep, c.InverseGamma, c.PruneDecay = pruneStep, scoreStep, inverseGamma, pruneDecay
	return c
}

// methods lists them.
func methods() []method {
	list := []method{
		{"dense", "no pruning", oneShot, false, (*task).denseSteps},
		{"random", "a random mask", oneShot, false, (*task).randomSteps},
		{"omp", "one-shot magnitude pruning", oneShot, false, (*task).magnitudeSteps},
		{"imp", "iterative magnitude pruning with rewinding", searching, false, (*task).roundSteps},
		{"snip", "sensitivity at the start values, before any training", oneShot, false, (*task).snipSteps},
		{"hydra", "learned scores of frozen weights", searching.with(0.05, 0.1, 0, 0), true, (*task).searchSteps},
		{"gradual", "gradual magnitude pruning by the cubic schedule", searching, true, (*task).searchSteps},
	}
	own := map[string]Config{
		prune.RowBiP:        searching.with(0.1, 2, 1000, 1e-3),
		prune.RowNoImplicit: searching.with(0.1, 2, 0, 0),
		prune.RowOfficial:   searching.with(0.1, 0.1, 1e-4, 0),
		prune.RowUnrolled:   searching.with(0.1, 2, 0, 0),
		prune.RowExact:      searching.with(0.1, 2, 1000, 1e-3),
	}
	for _, row := range prune.Rows() {
		list = append(list, method{row.Name, row.About, own[row.Name], true, (*task).searchSteps})
	}
	return list
}

// Methods lists the names of the methods.
func Methods() (names []string) {
	for _, m := range methods() {
		names = append(names, m.name)
	}
	return names
}

// settled is the configuration with the method's own defaults, checked.
func (c Config) settled() (Config, method, error) {
	i := slices.IndexFunc(methods(), func(m method) bool { return m.name == c.Method })
	if i < 0 {
		return c, method{}, fmt.Errorf("unknown method %q (there are %s)%s", c.Method, strings.Join(Methods(), ", "),
			nearest.Hint(c.Method, Methods()))
	}
	m := methods()[i]
	d := m.defaults
	c.PruneStep = cmp.Or(c.PruneStep, d.PruneStep)
	if c.Method == prune.RowOfficial { // which has one rate for both
		d.ScoreStep = c.PruneStep
	}
	c.ScoreStep = cmp.Or(c.ScoreStep, d.ScoreStep)
	c.InverseGamma = cmp.Or(c.InverseGamma, d.InverseGamma)
	c.PruneDecay = cmp.Or(c.PruneDecay, d.PruneDecay, c.WeightDecay)
	c.FinetuneEpochs = cmp.Or(c.FinetuneEpochs, d.FinetuneEpochs)
	c.FinetuneStep = cmp.Or(c.FinetuneStep, d.FinetuneStep)
	if c.Method == "dense" {
		c.Keep = 1
	}
	for _, n := range []struct {
		name  string
		value int
	}{
		{"pretrain_epochs", c.PretrainEpochs}, {"prune_epochs", c.PruneEpochs}, {"finetune_epochs", c.FinetuneEpochs},
		{"val", c.Val}, {"batch", c.Batch},
	} {
		if n.value < 1 {
			return c, m, fmt.Errorf("%s is %d: wants at least 1", n.name, n.value)
		}
	}
	if !(c.Keep > 0 && c.Keep <= 1) {
		return c, m, fmt.Errorf("keep is %g: wants the part that is kept, above 0 and at most 1", c.Keep)
	}
	if c.Scope != prune.Global && c.Scope != prune.Layer {
		return c, m, fmt.Errorf("scope is %q: wants %s or %s", c.Scope, prune.Global, prune.Layer)
	}
	if c.Split != Drawn && c.Split != Last {
		return c, m, fmt.Errorf("split is %q: wants %s or %s", c.Split, Drawn, Last)
	}
	if !(c.Momentum >= 0 && c.Momentum < 1) {
		return c, m, fmt.Errorf("momentum is %g: wants a number from 0 to below 1", c.Momentum)
	}
	if m.searches {
		if err := c.search().Check(); err != nil {
			return c, m, err
		}
		if c.Units && c.Method == prune.RowOfficial {
			return c, m, fmt.Errorf("units: the scores of %s are the weights: it prunes single weights", c.Method)
		}
	}
	if _, ok := c.search().(prune.BiP); c.Certificate && (!m.searches || !ok || c.Method == prune.RowUnrolled ||
		c.Units || c.BatchNorm) {
		return c, m, fmt.Errorf("certificate: wants a form of BiP other than %s, which prunes single weights of a "+
			"network without batch normalization", prune.RowUnrolled)
	}
	type number struct {
		name  string
		value float64
	}
	for _, step := range []number{{"pretrain_step", c.PretrainStep}, {"prune_step", c.PruneStep},
		{"finetune_step", c.FinetuneStep}} {
		if !(step.value > 0) || math.IsInf(step.value, 0) {
			return c, m, fmt.Errorf("%s is %g: wants a positive, finite number", step.name, step.value)
		}
	}
	for _, decay := range []number{{"weight_decay", c.WeightDecay}, {"prune_decay", c.PruneDecay}} {
		if !(decay.value >= 0) || math.IsInf(decay.value, 0) {
			return c, m, fmt.Errorf("%s is %g: wants a finite number from 0 on", decay.name, decay.value)
		}
	}
	if err := c.Schedule.Check(); err != nil {
		return c, m, err
	}
	if c.From != "" && (c.Method == "snip" || c.Method == "imp" && c.Rewind != prune.None) {
		return c, m, fmt.Errorf("from: %s begins with the start values of a network that is not trained yet; leave "+
			"from out, or take imp with rewind none", c.Method)
	}
	if _, err := c.rounds().Plan(1, 1); err != nil {
		return c, m, err
	}
	if err := c.losses.check(); err != nil {
		return c, m, err
	}
	if err := train.CheckAugment(c.Augment); err != nil {
		return c, m, err
	}
	net, err := train.CheckName(c.Model, c.BatchNorm, c.Start)
	if err == nil && c.From == "" {
		err = c.checkExclude(net.Params())
	}
	return c, m, err
}

// Shorten is experiments.Shortener's.
func (Experiment) Shorten(config any) any {
	c := config.(Config)
	for _, epochs := range []*int{&c.PretrainEpochs, &c.PruneEpochs, &c.FinetuneEpochs, &c.RewindEpochs} {
		*epochs = min(*epochs, 2)
	}
	return c
}

func (c Config) rounds() prune.Rounds {
	return prune.Rounds{Part: c.Part, Rewind: c.Rewind, Epochs: c.RewindEpochs}
}

// sgd trains weights.
func (c Config) sgd(step, decay float64) minimize.Method {
	return minimize.SGD{Step: step, Momentum: c.Momentum, WeightDecay: decay, Schedule: c.Schedule}
}

// search is the method's iteration.
func (c Config) search() prune.Search {
	switch c.Method {
	case "hydra":
		return prune.HYDRA{Step: c.ScoreStep, Momentum: c.Momentum, Schedule: c.Schedule}
	case "gradual":
		return prune.Gradual{Method: c.sgd(c.PruneStep, c.PruneDecay), Until: 0.8}
	}
	return prune.BiP{
		Row: c.Method, WeightStep: c.PruneStep, WeightMomentum: c.Momentum, WeightSchedule: c.Schedule,
		WeightDecay: c.PruneDecay, ScoreStep: c.ScoreStep, ScoreMomentum: c.Momentum, ScoreSchedule: c.ScoreSchedule,
		ScoreSign: c.ScoreSign, InverseGamma: c.InverseGamma, Batches: c.Batches, LowerSteps: c.LowerSteps,
		CGSteps: c.CGSteps, CGTolerance: c.CGTolerance,
	}
}

// Experiment prunes.
type Experiment struct{}

func (Experiment) Name() string { return "prune" }

func (Experiment) Cells(config any, seeds []uint64) ([]experiments.Cell, error) {
	c, ok := config.(Config)
	if !ok {
		return nil, fmt.Errorf("prune: a configuration of type %T", config)
	}
	c, _, err := c.settled()
	return experiments.SeedCells("prune", c, seeds), err
}

// Report is what `bilevel prune run` shows.
func (Experiment) Report() experiments.Report {
	return experiments.Report{
		Before: []string{"structure"},
		Rows: []experiments.Row{
			{Title: "test accuracy", Scalar: "test_accuracy", Percent: true},
			{Title: "validation accuracy", Scalar: "val_accuracy", Percent: true},
			{Title: "dense validation accuracy", Scalar: "dense_val_accuracy", Percent: true},
			{Title: "kept", Scalar: "kept", Percent: true},
			{Title: "share of the implicit term", Scalar: "implicit.share", Percent: true},
			{Title: "parameters left", Scalar: "parameters", Whole: true},
			{Title: "multiply-adds left", Scalar: "multiply_adds", Whole: true},
			{Title: "seconds in all", Scalar: "seconds"},
			{Title: "  of them for the mask", Scalar: "mask_seconds"},
			{Title: "latency, batch 64 (ms): dense", Scalar: "latency.dense_64"},
			{Title: "  masked", Scalar: "latency.masked_64"},
			{Title: "  compacted", Scalar: "latency.compacted_64"},
			{Title: "  without zeros", Scalar: "latency.sparse_64"},
			{Title: "latency, batch 1 (ms): dense", Scalar: "latency.dense_1"},
			{Title: "  masked", Scalar: "latency.masked_1"},
			{Title: "  compacted", Scalar: "latency.compacted_1"},
			{Title: "  without zeros", Scalar: "latency.sparse_1"},
		},
		After: []string{"break_even"},
		Plots: []experiments.Plot{{
			File: "error-epochs", X: "epoch of fine-tuning", Y: "validation error (%)", Over: "epoch",
			ScaleToPercent: true, Lines: []experiments.Line{{Name: "validation", Column: "val_error"}},
		}},
	}
}
