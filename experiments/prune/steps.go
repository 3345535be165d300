package prune

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"time"

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
}

// training is a step that trains the masked network.
func training(name string, epochs int, rate, decay float64) step {
	return step{name, func(ctx context.Context, t *task) error {
		n := t.epoch() * epochs
		return t.stage(ctx, name, n, func(b *problem.Bound, seed uint64) (*engine.Engine, error) {
			return minimize.New(b, prune.Masked{Method: t.sgd(rate, decay)}, n, seed)
		})
	}}
}

// pretraining trains the dense network, unless it was read from a file.
func (t *task) pretraining() step {
	if t.From != "" {
		return step{run: func(context.Context, *task) error { return nil }}
	}
	return training("pretrain", t.PretrainEpochs, t.PretrainStep, t.WeightDecay)
}

func (t *task) finetuning() step {
	return training("fine-tune", t.FinetuneEpochs, t.FinetuneStep, t.WeightDecay)
}

// picking is a step that takes the largest scores.
func picking(k prune.Kept, of func(ctx context.Context, t *task) ([]float64, error)) step {
	return step{run: func(ctx context.Context, t *task) error {
		begin := time.Now()
		scores, err := of(ctx, t)
		if err == nil {
			t.marks, t.mask, err = t.prune.Structure.Pick(t.ex, scores, k)
		}
		if err == nil {
			err = t.fill(ctx, scores)
		}
		t.seconds += time.Since(begin).Seconds()
		t.maskSeconds += time.Since(begin).Seconds()
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
	return step{run: func(ctx context.Context, t *task) error {
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
	search := step{"prune", func(ctx context.Context, t *task) error {
		n, before := t.epoch()*t.PruneEpochs, t.seconds
		err := t.stage(ctx, "prune", n, func(b *problem.Bound, seed uint64) (*engine.Engine, error) {
			return prune.New(ctx, t.search(), t.prune, b, t.kept, n, seed)
		})
		t.maskSeconds += t.seconds - before
		return err
	}}
	after := step{run: func(ctx context.Context, t *task) error {
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
	rewind := step{run: func(_ context.Context, t *task) error {
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
		keep := step{run: func(_ context.Context, t *task) error {
			t.rewound = [2][]float64{slices.Clone(t.theta), slices.Clone(t.state)}
			return nil
		}}
		steps = append(steps, training("rewind point", t.RewindEpochs, t.PretrainStep, t.WeightDecay), keep)
	}
	steps = append(steps, t.pretraining(), noting())
	for i := range plan {
		if i > 0 {
			steps = append(steps, training(fmt.Sprint("round ", i+1), t.PruneEpochs, t.PruneStep, t.PruneDecay))
		}
		steps = append(steps, picking(t.roundKept(plan, i), magnitudes), rewind)
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

// Arrays of a checkpoint beside the engine's: what steps before have left.
const (
	elapsedName = "before: elapsed" // seconds, those for the mask, iterations, dense_val_accuracy
	countsName  = "before: counts"
	solvesName  = "before: solves"
	marksName   = "before: marks"
	filledName  = "before: filled"
	thetaName   = "before: rewind theta"
	stateName   = "before: rewind state"
)

// stage runs an engine from where the task stands, and leaves the task where it ends.
func (t *task) stage(ctx context.Context, name string, n int,
	build func(b *problem.Bound, seed uint64) (*engine.Engine, error)) (err error) {
	resume, checkpoint, every := t.env.Keeper.Stage(name, t.log)
	if resume != nil {
		if err := t.back(resume.Arrays); err != nil {
			return err
		}
	}
	b, err := t.prune.Bind(t.ex, t.theta, t.mask)
	if err != nil {
		return err
	}
	b.State.Flat = t.state
	h := fnv.New64a() // each stage has minibatches of its own
	h.Write([]byte(name))
	e, err := build(b, t.seed^h.Sum64())
	if err != nil {
		return errors.Join(err, b.Close())
	}
	t.env.Begin(name, n)
	limits := engine.Limits{Iterations: n, Progress: t.env.Done, Resume: resume, CheckpointEvery: every}
	if checkpoint != nil {
		limits.Checkpoint = func(s *engine.Snapshot) error { t.keep(s.Arrays); return checkpoint(s) }
	}
	if name == "fine-tune" {
		limits.Every = t.epoch()
		limits.Record = func(p engine.Progress) error { return t.note(ctx, p) }
	}
	out, err := e.Run(ctx, limits)
	if err != nil {
		return errors.Join(err, e.Close(), b.Close())
	}
	if out.Status == engine.Cancelled {
		t.keep(out.Last.Arrays)
		return errors.Join(out.Err(), t.env.Keeper.Save(name, out.Last, t.log))
	}
	if err := errors.Join(out.Err(), e.Close(), b.Close()); err != nil {
		return err
	}
	a := out.Last.Arrays
	t.theta, t.mask = a["y"], a["x"]
	if s := a[engine.StateName]; s != nil {
		t.state = s
	}
	switch {
	case a["marks"] != nil: // of a search on units
		t.marks = a["marks"]
	case !t.Units:
		t.marks = t.mask
	}
	if c := prune.SolvesOf(a); c.Solves > 0 {
		t.solves = c
	}
	t.seconds += out.Seconds
	t.counts = t.counts.Plus(out.Counts, 1)
	t.iterations += out.Iterations
	return nil
}

// keep puts what is left of steps before into the arrays of a checkpoint, and back takes it from there.
func (t *task) keep(a map[string][]float64) {
	c, v := t.counts, t.solves
	a[elapsedName] = []float64{t.seconds, t.maskSeconds, float64(t.iterations), t.record.Scalars[denseAccuracy]}
	a[countsName] = []float64{float64(c.LowerGradients), float64(c.UpperGradients), float64(c.HVP), float64(c.JVP),
		float64(c.Values), float64(c.Samples)}
	a[solvesName] = []float64{float64(v.Solves), float64(v.NegativeCurvature), float64(v.NotConverged),
		float64(v.Products)}
	a[marksName], a[filledName] = t.marks, t.filled
	if t.rewound[0] != nil {
		a[thetaName] = t.rewound[0]
		if len(t.rewound[1]) > 0 {
			a[stateName] = t.rewound[1]
		}
	}
}

func (t *task) back(a map[string][]float64) error {
	e, c, v := a[elapsedName], a[countsName], a[solvesName]
	if len(e) != 4 || len(c) != 6 || len(v) != 4 || len(a[marksName]) != len(t.marks) ||
		len(a[filledName]) != len(t.filled) {
		return errors.New("the checkpoint is of another version of the program: remove it to begin anew")
	}
	t.seconds, t.maskSeconds, t.iterations = e[0], e[1], int(e[2])
	if e[3] != 0 {
		t.record.Scalars[denseAccuracy] = e[3]
	}
	t.counts = problem.Counts{LowerGradients: int64(c[0]), UpperGradients: int64(c[1]), HVP: int64(c[2]),
		JVP: int64(c[3]), Values: int64(c[4]), Samples: int64(c[5])}
	t.solves = prune.Solves{Solves: int(v[0]), NegativeCurvature: int(v[1]), NotConverged: int(v[2]),
		Products: int(v[3])}
	t.marks, t.filled = a[marksName], a[filledName]
	if a[thetaName] != nil {
		t.rewound = [2][]float64{a[thetaName], a[stateName]}
	}
	return nil
}

// denseAccuracy is the scalar of the network before it is pruned.
const denseAccuracy = "dense_val_accuracy"

// note scores the validation rows in the course of the last training.
func (t *task) note(ctx context.Context, p engine.Progress) error {
	if err := t.lookAt(p.Engine); err != nil {
		return err
	}
	v, err := t.val.Run(ctx)
	if err != nil {
		return err
	}
	if loss := v.Mean("loss"); math.IsNaN(loss) || math.IsInf(loss, 0) {
		return fmt.Errorf("the validation loss is %g after iteration %d: use smaller steps", loss, p.Iteration)
	}
	t.env.Say("validation loss %.4g", v.Mean("loss"))
	t.log.Add([]float64{float64(p.Iteration), float64(p.Iteration) / float64(t.epoch()), p.Seconds,
		v.Mean("mistakes"), v.Mean("loss")}, nil)
	return nil
}
