package prune

import (
	"bilevel/solvers/engine"
)

// beginning is all that decides what a run has come to after its first steps. Cells of a table in which it is the same
// have these steps in common: all have the pretraining, and rounds of magnitude pruning to one sparsity pass through
// those to the sparsities before.
type beginning struct {
	Common Config  `json:"common"`
	Steps  [][]any `json:"steps"`
}

// beginnings gives what is shared after each step, nil where nothing is.
func (t *task) beginnings(steps []step) []*beginning {
	list := make([]*beginning, len(steps))
	var of [][]any
	for i, s := range steps {
		if s.of == nil {
			break
		}
		if of = append(of, s.of); s.share {
			list[i] = &beginning{t.Config.common(), of[:len(of):len(of)]}
		}
	}
	return list
}

// common is the configuration without what steps say themselves.
func (c Config) common() Config {
	c.Method, c.Keep, c.Scope, c.Strict, c.From, c.Part, c.Rewind, c.RewindEpochs = "", 0, "", false, "", 0, "", 0
	c.PretrainEpochs, c.PruneEpochs, c.FinetuneEpochs = 0, 0, 0
	c.PretrainStep, c.PruneStep, c.FinetuneStep, c.WeightDecay, c.PruneDecay = 0, 0, 0, 0, 0
	c.ScoreStep, c.ScoreSchedule, c.ScoreSign, c.InverseGamma, c.Batches = 0, "", false, 0, 0
	c.LowerSteps, c.CGSteps, c.CGTolerance, c.UpperLoss, c.SkipLatency = 0, 0, 0, "", false
	return c
}

// takeShared puts the run where another cell has left it after the last step that both have in common, and tells how
// many steps that are.
func (t *task) takeShared(list []*beginning) (done int, err error) {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i] == nil {
			continue
		}
		s, err := t.env.Keeper.Shared(list[i])
		if err != nil {
			return 0, err
		}
		if s == nil || len(s.Arrays["x"]) != len(t.mask) || len(s.Arrays["y"]) != len(t.theta) {
			continue
		}
		if _, err := t.back(s.Arrays); err != nil {
			return 0, err
		}
		t.mask, t.theta = s.Arrays["x"], s.Arrays["y"]
		if len(t.state) > 0 {
			t.state = s.Arrays[engine.StateName]
		}
		return i + 1, nil
	}
	return 0, nil
}

// share keeps where the run is for cells that begin with the same steps.
func (t *task) share(b *beginning) error {
	a := map[string][]float64{"x": t.mask, "y": t.theta}
	if len(t.state) > 0 {
		a[engine.StateName] = t.state
	}
	t.keep(a, 0)
	return t.env.Keeper.Share(b, &engine.Snapshot{Arrays: a})
}
