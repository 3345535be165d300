package robust

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Names of a run's state beside engine.StateName.
const (
	Parameters = "x"
	Averages   = "average" // of the parameters and the running statistics, one after the other; see Task.Average
	momentum   = "momentum"
	metrics    = "metrics"
)

// Training is a compiled run. Its engine does the iterations; Close frees it.
type Training struct {
	*engine.Engine
	bound *problem.Bound
}

// Metrics are means over the iterations of an epoch so far, over minibatches as training met them.
type Metrics struct {
	Loss     float64 // of the training objective
	Accuracy float64 // on the perturbed images
	Inside   float64 // share of the coordinates of δ that lie strictly inside C
	Implicit float64 // |implicit term| / |∇θ of the training objective|; 0 for methods without such a term
}

// numMetrics is how many numbers Metrics sums, beside the count of iterations.
const numMetrics = 4

// New compiles a run of n iterations of a method, epochs of each iterations, on an executor where the task's rows may
// be already. Its error is a task or a setting that can never work.
func New(ex *tensor.Executor, t Task, m Method, n, each int, seed uint64) (*Training, error) {
	if err := t.Check(); err != nil {
		return nil, err
	}
	plan, err := m.Plan(t)
	if err != nil {
		return nil, err
	}
	if plan.Attack == nil {
		plan.Attack = crossEntropy
	}
	if plan.Training == nil {
		plan.Training = crossEntropy
	}
	if plan.Replays > 1 {
		t.Sampler = replayed{t.Sampler, uint64(plan.Replays)}
	}
	settings, err := json.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name(), err)
	}
	b, err := t.Problem(plan.Attack, plan.Training).Bind(ex)
	if err != nil {
		return nil, err
	}
	spec := engine.Spec{
		Name: m.Name(), Seed: seed, Settings: settings,
		State: append([]engine.Array{{Name: Parameters, Values: t.Start.Flat},
			{Name: metrics, Values: make([]float64, 1+numMetrics), Unwatched: true}}, plan.State...),
		Rates: []engine.Rate{t.Optimizer.Schedule.Scaled("rate", t.Optimizer.Rate, n),
			{Name: "same epoch", At: func(k int) float64 {
				if k%each == 0 {
					return 0
				}
				return 1
			}}},
		Phases: []engine.Phase{{
			Name: m.Name(), Draws: []engine.Draw{{Of: problem.Lower}},
			Build: func(it *engine.Iteration, s *engine.State) {
				theta := s.Get(Parameters)
				r := &Round{Iteration: it, State: s, Theta: theta, Batch: it.Batch(problem.Lower.String()), task: t}
				step := plan.Step(r)
				s.Set(Parameters, theta.Sub(it.Rate("rate").Mul(t.Optimizer.move(s, theta, step.Direction))))
				s.Set(metrics, s.Get(metrics).Mul(it.Rate("same epoch")).Add(r.measure(step)))
				t.average(s)
			},
		}},
	}
	if t.Optimizer.Momentum > 0 { // what goes wrong there is in the parameters one iteration later
		spec.State = append(spec.State,
			engine.Array{Name: momentum, Values: make([]float64, t.Start.Size()), Unwatched: true})
	}
	if t.Average > 0 {
		spec.State = append(spec.State, engine.Array{Name: Averages, Unwatched: true,
			Values: append(slices.Clone(t.Start.Flat), t.State.Flat...)})
	}
	e, err := engine.New(b, spec)
	if err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return &Training{e, b}, nil
}

// move is what the parameters go down by, divided by the rate.
func (o SGD) move(s *engine.State, theta, direction *tensor.Node) *tensor.Node {
	if o.WeightDecay > 0 {
		direction = direction.Add(theta.Scale(o.WeightDecay))
	}
	if o.Momentum > 0 {
		direction = s.Get(momentum).Scale(o.Momentum).Add(direction)
		s.Set(momentum, direction)
	}
	return direction
}

// average moves the mean over the iterations to what the parameters and the running statistics become.
func (t Task) average(s *engine.State) {
	if t.Average == 0 {
		return
	}
	now := s.Next(Parameters)
	if t.State.Size() > 0 {
		now = tensor.Concat(0, now, s.Next(engine.StateName))
	}
	s.Set(Averages, s.Get(Averages).Scale(t.Average).Add(now.Scale(1-t.Average)))
}

// measure is 1 and the metrics of an iteration.
func (r *Round) measure(step Step) *tensor.Node {
	labels := r.Batch.Get(Labels)
	share := tensor.Const(0)
	if step.Implicit != nil {
		gradient := step.Direction.Sub(step.Implicit)
		share = step.Implicit.Norm().Div(gradient.Norm().Max(tensor.Const(1e-30)))
	}
	var all []*tensor.Node
	for _, n := range []*tensor.Node{tensor.Const(1), step.Loss,
		r.Logits(step.Delta, step.Mode).ArgMax().Eq(labels).Mean(), r.Inside(step.Delta, 0).Mean(), share} {
		all = append(all, n.Reshape(1))
	}
	return tensor.Concat(0, all...)
}

// Metrics reads what has been measured in the present epoch; it is zero before the first iteration.
func (t *Training) Metrics() (m Metrics, err error) {
	v, err := t.Variable(metrics).Read()
	if err != nil || v[0] == 0 {
		return m, err
	}
	for i, to := range []*float64{&m.Loss, &m.Accuracy, &m.Inside, &m.Implicit} {
		*to = v[1+i] / v[0]
	}
	return m, nil
}

// Close frees the programs, the state and the uploaded rows.
func (t *Training) Close() error { return errors.Join(t.Engine.Close(), t.bound.Close()) }

// replayed is a sampler each of whose minibatches comes several times in a row.
type replayed struct {
	problem.Sampler
	times uint64
}

func (s replayed) Fill(dst []int32, from problem.Source, first uint64) error {
	size := s.Size()
	for ; len(dst) > 0; dst, first = dst[size:], first+1 {
		if err := s.Sampler.Fill(dst[:size], from, first/s.times); err != nil {
			return err
		}
	}
	return nil
}
