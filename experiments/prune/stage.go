package prune

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"time"

	"bilevel/internal/cputime"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/prune"
)

// Arrays of a checkpoint beside the engine's: what steps before have left.
const (
	// processor seconds of the stage at work, iterations, dense_val_accuracy, share and cosine of the implicit term,
	// seconds and processor seconds by part
	elapsedName = "before: elapsed"
	countsName  = "before: counts"
	solvesName  = "before: solves"
	marksName   = "before: marks"
	filledName  = "before: filled"
	thetaName   = "before: rewind theta"
	stateName   = "before: rewind state"
)

// part is a piece of the way from start values to a trained sparse network, whose time is told by itself.
type part int

const (
	dense part = iota // training of the whole network
	masks             // finding the mask: searches, and all rounds of magnitude pruning but the first
	left              // training of what is left
	parts
)

// spent is what a part has taken, in seconds on the wall and of the processor.
type spent struct{ wall, processor float64 }

// clock begins to measure a part; what it returns ends that.
func (t *task) clock(p part) (end func()) {
	begin, processor := time.Now(), cputime.Seconds()
	return func() { t.spend(p, time.Since(begin).Seconds(), cputime.Seconds()-processor) }
}

func (t *task) spend(p part, wall, processor float64) {
	t.spent[p].wall += wall
	t.spent[p].processor += processor
}

// stage runs an engine from where the task stands, and leaves the task where it ends.
func (t *task) stage(ctx context.Context, name string, p part, n int,
	build func(b *problem.Bound, seed uint64) (*engine.Engine, error)) (err error) {
	resume, checkpoint, every := t.env.Keeper.Stage(name, t.log)
	begun := cputime.Seconds()
	if resume != nil {
		before, err := t.back(resume.Arrays)
		if err != nil {
			return err
		}
		begun -= before
	}
	keep := func(s *engine.Snapshot) { t.keep(s.Arrays, cputime.Seconds()-begun) }
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
		limits.Checkpoint = func(s *engine.Snapshot) error { keep(s); return checkpoint(s) }
	}
	if name == "fine-tune" {
		limits.Every = t.epoch()
		limits.Record = func(p engine.Progress) error { return t.note(ctx, p) }
	}
	out, err := e.Run(ctx, limits)
	if err != nil {
		return errors.Join(err, e.Close(), b.Close())
	}
	keep(out.Last)
	err = t.env.Keeper.Leave(name, out, t.log)
	if out.Status != engine.Cancelled { // else the device may still be busy
		err = errors.Join(err, e.Close(), b.Close())
	}
	if err != nil {
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
	if term, ok := prune.TermOf(a); ok {
		t.term = term
	}
	t.spend(p, out.Seconds, cputime.Seconds()-begun)
	t.counts = t.counts.Plus(out.Counts, 1)
	t.iterations += out.Iterations
	return nil
}

// keep puts what is left of steps before into the arrays of a checkpoint, with the processor time of the stage at work;
// back takes it from there.
func (t *task) keep(a map[string][]float64, processor float64) {
	c, v := t.counts, t.solves
	a[elapsedName] = []float64{processor, float64(t.iterations), t.record.Scalars[denseAccuracy], t.term.Share,
		t.term.Cosine}
	for _, p := range t.spent {
		a[elapsedName] = append(a[elapsedName], p.wall, p.processor)
	}
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

func (t *task) back(a map[string][]float64) (processor float64, err error) {
	e, c, v := a[elapsedName], a[countsName], a[solvesName]
	if len(e) != 5+2*int(parts) || len(c) != 6 || len(v) != 4 || len(a[marksName]) != len(t.marks) ||
		len(a[filledName]) != len(t.filled) {
		return 0, errors.New("the checkpoint is of another version of the program: remove it to begin anew")
	}
	t.iterations = int(e[1])
	if e[2] != 0 {
		t.record.Scalars[denseAccuracy] = e[2]
	}
	for i := range t.spent {
		t.spent[i] = spent{e[5+2*i], e[6+2*i]}
	}
	t.term = prune.Term{Share: e[3], Cosine: e[4]}
	t.counts = problem.Counts{LowerGradients: int64(c[0]), UpperGradients: int64(c[1]), HVP: int64(c[2]),
		JVP: int64(c[3]), Values: int64(c[4]), Samples: int64(c[5])}
	t.solves = prune.Solves{Solves: int(v[0]), NegativeCurvature: int(v[1]), NotConverged: int(v[2]),
		Products: int(v[3])}
	t.marks, t.filled = a[marksName], a[filledName]
	if a[thetaName] != nil {
		t.rewound = [2][]float64{a[thetaName], a[stateName]}
	}
	return e[0], nil
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
