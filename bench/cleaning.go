package bench

import (
	"context"
	"fmt"
	"math"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// The data hyper-cleaning problem that the peer solves too.
const (
	trainRows, valRows, pixels, classes, regularization = 20000, 5000, 784, 10, 0.2
	startWeight                                         = -2
	iterations                                          = 64 // in one call
	lowerStream, upperStream, lengthStream              = 5, 6, 7
)

// runs is a sampler whose minibatches are runs of consecutive rows, so that the peer can draw the same ones: draw t of
// a level starts at row size·(splitmix64(t + stream·2³²) mod count).
type runs struct {
	stream      uint64
	size, count int
	peerDraw    func(t uint64) uint64 // the peer's number of our draw t; nil: they are the same
}

func (r runs) Size() int       { return r.size }
func (r runs) Check(int) error { return nil }

func (r runs) Slots(int) int { return r.count }

func (r runs) Slot(_ problem.Source, draw uint64) (int32, error) {
	if r.peerDraw != nil {
		draw = r.peerDraw(draw)
	}
	return int32(splitmix64(draw+r.stream<<32) % uint64(r.count)), nil
}

func (r runs) Minibatch(dst []int32, _ problem.Source, slot int32) error {
	for j := range dst {
		dst[j] = slot*int32(r.size) + int32(j)
	}
	return nil
}

func (r runs) Fill(dst []int32, from problem.Source, first uint64) error {
	for i := 0; i < len(dst); i += r.size {
		slot, err := r.Slot(from, first+uint64(i/r.size))
		if err == nil {
			err = r.Minibatch(dst[i:i+r.size], from, slot)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// cleaning lists the workloads of data hyper-cleaning, one for each of three algorithms. They go through the same
// problem.Problem and solvers as `bilevel clean`.
func cleaning() []Workload { return cleaningFor(iterations) }

// cleaningFor lists them with so many iterations in a call.
func cleaningFor(iterations int) (all []Workload) {
	all = append(all, clean("clean_soba_b64", soba, 64, nil, 1, iterations))
	for _, c := range []struct {
		name   string
		a      solvers.Algorithm
		upper  func(t uint64) uint64 // runs.peerDraw of the upper level
		second float64               // by how much the peer's second array is larger than ours
	}{
		// F²SA also draws an upper minibatch for ∇xF, which vanishes here and which the peer leaves out: the peer has
		// 10 upper draws per iteration where we have 11.
		{"f2sa", solvers.F2SA{YStep: 0.001, ZStep: 0.01, OuterStep: 1, Multiplier: 10, InnerSteps: 10},
			func(t uint64) uint64 { return t/11*10 + t%11 }, 1},
		// Our second array is v, the Neumann sum times its step 0.01; the peer's is the sum.
		{"stocbio", solvers.StocBiO{Step: 0.01, OuterStep: 10, NeumannStep: 0.01, Terms: 10, InnerSteps: 10},
			nil, 100},
	} {
		all = append(all, clean("clean_"+c.name+"_b64", c.a, 64, c.upper, c.second, iterations))
	}
	return all
}

var soba = solvers.SOBA{Step: 0.1, OuterStep: 10}

func cleanSOBA(batch int) Workload {
	return clean(fmt.Sprint("clean_soba_b", batch), soba, batch, nil, 1, iterations)
}

// clean is the workload of one algorithm, which starts anew in each call, on minibatches of so many rows of each level.
func clean(
	key string, a solvers.Algorithm, batch int, upper func(uint64) uint64, second float64, iterations int,
) Workload {
	return Workload{key, func(ex *tensor.Executor) (*Prepared, error) {
		p, err := cleaningProblem(ex, batch, upper)
		if err != nil {
			return nil, err
		}
		b, err := p.Bind(ex)
		if err != nil {
			return nil, err
		}
		e, _, err := solvers.Init(context.Background(), b, a, iterations, 0)
		if err != nil {
			return nil, err
		}
		var arrays []*tensor.Variable
		for _, name := range e.Names() {
			arrays = append(arrays, e.Variable(name))
		}
		reset, err := ex.Compile("reset", func() []tensor.Update {
			updates := []tensor.Update{{Var: arrays[0], Value: tensor.Full(startWeight, trainRows)}}
			for _, v := range arrays[1:] {
				updates = append(updates, tensor.Update{Var: v, Value: tensor.Zeros(v.Shape()...)})
			}
			return updates
		})
		if err != nil {
			return nil, err
		}
		call := func() error {
			if err := reset.Run(1); err != nil {
				return err
			}
			return e.Step(context.Background(), 0, iterations)
		}
		check := func() (float64, error) { return cleaningCheck(arrays, second) }
		return &Prepared{Call: call, Per: iterations, Check: check}, nil
	}}
}

// cleaningCheck is the check value that the peer prints too: |y| + second·|z| + |x - startWeight|, where x, y and z are
// the first three arrays of a run.
func cleaningCheck(arrays []*tensor.Variable, second float64) (float64, error) {
	x, err := arrays[0].Read()
	if err != nil {
		return 0, err
	}
	moved := 0.0
	for _, v := range x {
		moved += (v - startWeight) * (v - startWeight)
	}
	y, err := norm(arrays[1])
	if err != nil {
		return 0, err
	}
	z, err := norm(arrays[2])
	return y + second*z + math.Sqrt(moved), err
}

func cleaningProblem(ex *tensor.Executor, batch int, upper func(uint64) uint64) (*problem.Problem, error) {
	model := models.Softmax{Inputs: pixels, Classes: classes, NoBias: true}
	var err error
	load := func(k uint64, n int) problem.Rows {
		var x, a *tensor.Variable
		if err == nil {
			x, err = input(ex, "rows", array(k, n*pixels, 1, 0), n, pixels)
		}
		if err == nil {
			a = ex.Variable("labels", tensor.Int, n)
			err = a.WriteInts(labels(n))
		}
		if err != nil {
			return nil
		}
		return problem.Rows{"pixels": problem.On(x.Node()), "label": problem.On(a.Node())}
	}
	train, val := load(2, trainRows), load(3, valRows)
	if err != nil {
		return nil, err
	}
	losses := func(y problem.Vars, b problem.Batch) *tensor.Node {
		z, _ := model.Apply(y.Flat(), nil, b.Get("pixels"), params.Train)
		return tensor.CrossEntropy(z, b.Get("label"))
	}
	start, _ := model.Init(0)
	return &problem.Problem{
		Name: "hyper-cleaning", WeightPerRow: true,
		Lower: problem.Level{
			Start: start, Rows: train, Sampler: runs{lowerStream, batch, trainRows / batch, nil},
			Value: func(x, y problem.Vars, b problem.Batch) *tensor.Node {
				weighted := b.Of(x.Flat()).Sigmoid().Mul(losses(y, b)).Mean()
				return weighted.Add(models.SquaredNorm(y.Flat()).Scale(regularization))
			}},
		Upper: problem.Level{
			Start: params.Repeat(startWeight, trainRows), Rows: val,
			Sampler: runs{upperStream, batch, valRows / batch, upper},
			Value:   func(_, y problem.Vars, b problem.Batch) *tensor.Node { return losses(y, b).Mean() },
		},
	}, nil
}
