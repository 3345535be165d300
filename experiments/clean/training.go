package clean

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

const (
	rounds     = 5
	startSteps = 2000 // of the training on trusted rows, and of the models to compare with
	momentum   = 0.9
	// leastGiven keeps the prior of a row finite: a probability is clipped to [leastGiven, 1 - leastGiven].
	leastGiven = 0.02
	// attempts is how often a training that diverges is begun again, each time with a quarter of the step.
	attempts = 4
)

// Forms of the weights of training rows.
const (
	formTable = "table" // one upper variable for each pair of a given and a suggested label
	formRows  = "rows"  // one for each row
	formNone  = "none"  // none: self-training
)

// stepFor is a round's step of y: the curvature grows with the number of standardized features.
func (n *net) stepFor() float64 {
	if n.Step > 0 {
		return n.Step
	}
	return min(n.spec.atMost, n.spec.step*n.spec.shrink(float64(n.rows.train.dim)))
}

// startStep is the step of fit.
func (s modelSpec) startStep(dim int) float64 { return s.start * min(1, s.shrink(float64(dim))) }

// iterationsFor is the iterations of a round: every training row is drawn about twice where there are many.
func (n *net) iterationsFor(rows int) int {
	if n.Iterations > 0 {
		return n.Iterations
	}
	return max(n.spec.iterations, 2*rows/n.Batch)
}

// again trains with a step, and with a quarter of it where the parameters stop being finite.
func again(train func(factor float64) error) error {
	factor := 1.0
	for i := 1; ; i++ {
		err := train(factor)
		var bad *engine.NotFiniteError
		if !errors.As(err, &bad) || i == attempts {
			return err
		}
		factor /= 4
	}
}

// lower is a problem without an upper level: the mean over rows of a table plus R.
func (n *net) lower(
	name string, t *table, rows []int32, y0 params.Values, weight func(row *tensor.Node) *tensor.Node,
) *problem.Problem {
	value := func(_, y problem.Vars, b problem.Batch) *tensor.Node {
		row := b.Get("row")
		loss := n.at(y.Flat(), t, row)
		if weight != nil {
			loss = weight(row).Mul(loss)
		}
		return loss.Mean().Add(n.regularizer(y.Flat()))
	}
	return &problem.Problem{
		Name: name,
		Lower: problem.Level{Start: y0, Rows: problem.Rows{"row": problem.Ints(rows)},
			Sampler: problem.WithReplacement(n.Batch), Value: value},
		Upper: problem.Level{Start: params.Vector(0), Value: value},
	}
}

// fit minimizes the mean cross-entropy over rows of a table plus R by stochastic gradients with momentum:
//
//	u ← 0.9 u + ∇,  y ← y - rate (1 - k/steps) u
//
// No two trainings of a model in one run have the same name: results are kept under it.
func (n *net) fit(ctx context.Context, name string, t *table, rows []int32, steps int, seed uint64) ([]float64, error) {
	return n.keep.of(n.spec.name+", "+name, func() ([]float64,
		error) {
		return n.fitted(ctx, name, t, rows, steps, seed)
	})
}

func (n *net) fitted(
	ctx context.Context, name string, t *table, rows []int32, steps int, seed uint64,
) (y []float64, err error) {
	return y, again(func(factor float64) error {
		rate := n.spec.startStep(t.dim) * factor
		b, err := n.lower(name, t, rows, n.start, nil).Bind(n.ex)
		if err != nil {
			return err
		}
		e, err := engine.New(b, engine.Spec{
			Name: name, Seed: seed,
			State: []engine.Array{{Name: "y", Values: n.start.Flat},
				{Name: "u", Values: make([]float64, n.start.Size())}},
			Rates: []engine.Rate{engine.Schedule("linear").Scaled("step", rate, steps)},
			Phases: []engine.Phase{{
				Draws: []engine.Draw{{Of: problem.Lower}},
				Build: func(it *engine.Iteration, s *engine.State) {
					y := s.Get("y")
					u := s.Get("u").Scale(momentum).Add(it.Lower(tensor.Zeros(1), y, it.Batch("lower")).GradY())
					s.Set("u", u)
					s.Set("y", y.Sub(it.Rate("step").Mul(u)))
				},
			}},
		})
		if err != nil {
			return errors.Join(err, b.Close())
		}
		if err = e.Step(ctx, 0, steps); err != nil && ctx.Err() != nil {
			return err // the device may be busy: nothing is freed
		}
		if err == nil {
			y, err = e.Variable("y").Read()
		}
		return errors.Join(wrap(name, err), e.Close(), b.Close())
	})
}

func wrap(name string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", name, err)
}

// rounded is what the rounds leave.
type rounded struct {
	y      []float64
	before []float64 // the model that the last round began with
	x      []float64
	cost   problem.Counts
}

// priors fixes what a round takes from the model at hand: log-odds that the given label is right, and the pair (given,
// suggested).
func (n *net) priors(j *judgement, labels []int32) (prior []float64, pair []int32) {
	prior, pair = make([]float64, len(labels)), make([]int32, len(labels))
	for i, g := range labels {
		p := math.Min(1-leastGiven, math.Max(leastGiven, j.right(i)))
		prior[i], pair[i] = math.Log(p/(1-p)), g*int32(n.classes)+j.label[i]
	}
	return prior, pair
}

// weighing is a run of the rounds.
type weighing struct {
	name, form     string  // no two of a model have both the same: what the rounds leave is kept under them
	labels         []int32 // given ones, of all training rows
	train, trusted []int32 // the rows of the two tables that take part
	start          []float64
	seed           uint64
	// each hears of the model that the rounds begin with, as round 0, and of that after each round; it may be nil.
	each func(round int, y []float64) error
}

// tell is each, where there is one.
func (w *weighing) tell(round int, y []float64) error {
	if w.each == nil {
		return nil
	}
	return w.each(round, y)
}

// run does the rounds. In each, with the model y at hand, p_i the probability that the given label g_i is right (see
// judgement.doubt) clipped to [0.02, 0.98], s_i the model's most probable label, and weights
//
//	table: w_i = sigmoid(log(p_i/(1-p_i)) + x[g_i, s_i]), x from 0
//	rows:  w_i = sigmoid(x_i), x_i from log(p_i/(1-p_i))
//	none:  w_i = p_i
//
// SOBA goes on from y on
//
//	lower:  mean_i w_i(x) CE_i(y) + R(y)        upper:  mean_j CE'_j(y) over trusted rows
func (n *net) run(ctx context.Context, w weighing) (out *rounded, err error) {
	return out, again(func(factor float64) error {
		out, err = n.runOnce(ctx, w, factor)
		return err
	})
}

// upperSize is the number of upper variables of a form and the step of x that suits it.
func (n *net) upperSize(form string) (size int, step float64) {
	switch form {
	case formTable:
		size = n.classes * n.classes
	case formRows:
		size = n.rows.train.n
	default:
		return 1, 0
	}
	if step = 0.1 * float64(size); n.OuterStep > 0 {
		step = n.OuterStep
	}
	return size, step
}

// runOnce does the rounds with step sizes that are multiplied by a factor.
func (n *net) runOnce(ctx context.Context, w weighing, factor float64) (*rounded, error) {
	key := fmt.Sprintf("%s, %s, %s, steps times %g", n.spec.name, w.name, w.form, factor)
	size, outer := n.upperSize(w.form)
	iterations := n.iterationsFor(len(w.train))
	p := n.bilevel(w.form, w.train, w.trusted, n.start.Like(w.start), size)
	b, err := p.Bind(n.ex)
	if err != nil {
		return nil, err
	}
	e, err := n.engine(b, w.form, iterations, n.stepFor()*factor, outer*factor, w.seed)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	out := &rounded{y: w.start, x: make([]float64, size)}
	begin := out.take(n.keep.done, key)
	if begin == 0 {
		err = w.tell(0, out.y)
	}
	for r := begin; r < rounds && err == nil; r++ {
		if err = n.oneRound(ctx, e, w, out, r, iterations); err == nil {
			err = w.tell(r+1, out.y)
		}
		if err == nil {
			err = n.keep.put(out.pieces(key, r+1))
		}
	}
	if err == nil {
		out.cost = e.CountsOf(0, rounds*iterations)
	}
	if err != nil && ctx.Err() != nil {
		return nil, err // the device may be busy: nothing is freed
	}
	return out, errors.Join(wrap("weights "+w.form, err), e.Close(), b.Close())
}

// pieces is what the rounds so far leave, and take reads it back: the number of those rounds.
func (o *rounded) pieces(key string, rounds int) map[string][]float64 {
	return map[string][]float64{key + ": rounds": {float64(rounds)}, key + ": y": o.y, key + ": before": o.before,
		key + ": x": o.x}
}

func (o *rounded) take(from map[string][]float64, key string) (rounds int) {
	if n := from[key+": rounds"]; len(n) == 1 {
		o.y, o.before, o.x, rounds = from[key+": y"], from[key+": before"], from[key+": x"], int(n[0])
	}
	return rounds
}

// oneRound does round r and puts what it leaves into out.
func (n *net) oneRound(ctx context.Context, e *engine.Engine, w weighing, out *rounded, r, iterations int) error {
	j, err := n.look(ctx, out.y, w.labels)
	if err != nil {
		return err
	}
	prior, pair := n.priors(j, w.labels)
	err = errors.Join(n.prior.Write(prior), n.pair.WriteInts(pair), e.Variable("y").Write(out.y))
	if w.form != formNone {
		x := make([]float64, len(out.x))
		if w.form == formRows {
			copy(x, prior)
		}
		err = errors.Join(err, e.Variable("x").Write(x), e.Variable("v").Write(make([]float64, len(out.y))))
	}
	if err != nil {
		return err
	}
	if err := e.Step(ctx, r*iterations, iterations); err != nil {
		return err
	}
	if w.form != formNone {
		if out.x, err = e.Variable("x").Read(); err != nil {
			return err
		}
	}
	out.before = out.y
	out.y, err = e.Variable("y").Read()
	return err
}

// weights are w_i(x) of all training rows in a round that began with a model of that judgement.
func (n *net) weights(form string, j *judgement, labels []int32, x []float64) []float64 {
	prior, pair := n.priors(j, labels)
	w := make([]float64, len(prior))
	for i, z := range prior {
		switch form {
		case formTable:
			z += x[pair[i]]
		case formRows:
			z = x[i]
		}
		w[i] = 1 / (1 + math.Exp(-z))
	}
	return w
}

// bilevel is the problem of the rounds; priors and pairs are read from the device, where each round writes its own.
func (n *net) bilevel(form string, train, trusted []int32, y0 params.Values, size int) *problem.Problem {
	weight := func(x, row *tensor.Node) *tensor.Node {
		switch form {
		case formTable:
			return tensor.Gather(n.prior.Node(), row).Add(tensor.Gather(x, tensor.Gather(n.pair.Node(), row))).Sigmoid()
		case formRows:
			return tensor.Gather(x, row).Sigmoid()
		}
		return tensor.Gather(n.prior.Node(), row).Sigmoid()
	}
	p := &problem.Problem{Name: "hyper-cleaning"}
	p.Lower = problem.Level{
		Start: y0, Rows: problem.Rows{"row": problem.Ints(train)}, Sampler: problem.WithReplacement(n.Batch),
		Value: func(x, y problem.Vars, b problem.Batch) *tensor.Node {
			row := b.Get("row")
			return weight(x.Flat(), row).Mul(n.at(y.Flat(), n.rows.train, row)).Mean().Add(n.regularizer(y.Flat()))
		},
	}
	p.Upper = problem.Level{
		Start: params.Repeat(0,
			size), Rows: problem.Rows{"row": problem.Ints(trusted)}, Sampler: problem.WithReplacement(n.Batch),
		Value: func(_, y problem.Vars, b problem.Batch) *tensor.Node {
			return n.at(y.Flat(), n.rows.trusted, b.Get("row")).Mean()
		},
	}
	return p
}

// engine is SOBA with step sizes that fall within each round; without an upper level, gradient steps of y alone.
func (n *net) engine(
	b *problem.Bound, form string, iterations int, step, outer float64, seed uint64,
) (*engine.Engine, error) {
	falling := func(name string, step float64) engine.Rate {
		return engine.Rate{Name: name,
			At: func(k int) float64 { return step * (1 - float64(k%iterations)/float64(iterations)) }}
	}
	if form == formNone {
		return engine.New(b, engine.Spec{
			Name: "self-training", Seed: seed,
			State: []engine.Array{{Name: "y", Values: b.Lower.Start.Flat}},
			Rates: []engine.Rate{falling("inner", step)},
			Phases: []engine.Phase{{
				Draws: []engine.Draw{{Of: problem.Lower}},
				Build: func(it *engine.Iteration, s *engine.State) {
					y := s.Get("y")
					s.Set("y", y.Sub(it.Rate("inner").Mul(it.Lower(tensor.Zeros(1), y, it.Batch("lower")).GradY())))
				},
			}},
		})
	}
	soba := solvers.SOBA{Step: step, OuterStep: outer, Schedule: "linear"}
	spec, err := soba.Spec(b, solvers.Run{Iterations: iterations})
	if err != nil {
		return nil, err
	}
	spec.Name, spec.Seed, spec.Rates = "soba", seed, []engine.Rate{falling("inner", step), falling("outer", outer)}
	return engine.New(b, spec)
}
