package robust

import (
	"fmt"
	"math"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/internal/settings"
	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Method is a way to train: a plain struct whose fields are its settings.
type Method interface {
	Name() string
	// Plan is what the method adds to the frame that all have in common. Its error is a setting that can never work,
	// and names the field.
	Plan(t Task) (Plan, error)
}

// Plan is a method for a task.
type Plan struct {
	Attack, Training Objective // of the lower and the upper level; nil: cross-entropy at x + δ
	// Replays is how many iterations in a row take the same minibatch; 0 means 1.
	Replays int
	State   []engine.Array // beside the parameters, their momentum and the metrics
	Step    func(r *Round) Step
}

// Step is what a method makes of one minibatch.
type Step struct {
	Delta     *tensor.Node // δ, at which the training objective was taken
	Loss      *tensor.Node // that objective
	Direction *tensor.Node // in which the parameters go down, without weight decay
	Implicit  *tensor.Node // the part of it that is the implicit term; nil: none
	Mode      params.Mode  // of the training pass
}

// Round is one iteration of training while it is built.
type Round struct {
	*engine.Iteration
	State *engine.State
	Theta *tensor.Node
	Batch problem.Batch
	task  Task
}

// Images are those of the minibatch, x.
func (r *Round) Images() *tensor.Node { return r.task.images(r.Batch) }

// Uniform draws a perturbation between -radius and radius.
func (r *Round) Uniform(radius float64) *tensor.Node {
	return Uniform(r.Random(), radius, r.Images().Shape()...)
}

// Begin draws a perturbation uniformly from the ball and projects it onto C.
func (r *Round) Begin() *tensor.Node { return r.Start(r.Theta, r.Batch).StopGradient() }

// Project is the nearest point of C. The result is a constant of the iteration: no derivative passes.
func (r *Round) Project(delta *tensor.Node) *tensor.Node {
	return r.Iteration.Project(problem.Lower, delta, r.Batch).StopGradient()
}

// Inside is 1 for the coordinates of δ that lie strictly inside C, by more than a margin.
func (r *Round) Inside(delta *tensor.Node, margin float64) *tensor.Node {
	lo, hi := r.task.bounds(r.Batch)
	return lo.AddConst(margin).Lt(delta).Mul(delta.Lt(hi.AddConst(-margin)))
}

// Attack is the lower level at δ, whose gradient in δ points away from what the attack wants; Train is the upper level.
// In mode train both move the running statistics.
func (r *Round) Attack(delta *tensor.Node, m params.Mode) *problem.Point {
	return r.at(problem.Lower, delta, m)
}
func (r *Round) Train(delta *tensor.Node, m params.Mode) *problem.Point {
	return r.at(problem.Upper, delta, m)
}

func (r *Round) at(side problem.Side, delta *tensor.Node, m params.Mode) *problem.Point {
	p := r.At(side, r.Theta, delta, r.Batch, m)
	if m == params.Train {
		r.Commit(p)
	}
	return p
}

// Climb makes k steps of projected sign ascent on the attack's objective, δ ← P(δ + step sign ∇δ).
func (r *Round) Climb(delta *tensor.Node, k int, step float64, m params.Mode) *tensor.Node {
	for range k {
		delta = r.Project(delta.Sub(r.Attack(delta, m).GradY().Sign().Scale(step)))
	}
	return delta
}

// Logits are the model's outputs at x + δ, of a pass that leaves the running statistics as they are.
func (r *Round) Logits(delta *tensor.Node, m params.Mode) *tensor.Node {
	var state *tensor.Node
	if r.task.State.Size() > 0 {
		state = r.State.Get(engine.StateName)
	}
	z, _ := r.task.Model.Apply(r.Theta, state, r.Images().Add(delta), m)
	return z
}

// trained is the step of a method that trains at δ on the training objective alone.
func (r *Round) trained(delta *tensor.Node, m params.Mode) Step {
	p := r.Train(delta, m)
	return Step{Delta: delta, Loss: r.loss(p), Direction: p.GradX(), Mode: m}
}

// loss is the value at a point whose gradient is asked for: it comes with the gradient and counts as no call.
func (r *Round) loss(p *problem.Point) *tensor.Node {
	counts := r.Counts
	defer func() { r.Counts = counts }()
	return p.Value()
}

// modeNames are the modes of batch normalization as settings call them.
var modeNames = map[string]params.Mode{"train": params.Train, "frozen": params.TrainFrozen, "eval": params.Eval}

// modes reads the setting bn: a mode for all passes, or one for each of them, separated by commas.
func modes(method, bn string, passes ...string) ([]params.Mode, error) {
	words := strings.Split(bn, ",")
	out := make([]params.Mode, len(passes))
	for i := range out {
		word := words[0]
		if len(words) == len(passes) {
			word = words[i]
		}
		mode, ok := modeNames[word]
		if !ok || len(words) != 1 && len(words) != len(passes) {
			return nil, fmt.Errorf("%s: bn is %q: wants train, frozen or eval, or one of them for each of its passes, "+
				"%s, separated by commas", method, bn, strings.Join(passes, ", "))
		}
		out[i] = mode
	}
	return out, nil
}

// maxSteps bounds the steps of an attack inside training: its graph has all of them.
const maxSteps = 100

// number is a setting that must be finite and from 0 on, or above 0.
type number struct {
	name     string
	value    float64
	positive bool
}

// checkNumbers refuses settings outside their range.
func checkNumbers(method string, of ...number) error {
	for _, n := range of {
		wants := "a finite number from 0 on"
		if n.positive {
			wants = "a positive, finite number"
		}
		if !(n.value >= 0) || math.IsInf(n.value, 0) || n.positive && n.value == 0 {
			return fmt.Errorf("%s: %s is %g: wants %s", method, n.name, n.value, wants)
		}
	}
	return nil
}

// checkSteps refuses a number of steps that makes no sense.
func checkSteps(method, name string, steps, least int) error {
	if steps < least || steps > maxSteps {
		return fmt.Errorf("%s: %s is %d: wants %d to %d", method, name, steps, least, maxSteps)
	}
	return nil
}

// Entry is a method's row in the list: where it is from, its passes as an engine counts them, and the method with its
// default settings.
type Entry struct {
	Source string
	Passes string // of an iteration: gradients of the attack ∇G, of training ∇F, mixed products Cv
	Method Method
}

// Name is the method's.
func (e Entry) Name() string { return e.Method.Name() }

// Fields lists the names of the method's settings.
func (e Entry) Fields() []string { return settings.Fields(e.Method) }

// With is the method with settings given as texts, "step=0.1", over its defaults.
func (e Entry) With(assignments ...string) (Method, error) {
	return settings.Set(e.Method, assignments...)
}

// Setting is a setting of methods by its name.
type Setting struct{ Name, About string }

// Settings says what the methods' own settings are.
func Settings() []Setting {
	return []Setting{
		{"step", "of fast-bat and its variants the factor a of the attack's gradient (0: 5000/255 for ε up to 8/255, " +
			"else 2000/255); of the others the length of a sign step in units of ε"},
		{"steps", "of the attack"},
		{"implicit", "the factor c of the implicit term; 0: none; below 0: the step, as in the paper"},
		{"warmup", "steps from the random start to the point of linearization"},
		{"margin", "a coordinate counts as free where it is inside its bounds by more than this"},
		{"noise", "of n-fgsm the radius of the random start in units of ε, of trades the deviation of its start"},
		{"alignment", "weight of the regularizer that aligns gradients"},
		{"replays", "how often a minibatch is taken in a row"},
		{"gamma", "radius of the noise on the logits"},
		{"beta", "weight of the divergence between clean and perturbed outputs"},
		{"bn", "mode of batch normalization, train, frozen (statistics of the batch that leave the running ones) or " +
			"eval: one for all passes, or one for each, separated by commas"},
	}
}

// Methods lists every method.
func Methods() []Entry {
	return []Entry{
		{"plain training, the start of all others", "1 ∇F", Standard{}},
		{"Wong, Rice, Kolter, ICLR 2020", "1 ∇G, 1 ∇F", FastAT{Step: 1.25, BN: "train"}},
		{"de Jorge and others, NeurIPS 2022", "1 ∇G, 1 ∇F", NFGSM{Step: 1, Noise: 2, BN: "train"}},
		{"Andriushchenko, Flammarion, NeurIPS 2020", "2 ∇G, 1 ∇F, 1 Cv",
			GradAlign{Step: 1.25, Alignment: 0.2, BN: "train"}},
		{"Shafahi and others, NeurIPS 2019, as Wong, Rice, Kolter run it", "1 ∇F", Free{Step: 1, Replays: 8}},
		{"Madry and others, ICLR 2018", "7 ∇G, 1 ∇F", PGD{Steps: 7, Step: 0.25, BN: "train"}},
		{"Zhang and others, ICML 2019, and the authors' program", "10 ∇G, 1 ∇F",
			TRADES{Steps: 10, Step: 0.25, Noise: 0.001, Beta: 6, BN: "eval,train"}},
		{"Chen and others, AAAI 2022, by the authors' program", "2 ∇G, 1 ∇F",
			BackwardSmoothing{Steps: 1, Step: 1, Gamma: 1, Beta: 10, BN: "eval,train"}},
		{"Zhang and others, ICML 2022, the formula of the paper", "1 ∇G, 1 ∇F, 1 Cv",
			FastBAT{Implicit: -1, BN: "train", variant: "fast-bat"}},
		{"Zhang and others, ICML 2022, the authors' program", "2 ∇G, 1 ∇F, 1 Cv",
			FastBAT{Implicit: 0.1, Warmup: 1, BN: "train", Margin: 1e-7, variant: "fast-bat-official"}},
		{"the control: fast-bat-official without the implicit term", "2 ∇G, 1 ∇F",
			FastBAT{Warmup: 1, BN: "train", Margin: 1e-7, variant: "fast-bat-no-implicit"}},
	}
}

// ByName finds a method; its error names the nearest one.
func ByName(name string) (Entry, error) {
	var names []string
	for _, e := range Methods() {
		if e.Name() == name {
			return e, nil
		}
		names = append(names, e.Name())
	}
	return Entry{}, fmt.Errorf("unknown method %q of robust training (there are %s)%s", name,
		strings.Join(names, ", "), nearest.Hint(name, names))
}
