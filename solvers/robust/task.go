package robust

import (
	"fmt"
	"math"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Names of the rows of a task.
const (
	Features = "features" // [n, …], with values in [0, 1] where Task.Images is nil
	Labels   = "label"    // [n]
)

// Task is a classifier that is to be trained.
type Task struct {
	Name         string
	Model        models.Model
	Start, State params.Values // of the model, as Model.Init gives them or as they were trained before
	Rows         problem.Rows  // Features and Labels
	// Images builds the images x [B, …] of a batch, with values in [0, 1], from its rows: numbers of bytes, or images
	// that are shifted at random. Every pass asks for them, and a batch must always have the same. nil: Features.
	Images    func(b problem.Batch) *tensor.Node
	Sampler   problem.Sampler // of minibatches
	Eps       float64         // ε, the largest change of a pixel
	Optimizer SGD
	// Smoothing is s of label smoothing (Szegedy, Vanhoucke, Ioffe, Shlens, Wojna, CVPR 2016): every cross-entropy is
	// that of the class probabilities (1 - s) onehot(label) + s/c.
	Smoothing float64
	// Average is τ of a mean of the parameters and the running statistics over the iterations, a₊ = τ a + (1 - τ) θ₊
	// with a = θ at the start, which New keeps under the name Averages and training does not look at; 0: none.
	Average float64
}

// SGD is stochastic gradient descent with momentum (see minimize.SGD): for the direction d of a method,
//
//	m₊ = μ m + d + λ θ,   θ₊ = θ - α_k m₊
type SGD struct {
	Rate        float64 // α, times the factor of the schedule
	Momentum    float64 // μ
	WeightDecay float64 // λ
	Schedule    engine.Schedule
}

// Check refuses settings that can never work; its error names the setting.
func (t Task) Check() error {
	o := t.Optimizer
	switch {
	case t.Model == nil || t.Sampler == nil:
		return fmt.Errorf("robust training wants a model and a sampler of minibatches")
	case !(o.Rate > 0) || math.IsInf(o.Rate, 0):
		return fmt.Errorf("the learning rate is %g: wants a positive, finite number", o.Rate)
	case !(o.Momentum >= 0 && o.Momentum < 1):
		return fmt.Errorf("the momentum is %g: wants a number from 0 to below 1", o.Momentum)
	case !(o.WeightDecay >= 0) || math.IsInf(o.WeightDecay, 0):
		return fmt.Errorf("the weight decay is %g: wants a finite number from 0 on", o.WeightDecay)
	case !(t.Smoothing >= 0 && t.Smoothing < 1):
		return fmt.Errorf("the label smoothing is %g: wants a number from 0 to below 1", t.Smoothing)
	case !(t.Average >= 0 && t.Average < 1):
		return fmt.Errorf("the factor of the averages is %g: wants a number from 0 to below 1", t.Average)
	}
	if err := CheckEps(t.Eps); err != nil {
		return err
	}
	return o.Schedule.Check()
}

// CheckEps refuses a radius that pixels in [0, 1] cannot have.
func CheckEps(eps float64) error {
	switch {
	case eps >= 0 && eps <= 1:
		return nil
	case eps > 1 && eps <= 255:
		return fmt.Errorf("eps is %g, but pixels are in [0, 1]: did you mean %g/255, which is %.6g?", eps, eps, eps/255)
	}
	return fmt.Errorf("eps is %g: wants a number from 0 to 1", eps)
}

// Objective is a number for each row of a batch, [B], from the logits at x and at x + δ.
type Objective func(v *View) *tensor.Node

// View is what an Objective sees. Each call of Clean and Perturbed is a pass that may move running statistics, in the
// order of the calls; equal passes are computed once.
type View struct {
	Labels *tensor.Node // Int [B]

	model           models.Model
	theta, x, delta *tensor.Node
	state           *tensor.Node // running statistics, as the last pass left them; nil without
	mode            params.Mode
	smoothing       float64
}

// Clean is the logits [B, c] at x, Perturbed those at x + δ.
func (v *View) Clean() *tensor.Node     { return v.pass(v.x) }
func (v *View) Perturbed() *tensor.Node { return v.pass(v.x.Add(v.delta)) }

func (v *View) pass(at *tensor.Node) (logits *tensor.Node) {
	logits, v.state = v.model.Apply(v.theta, v.state, at, v.mode)
	return logits
}

// CrossEntropy is that of logits under the task's labels, smoothed where the task says so.
func (v *View) CrossEntropy(logits *tensor.Node) *tensor.Node {
	each := tensor.CrossEntropy(logits, v.Labels)
	if v.smoothing == 0 {
		return each
	}
	uniform := logits.LogSoftmax().Mean(1).Neg() // the cross-entropy of all classes alike
	return each.Scale(1 - v.smoothing).Add(uniform.Scale(v.smoothing))
}

// crossEntropy is the objective of most methods on both levels: CE(θ, x + δ).
func crossEntropy(v *View) *tensor.Node { return v.CrossEntropy(v.Perturbed()) }

// divergence is KL(p(x) ‖ p(x + δ)) of the model's class probabilities, the attack of TRADES.
func divergence(v *View) *tensor.Node {
	clean := v.Clean()
	return kullbackLeibler(clean, v.Perturbed())
}

// kullbackLeibler is Σ_j p_j (log p_j - log q_j) for each row, p and q the softmax of logits [B, c].
func kullbackLeibler(p, q *tensor.Node) *tensor.Node {
	logP := p.LogSoftmax()
	return p.Softmax().Mul(logP.Sub(q.LogSoftmax())).Sum(1)
}

// Problem is the bi-level problem of a task under the objectives of a method: x is θ, the lower variable is the
// perturbation δ of a batch, which starts uniformly in the ball. The lower level minimizes minus the attack's
// objective, summed over the batch, so that the perturbation of one row does not depend on how many there are; the
// upper one minimizes the mean of the training objective.
func (t Task) Problem(attack, training Objective) *problem.Problem {
	level := func(of Objective, reduce func(each *tensor.Node) *tensor.Node) problem.Objective {
		return func(x, y problem.Vars, b problem.Batch, p problem.Pass) problem.Loss {
			v := &View{Labels: b.Get(Labels), model: t.Model, theta: x.Flat(), x: t.images(b), delta: y.Flat(),
				state: p.State.Flat(), mode: p.Mode, smoothing: t.Smoothing}
			each := of(v)
			loss := problem.Loss{Value: reduce(each)}
			if p.Mode == params.Train {
				loss.State = v.state
			}
			return loss
		}
	}
	return &problem.Problem{
		Name: t.Name, State: t.State,
		Lower: problem.Level{
			Rows: t.Rows, Sampler: t.Sampler,
			Loss: level(attack, func(each *tensor.Node) *tensor.Node { return each.Sum().Neg() }),
			Set:  problem.BatchBox{Of: t.bounds},
		},
		Upper: problem.Level{
			Start: t.Start,
			Loss:  level(training, func(each *tensor.Node) *tensor.Node { return each.Mean() }),
		},
		PerBatch: &problem.PerBatch{
			Size: func(rows int) int { return rows * t.inputs() },
			Start: func(_ problem.Vars, b problem.Batch, r *problem.Random) *tensor.Node {
				return Uniform(r, t.Eps, t.images(b).Shape()...)
			},
		},
	}
}

// images are those of a batch.
func (t Task) images(b problem.Batch) *tensor.Node {
	if t.Images != nil {
		return t.Images(b)
	}
	return b.Get(Features)
}

// inputs is the number of values of a row.
func (t Task) inputs() int {
	n := 1
	for _, d := range t.Rows[Features].Row() {
		n *= d
	}
	return n
}

// bounds are those of C for a batch.
func (t Task) bounds(b problem.Batch) (lo, hi *tensor.Node) { return Bounds(t.images(b), t.Eps) }

// Bounds are those of C for images x: max(-ε, -x) and min(ε, 1 - x).
func Bounds(x *tensor.Node, eps float64) (lo, hi *tensor.Node) {
	return x.Neg().Max(tensor.Const(-eps)), tensor.Const(1).Sub(x).Min(tensor.Const(eps))
}

// Uniform draws numbers between -radius and radius.
func Uniform(r *problem.Random, radius float64, shape ...int) *tensor.Node {
	return r.Uniform(shape...).Scale(2 * radius).AddConst(-radius)
}
