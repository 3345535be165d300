package experiments

import (
	"bilevel/data"
	"bilevel/internal/philox"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/tensor"
)

// onDevice is a labelled set in a device's memory.
type onDevice struct {
	x, a *tensor.Variable // features [n, d], labels Int [n]
	n    int
}

func upload(ex *tensor.Executor, name string, s *data.Set) (onDevice, error) {
	d := onDevice{ex.Variable(name+" features", tensor.Real, s.N(), s.Dim), ex.Variable(name+" labels", tensor.Int, s.N()), s.N()}
	err := d.x.Write32(s.Features)
	if err == nil {
		err = d.a.WriteInts(s.Labels)
	}
	if err != nil {
		d.free()
	}
	return d, err
}

func (d onDevice) free() {
	d.x.Free()
	d.a.Free()
}

// losses is the cross-entropy of each row of a batch.
func (d onDevice) losses(m models.Model, y *tensor.Node, b solvers.Batch) *tensor.Node {
	z, _ := m.Apply(y, nil, b.Of(d.x.Node()), params.Train)
	return tensor.CrossEntropy(z, b.Of(d.a.Node()))
}

// cleanProblem is a seed's problem on a device.
type cleanProblem struct {
	model            models.Model
	train, val, test onDevice
	problem          *solvers.Problem
	functions        []*tensor.Function
	variables        []*tensor.Variable
	y, x             *tensor.Variable // the point that the functions below look at
	valMistakes, valLoss, testMistakes,
	guess *tensor.Variable
	validate, examine, label *tensor.Function
}

func (c Clean) build(ex *tensor.Executor, d *cleanData, seed uint64) (_ *cleanProblem, err error) {
	b := &cleanProblem{}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	model := models.Softmax{Inputs: d.train.Dim, Classes: d.classes, NoBias: true}
	if err := model.Check(); err != nil {
		return nil, err
	}
	start, _ := model.Init(seed)
	b.model = model
	for _, s := range []struct {
		name string
		from *data.Set
		to   *onDevice
	}{{"train", d.train, &b.train}, {"validation", d.val, &b.val}, {"test", d.test, &b.test}} {
		if *s.to, err = upload(ex, s.name, s.from); err != nil {
			return nil, err
		}
	}
	x0 := make([]float64, b.train.n)
	for i := range x0 {
		x0[i] = cleanStart
	}
	b.problem = &solvers.Problem{
		Name: "hyper-cleaning",
		X0:   x0, Y0: start.Flat,
		Lower: solvers.Level{
			Rows: b.train.n, Size: c.Batch,
			Batch: data.Batches{Seed: seed, Stream: philox.StreamLowerBatch, N: b.train.n, B: c.Batch},
			Value: func(x, y *tensor.Node, rows solvers.Batch) *tensor.Node {
				weighted := rows.Of(x).Sigmoid().Mul(b.train.losses(model, y, rows))
				return weighted.Mean().Add(models.SquaredNorm(y).Scale(c.Reg))
			},
		},
		Upper: solvers.Level{
			Rows: b.val.n, Size: c.Batch,
			Batch: data.Batches{Seed: seed, Stream: philox.StreamUpperBatch, N: b.val.n, B: c.Batch},
			Value: func(_, y *tensor.Node, rows solvers.Batch) *tensor.Node {
				return b.val.losses(model, y, rows).Mean()
			},
		},
		Mu: 2 * c.Reg,
	}
	return b, b.evaluations(ex)
}

// evaluations compiles what is measured at a point (x, y).
func (b *cleanProblem) evaluations(ex *tensor.Executor) (err error) {
	variable := func(name string, t tensor.Type, shape ...int) *tensor.Variable {
		v := ex.Variable(name, t, shape...)
		b.variables = append(b.variables, v)
		return v
	}
	b.x, b.y = variable("x", tensor.Real, len(b.problem.X0)), variable("y", tensor.Real, len(b.problem.Y0))
	b.valMistakes, b.valLoss = variable("validation mistakes", tensor.Real), variable("validation loss", tensor.Real)
	b.testMistakes = variable("test mistakes", tensor.Real)
	b.guess = variable("own labels", tensor.Int, b.train.n)
	compile := func(dst **tensor.Function, name string, build func() []tensor.Update) {
		if err == nil {
			if *dst, err = ex.Compile(name, build); err == nil {
				b.functions = append(b.functions, *dst)
			}
		}
	}
	outputs := func(s onDevice) *tensor.Node {
		z, _ := b.model.Apply(b.y.Node(), nil, s.x.Node(), params.Eval)
		return z
	}
	compile(&b.validate, "validate", func() []tensor.Update {
		z := outputs(b.val)
		return []tensor.Update{
			{Var: b.valMistakes, Value: models.Mistakes(z, b.val.a.Node()).Sum()},
			{Var: b.valLoss, Value: tensor.CrossEntropy(z, b.val.a.Node()).Mean()},
		}
	})
	compile(&b.examine, "test", func() []tensor.Update {
		return []tensor.Update{{Var: b.testMistakes, Value: models.Mistakes(outputs(b.test), b.test.a.Node()).Sum()}}
	})
	compile(&b.label, "own labels", func() []tensor.Update {
		return []tensor.Update{{Var: b.guess, Value: outputs(b.train).ArgMax()}}
	})
	return err
}

func (b *cleanProblem) close() {
	for _, f := range b.functions {
		f.Close()
	}
	for _, v := range b.variables {
		v.Free()
	}
	for _, s := range []onDevice{b.train, b.val, b.test} {
		if s.x != nil {
			s.free()
		}
	}
}
