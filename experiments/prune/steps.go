package prune

import (
	"context"
	"fmt"
	"math"
	"slices"

	"bilevel/solvers/engine"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/prune"
)

// step is one piece of a run. Pieces with a name are run by the engine, and a checkpoint may lie in them; it holds all
// that comes out of those before.
type step struct {
	name string
	run  func(ctx context.Context, t *task) error
	// of is all that decides what the step does, beside what the steps before have left and the settings that all of
	// them have; nil where that is not said, and neither it nor what comes after can be shared.
	of []any
	// share says that what the run has come to after this step is kept for other cells that begin with the same steps.
	share bool
}

// shared is the step as one that others may have done.
func (s step) shared() step { s.share = true; return s }

// training is a step that trains the masked network.
func training(name string, p part, epochs int, rate, decay float64) step {
	return step{
		name: name, of: []any{name, epochs, rate, decay},
		run: func(ctx context.Context, t *task) error {
			n := t.epoch() * epochs
			return t.stage(ctx, name, p, n, func(b *problem.Bound, seed uint64) (*engine.Engine, error) {
				return minimize.New(b, prune.Masked{Method: t.sgd(rate, decay)}, n, seed)
			})
		},
	}
}

// pretraining trains the dense network, unless it was read from a file.
func (t *task) pretraining() step {
	if t.From != "" {
		return step{of: []any{t.From}, run: func(context.Context, *task) error { return nil }}
	}
	return training("pretrain", dense, t.PretrainEpochs, t.PretrainStep, t.WeightDecay).shared()
}

func (t *task) finetuning() step {
	return training("fine-tune", left, t.FinetuneEpochs, t.FinetuneStep, t.WeightDecay)
}

// picking is a step that takes the largest scores.
func picking(k prune.Kept, of func(ctx context.Context, t *task) ([]float64, error)) step {
	return step{run: func(ctx context.Context, t *task) error {
		defer t.clock(masks)()
		scores, err := of(ctx, t)
		if err == nil {
			t.marks, t.mask, err = t.prune.Structure.Pick(t.ex, scores, k)
		}
		if err == nil {
			err = t.fill(ctx, scores)
		}
		return err
	}}
}

// fill gives layers that lost everything their element with the largest weight back, or refuses them.
func (t *task) fill(ctx context.Context, scores []float64) (err error) {
	weights, err := prune.Magnitude(ctx, t.ex, t.prune.Structure, t.theta) // scores of masked weights may all be 0
	if err != nil {
		return err
	}
	for i, m := range t.marks {
		if m != 0 {
			weights[i] = scores[i]
		}
	}
	layers := t.prune.Structure.Fill(t.marks, weights)
	if len(layers) == 0 {
		return nil
	}
	if t.Strict {
		return fmt.Errorf("the layers %v would lose all their elements: keep more, or take scope layer", layers)
	}
	for i, a := range t.prune.Structure.Ranked {
		if slices.Contains(layers, a.Name) {
			t.filled[i] = 1
		}
	}
	t.mask, err = t.prune.Structure.Of(t.ex, t.marks)
	return err
}

// noting is a step that notes the validation accuracy before anything is pruned.
func noting() step {
	return step{of: []any{"note"}, run: func(ctx context.Context, t *task) error {
		if err := t.look(); err != nil {
			return err
		}
		v, err := t.val.Run(ctx)
		if err == nil {
			t.record.Scalars[denseAccuracy] = 1 - v.Mean("mistakes")
		}
		return err
	}}
}

func (t *task) denseSteps() []step { return []step{t.pretraining(), t.finetuning()} }

func (t *task) randomSteps() []step {
	return []step{t.pretraining(), noting(), picking(t.kept, func(_ context.Context, t *task) ([]float64, error) {
		return prune.Random(t.prune.Structure, t.seed), nil
	}), t.finetuning()}
}

func magnitudes(ctx context.Context, t *task) ([]float64, error) {
	return prune.Magnitude(ctx, t.ex, t.prune.Structure, times(t.mask, t.theta))
}

func (t *task) magnitudeSteps() []step {
	return []step{t.pretraining(), noting(), picking(t.kept, magnitudes), t.finetuning()}
}

// snipSteps prune the start values.
func (t *task) snipSteps() []step {
	return []step{picking(t.kept, func(ctx context.Context, t *task) ([]float64, error) {
		b, err := t.prune.Bind(t.ex, t.theta, t.mask)
		if err != nil {
			return nil, err
		}
		defer b.Close()
		rows := make([]int32, t.Batch)
		from := problem.Source{Seed: t.seed, Stream: snipStream, Rows: t.parts[0].N()}
		if err := t.prune.Lower.Sampler.Fill(rows, from, 0); err != nil {
			return nil, err
		}
		return prune.SNIP(ctx, t.prune, b, t.theta, rows)
	}), t.finetuning()}
}

// snipStream keeps the minibatch of SNIP apart from others.
const snipStream = 0x736e6970

// searchSteps run an iteration that finds the mask.
func (t *task) searchSteps() []step {
	search := step{name: "prune", run: func(ctx context.Context, t *task) error {
		n := t.epoch() * t.PruneEpochs
		return t.stage(ctx, "prune", masks, n, func(b *problem.Bound, seed uint64) (*engine.Engine, error) {
			return prune.New(ctx, t.search(), t.prune, b, t.kept, n, seed)
		})
	}}
	after := step{run: func(ctx context.Context, t *task) error {
		if t.Certificate {
			if err := t.certify(ctx); err != nil {
				return err
			}
		}
		scores, err := magnitudes(ctx, t)
		if err != nil {
			return err
		}
		return t.fill(ctx, scores)
	}}
	return []step{t.pretraining(), noting(), search, after, t.finetuning()}
}

// roundSteps are iterative magnitude pruning: the first round is the pretraining.
func (t *task) roundSteps() []step {
	r := t.rounds()
	plan, err := r.Plan(t.prune.Structure.Count(), sum(t.kept))
	if err != nil {
		return []step{{run: func(context.Context, *task) error { return err }}}
	}
	rewind := step{of: []any{"rewind", r.Rewind}, run: func(_ context.Context, t *task) error {
		switch {
		case r.Rewind == prune.None:
		case t.rewound[0] != nil:
			t.theta, t.state = t.rewound[0], t.rewound[1]
		default:
			t.theta, t.state = t.start[0].Flat, t.start[1].Flat
		}
		return nil
	}}
	steps := []step{}
	if r.Rewind == prune.ToEpoch {
		keep := step{of: []any{"keep"}, run: func(_ context.Context, t *task) error {
			t.rewound = [2][]float64{slices.Clone(t.theta), slices.Clone(t.state)}
			return nil
		}}
		steps = append(steps, training("rewind point", dense, t.RewindEpochs, t.PretrainStep, t.WeightDecay),
			keep)
	}
	steps = append(steps, t.pretraining(), noting())
	for i := range plan {
		if i > 0 {
			name := fmt.Sprint("round ", i+1)
			steps = append(steps, training(name, masks, t.PruneEpochs, t.PruneStep, t.PruneDecay).shared())
		}
		pick := picking(t.roundKept(plan, i), magnitudes)
		pick.of = []any{"pick", t.roundKept(plan, i), t.Strict}
		steps = append(steps, pick, rewind)
	}
	return append(steps, t.finetuning())
}

// roundKept is the numbers of a round: in all, or for each layer in proportion; the last ones are exact.
func (t *task) roundKept(plan []int, i int) prune.Kept {
	if len(t.kept) == 1 || i == len(plan)-1 {
		if i == len(plan)-1 {
			return t.kept
		}
		return prune.Kept{plan[i]}
	}
	var k prune.Kept
	for j, a := range t.prune.Structure.Ranked {
		part := float64(plan[i]) / float64(t.prune.Structure.Count())
		k = append(k, max(t.kept[j], int(math.Round(part*float64(a.Size())))))
	}
	return k
}

func sum(k prune.Kept) (n int) {
	for _, v := range k {
		n += v
	}
	return n
}

func times(m, theta []float64) []float64 {
	z := make([]float64, len(m))
	for i := range z {
		if m[i] != 0 { // so that masked weights are 0 and never -0
			z[i] = m[i] * theta[i]
		}
	}
	return z
}
