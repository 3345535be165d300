package clean

import (
	"context"
	"errors"
	"math"

	"bilevel/data"
	"bilevel/experiments/train"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// table is labelled rows on a device.
type table struct {
	features, labels *tensor.Variable
	n, dim           int
}

// upload puts a set on the device; nil stays nil.
func upload(sc *tensor.Scope, name string, s *data.Set) (*table, error) {
	if s == nil || s.N() == 0 {
		return nil, nil
	}
	t := &table{n: s.N(), dim: s.Dim}
	t.features, t.labels = sc.Variable(name+" features", tensor.Real, s.N(), s.Dim), sc.Variable(name+" labels",
		tensor.Int, s.N())
	return t, errors.Join(t.features.Write32(s.Features), t.labels.WriteInts(s.Labels))
}

// tables are the parts of a prepared set on a device; trusted and test are nil where there are none.
type tables struct{ train, trusted, test *table }

// modelSpec is a kind of model with the step sizes that suit it: of the start, and of the rounds where rows have at
// least 784 features and where they have few.
type modelSpec struct {
	name         string
	start        float64
	step, atMost float64
	iterations   int // of a round
	of           func(in train.Inputs, classes int) (models.Model, error)
	shrink       func(features float64) float64 // of the step with the number of standardized features
	convex       bool                           // the loss in the parameters
	named        bool                           // is taken where it is asked for by its name, and not by auto
}

// modelSpecs lists the models of --model.
func modelSpecs() []modelSpec {
	return []modelSpec{
		{
			name: "softmax", convex: true, start: 0.1, step: 0.1, atMost: 0.2, iterations: 1024,
			of: func(in train.Inputs, k int) (models.Model, error) {
				return models.Softmax{Inputs: in.Count, Classes: k}, nil
			},
			shrink: func(d float64) float64 { return math.Sqrt(784 / d) },
		},
		{
			name: "mlp:64", start: 0.03, step: 0.02, atMost: 0.1, iterations: 2048,
			of: func(in train.Inputs, k int) (models.Model, error) {
				return models.MLP{Widths: []int{in.Count, 64, k}, Activation: models.Relu}, nil
			},
			shrink: func(d float64) float64 { return 784 / d },
		},
		{ // the same weights read every part of an image: the steps do not depend on its size
			name: "lenet", named: true, start: 0.02, step: 0.02, atMost: 0.1, iterations: 2048,
			of: func(in train.Inputs, k int) (models.Model, error) {
				return train.Architecture("lenet", false, "", in, k)
			},
			shrink: func(float64) float64 { return 1 },
		},
	}
}

// evaluated names what an evaluator looks at: a table, and the list of its rows where not all of them are meant.
type evaluated struct {
	table *table
	part  *tensor.Variable
}

// net is a model that is trained on rows of the tables and judges them.
type net struct {
	settings
	spec  modelSpec
	ex    *tensor.Executor
	scope *tensor.Scope
	model models.Model
	start params.Values
	seed  uint64
	rows  *tables
	keep  *pieces

	y          *tensor.Variable // the parameters that judge looks at
	limits     *tensor.Variable // [classes], see second
	confusion  *tensor.Variable // [classes, classes], see second
	prior      *tensor.Variable // [train], see rounds
	pair       *tensor.Variable // Int [train]
	evaluators map[evaluated]*problem.Evaluator
	classes    int
}

func newNet(
	ex *tensor.Executor, c settings, spec modelSpec, in train.Inputs, rows *tables, classes int, seed uint64,
	keep *pieces,
) (*net, error) {
	model, err := spec.of(in, classes)
	if err != nil {
		return nil, err
	}
	n := &net{
		settings: c, spec: spec, ex: ex, scope: ex.Scope(), seed: seed, rows: rows, keep: keep, model: model,
		evaluators: map[evaluated]*problem.Evaluator{}, classes: classes,
	}
	n.start, _ = n.model.Init(seed)
	n.y, n.limits = n.scope.Variable("y", tensor.Real, n.start.Size()), n.scope.Variable("limits", tensor.Real, classes)
	n.confusion = n.scope.Variable("confusion", tensor.Real, classes, classes)
	n.prior, n.pair = n.scope.Variable("prior", tensor.Real, rows.train.n), n.scope.Variable("pair", tensor.Int,
		rows.train.n)
	return n, nil
}

func (n *net) close() error { return n.scope.Close() }

// logits is the model's outputs for rows of features.
func (n *net) logits(y, features *tensor.Node) *tensor.Node {
	z, _ := n.model.Apply(y, nil, features, params.Train)
	return z
}

// at is the cross-entropy of rows of a table with their labels.
func (n *net) at(y *tensor.Node, t *table, row *tensor.Node) *tensor.Node {
	return tensor.CrossEntropy(n.logits(y, tensor.Gather(t.features.Node(), row)), tensor.Gather(t.labels.Node(), row))
}

// regularizer is R(y) = Reg · the sum of squares of all parameters.
func (n *net) regularizer(y *tensor.Node) *tensor.Node { return models.SquaredNorm(y).Scale(n.Reg) }

// judgement is what a model says of each row of a table.
type judgement struct {
	loss      []float64 // -log of the probability of the given label
	label     []int32   // the most probable one
	top       []float64 // the probability of the most probable label that reaches its limit; -1: none does
	confident []int32   // the most probable one among those that reach their limit; -1: none does
	// doubt is -log of p_right, the probability that the given label g is right where classes are confused as
	// confusionOf finds: q[g] / (q[g] + sum over t ≠ g of q[t] L[t, g]), with q the model's probabilities. It is the
	// probability of the given label where all classes are confused alike, and less where those that the row may be of
	// are often given g.
	doubt     []float64
	confusion []float64 // log L as [g, t]; nil where doubt is loss
}

// given is the probability of the given label, right the probability that it is right.
func (j *judgement) given(i int) float64 { return math.Exp(-j.loss[i]) }
func (j *judgement) right(i int) float64 { return math.Exp(-j.doubt[i]) }

// mistakes is the share of rows, of those listed, whose most probable label is another than the given one.
func (j *judgement) mistakes(labels, rows []int32) float64 {
	wrong := 0.0
	for _, i := range rows {
		if j.label[i] != labels[i] {
			wrong++
		}
	}
	return wrong / float64(len(rows))
}

// second is what a judgement goes by that only a look at all rows can tell.
type second struct {
	limits    []float64 // the probability that a label must reach to be a confident one; nil: 0
	confusion []float64 // log L as [g, t]; nil: all alike
}

// judge looks at all rows of a table with parameters y, a few thousand at a time.
func (n *net) judge(ctx context.Context, t *table, y []float64, by *second) (*judgement, error) {
	return n.judgeRows(ctx, t, nil, y, by)
}

// judgePart looks at the training rows listed, of which there must be no more than part has room for. The result has
// one entry for each of them, in their order.
func (n *net) judgePart(
	ctx context.Context, part *tensor.Variable, rows []int32, y []float64, by *second,
) (*judgement, error) {
	index := make([]int32, part.Size()) // where fewer are listed, row 0 is judged in their place
	copy(index, rows)
	if err := part.WriteInts(index); err != nil {
		return nil, err
	}
	j, err := n.judgeRows(ctx, n.rows.train, part, y, by)
	if err != nil {
		return nil, err
	}
	m := len(rows)
	j.loss, j.label, j.top = j.loss[:m], j.label[:m], j.top[:m]
	j.confident, j.doubt = j.confident[:m], j.doubt[:m]
	return j, nil
}

// judgeRows looks at the rows of a table that part lists on the device, at all of them where it is nil.
func (n *net) judgeRows(
	ctx context.Context, t *table, part *tensor.Variable, y []float64, by *second,
) (*judgement, error) {
	e, err := n.evaluator(t, part)
	if err != nil {
		return nil, err
	}
	if by == nil {
		by = &second{}
	}
	limits, confusion := by.limits, by.confusion
	if limits == nil {
		limits = make([]float64, n.classes)
	}
	if confusion == nil {
		confusion = make([]float64, n.classes*n.classes)
	}
	if err := errors.Join(n.y.Write(y), n.limits.Write(limits), n.confusion.Write(confusion)); err != nil {
		return nil, err
	}
	out, err := e.Run(ctx)
	if err != nil {
		return nil, err
	}
	j := &judgement{
		loss: out.Reals["loss"], label: out.Ints["label"], top: out.Reals["reached"], confident: out.Ints["confident"],
		doubt: out.Reals["doubt"], confusion: by.confusion,
	}
	for i, top := range j.top {
		if top < 0 {
			j.confident[i] = -1
		}
	}
	return j, nil
}

// evaluator is that of a table and a list of its rows, made once.
func (n *net) evaluator(t *table, part *tensor.Variable) (*problem.Evaluator, error) {
	key := evaluated{t, part}
	if e := n.evaluators[key]; e != nil {
		return e, nil
	}
	rows := problem.Rows{"features": problem.On(t.features.Node()), "label": problem.On(t.labels.Node())}
	of := func(b problem.Batch, name string) *tensor.Node { return b.Get(name) }
	if part != nil {
		tables := map[string]*tensor.Node{"features": t.features.Node(), "label": t.labels.Node()}
		rows = problem.Rows{"row": problem.On(part.Node())}
		of = func(b problem.Batch, name string) *tensor.Node { return tensor.Gather(tables[name], b.Get("row")) }
	}
	logits := func(b problem.Batch) *tensor.Node { return n.logits(n.y.Node(), of(b, "features")) }
	masked := func(b problem.Batch) *tensor.Node { // a probability, or -1 where it does not reach its limit
		p := logits(b).Softmax()
		return tensor.Where(p.Lt(n.limits.Node()), tensor.Const(-1), p)
	}
	e, err := problem.NewEvaluator(n.ex, rows, 0, nil, []problem.PerRow{
		{Name: "loss", Type: tensor.Real,
			Of: func(b problem.Batch) *tensor.Node { return tensor.CrossEntropy(logits(b), of(b, "label")) }},
		{Name: "label", Type: tensor.Int, Of: func(b problem.Batch) *tensor.Node { return logits(b).ArgMax() }},
		{Name: "confident", Type: tensor.Int, Of: func(b problem.Batch) *tensor.Node { return masked(b).ArgMax() }},
		{Name: "reached", Type: tensor.Real, Of: func(b problem.Batch) *tensor.Node { return masked(b).MaxOver(1) }},
		// q[t] L[t, g] as a distribution over t is the softmax of the logits plus log L.
		{Name: "doubt", Type: tensor.Real, Of: func(b problem.Batch) *tensor.Node {
			given := of(b, "label")
			return tensor.CrossEntropy(logits(b).Add(tensor.Gather(n.confusion.Node(), given)), given)
		}},
	})
	if err != nil {
		return nil, err
	}
	n.scope.Own(e.Close)
	n.evaluators[key] = e
	return e, nil
}
