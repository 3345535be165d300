package robust

import (
	"context"
	"errors"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/internal/philox"
	"bilevel/models/params"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/robust"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
)

// certifier compares the direction of Fast-BAT on a minibatch, the first rows of the training part, with the
// hypergradient of the problem that its lower level is:
//
//	min over θ of F(θ, δ*) = mean CE(θ, x + δ*),   δ* = argmin over C of ⟨∇δ l(θ, x + z), δ⟩ + |δ - z|²/(2a)
//
// z, the point of linearization, is that of the method, and a constant. It is certified by the optimality conditions
// with the bounds that hold δ* (hypergrad.KKT), in float64: float32 cannot tell which bounds hold δ* with the small
// forces of rows that are classified well. All variants with one number a have this same problem.
type certifier struct {
	from               *tensor.Variable // the task's parameters
	step               *robust.Training // one iteration at rate 1, on the task's device
	stepScope          *tensor.Scope
	own                *problem.OwnedExecutor // of what is certified
	scope              *tensor.Scope
	perturb            *tensor.Function
	theta, start, z, y *tensor.Variable
	upper              hypergrad.Estimator
}

// newCertifier readies the comparison for a task whose method is a Fast-BAT.
func newCertifier(t *task) (_ *certifier, err error) {
	m := t.method.(robust.FastBAT).For(t.Eps) // as check has seen to
	n, dim := t.Batch, t.data.Train.Dim
	batch, err := firstRows(t.data.Train, n)
	if err != nil {
		return nil, err
	}
	c := &certifier{from: t.net.p, stepScope: t.ex.Scope()}
	defer func() {
		if err != nil {
			err = errors.Join(err, c.close())
		}
	}()
	rows, err := experiments.Upload(c.stepScope, batch)
	if err != nil {
		return nil, err
	}
	layout := t.net.Params()
	zero := params.Values{Layout: layout, Flat: make([]float64, layout.Size())}
	c.step, err = robust.New(t.ex, robust.Task{
		Name: "direction", Model: t.net.Model, Start: zero, Rows: rows, Images: t.images, Sampler: inOrder(n),
		Eps: t.Eps, Optimizer: robust.SGD{Rate: 1},
	}, t.method, 1, 1, t.seed)
	if err != nil {
		return nil, err
	}
	if c.own, err = problem.OpenDevice("ref"); err != nil {
		return nil, err
	}
	c.scope = c.own.Executor.Scope()
	if rows, err = experiments.Upload(c.scope, batch); err != nil {
		return nil, err
	}
	c.theta = c.scope.Variable("parameters", tensor.Real, layout.Size())
	images := func(name string) *tensor.Variable { return c.scope.Variable(name, tensor.Real, n*dim) }
	c.start, c.z, c.y = images("start"), images("z"), images("perturbation")
	noise := make([]float32, n*dim)
	philox.Uniforms(noise, t.seed, 0, deviceStream, 0)
	start := make([]float64, len(noise))
	for i, u := range noise {
		start[i] = t.Eps * (2*float64(u) - 1)
	}
	if err := c.start.Write(start); err != nil {
		return nil, err
	}
	return c, c.compile(t, m, rows, zero)
}

// deviceStream is the first stream of random numbers on the device, in iteration 0 those of the start.
const deviceStream = 1 << 24

// compile builds the problem at z.
func (c *certifier) compile(t *task, m robust.FastBAT, rows problem.Rows, zero params.Values) error {
	images := func(b problem.Batch) *tensor.Node { return t.images(b) }
	losses := func(theta, delta *tensor.Node, b problem.Batch) *tensor.Node {
		x := images(b)
		out, _ := t.net.Apply(theta, nil, x.Add(delta.Reshape(x.Shape()...)), params.Train)
		return tensor.CrossEntropy(out, b.Get(robust.Labels))
	}
	slope := func(theta, delta *tensor.Node, b problem.Batch) *tensor.Node { // ∇δ l, l = -Σ CE
		return tensor.Grad(losses(theta, delta, b).Sum().Neg(), delta)[0]
	}
	set := problem.BatchBox{Of: func(b problem.Batch) (lo, hi *tensor.Node) {
		lo, hi = robust.Bounds(images(b), t.Eps)
		return lo.Flatten(), hi.Flatten()
	}}
	p := &problem.Problem{
		Name: "fast-bat",
		Lower: problem.Level{
			Start: problem.Vector(make([]float64, c.z.Size())...), Rows: rows, Set: set,
			Value: func(theta, delta problem.Vars, b problem.Batch) *tensor.Node {
				d, z := delta.Flat(), c.z.Node()
				return tensor.Dot(slope(theta.Flat(), z, b), d).
					Add(d.Sub(z).Square().Sum().Scale(0.5 / m.Step))
			},
		},
		Upper: problem.Level{
			Start: zero, Rows: rows,
			Value: func(theta, delta problem.Vars, b problem.Batch) *tensor.Node {
				return losses(theta.Flat(), delta.Flat(), b).Mean()
			},
		},
	}
	b, err := p.Bind(c.own.Executor)
	if err != nil {
		return err
	}
	c.scope.Own(b.Close)
	all := b.All(problem.Lower)
	next := func(z *tensor.Node) *tensor.Node {
		return set.Project(z.Sub(slope(c.theta.Node(), z, all).Scale(m.Step)), all).StopGradient()
	}
	c.perturb = c.scope.Compile("perturbation", func() []tensor.Update {
		z := set.Project(c.start.Node(), all)
		for range m.Warmup {
			z = next(z)
		}
		return []tensor.Update{{Var: c.z, Value: z}, {Var: c.y, Value: next(z)}}
	})
	if err := c.scope.Err(); err != nil {
		return err
	}
	// H is the identity over a: one step of conjugate gradients solves the system.
	c.upper, err = hypergrad.KKT{Solver: linear.CG{RTol: 1e-10, MaxSteps: 20, FromZero: true}}.Prepare(b, c.theta, c.y)
	if err != nil {
		return err
	}
	c.scope.Own(c.upper.Close)
	return nil
}

// look compares where the parameters stand.
func (c *certifier) look(ctx context.Context) ([]float64, error) {
	at := c.step.Variable(robust.Parameters)
	d, err := c.from.Read()
	if err != nil {
		return nil, err
	}
	err = errors.Join(at.CopyFrom(c.from), c.theta.Write(d), c.perturb.Run(1), c.step.Step(ctx, 0, 1))
	if err != nil {
		return nil, err
	}
	after, err := at.Read()
	if err != nil {
		return nil, err
	}
	floats.Sub(d, after)
	h, err := c.upper.Compute(ctx)
	if err != nil {
		return nil, err
	}
	return experiments.NewDirection(h, d).Row(), nil
}

func (c *certifier) close() error {
	if c == nil {
		return nil
	}
	err := c.stepScope.Close()
	if c.step != nil {
		err = errors.Join(c.step.Close(), err)
	}
	if c.own != nil {
		err = errors.Join(err, c.own.Close())
	}
	return err
}

// firstRows are the first n rows of a set.
func firstRows(s *data.Set, n int) (*data.Set, error) {
	rows := make([]int32, n)
	for i := range rows {
		rows[i] = int32(i)
	}
	return s.Rows(rows)
}

// certifies tells whether the end of an epoch is one of the points that are certified, spread evenly over the epochs.
func (c TrainConfig) certifies(epoch int) bool {
	return epoch*c.Certificate/c.Epochs > (epoch-1)*c.Certificate/c.Epochs
}
