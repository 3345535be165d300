package problem_test

import (
	"math"
	"testing"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// Every problem that makes no sense is refused with a sentence, where it is checked or bound.
func TestCheck(t *testing.T) {
	value := problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return half(y) })
	prox := func(_ problem.Vars, z, _ *tensor.Node) *tensor.Node { return z }
	start := func(problem.Vars, problem.Batch, *problem.Random) *tensor.Node { return nil }
	size := func(rows int) int { return 3 * rows }
	rows := problem.Rows{"z": problem.Reals(make([]float64, 12), 2)}
	for want, change := range map[string]func(*problem.Problem){
		`problem "square": there is no lower objective`: func(p *problem.Problem) {
			p.Lower.Value = nil
		},
		"there is no upper objective": func(p *problem.Problem) {
			p.Upper.Value = nil
		},
		"the lower level has 2 of Value, Composite, Loss, Residual and Saddle; wants one": func(p *problem.Problem) {
			p.Lower.Residual = value
		},
		"only a lower level can be a residual or have a proximal map": func(p *problem.Problem) {
			p.Upper.Prox = prox
		},
		"a proximal map belongs to a Value or a Loss, but the lower level is a Residual": func(p *problem.Problem) {
			p.Lower.Value, p.Lower.Residual, p.Lower.Prox = nil, value, prox
		},
		"the upper level has no start values": func(p *problem.Problem) {
			p.Upper.Start = problem.Values{}
		},
		"lower start values: element 1 is NaN": func(p *problem.Problem) {
			p.Lower.Start = problem.Vector(0, math.NaN())
		},
		"running statistics: element 0 is +Inf": func(p *problem.Problem) {
			p.State = problem.Vector(math.Inf(1))
		},
		`lower start values: two arrays are called "w"`: func(p *problem.Problem) {
			p.Lower.Start = p.Lower.Start.And("w", 1).And("w", 2)
		},
		"lower start values: 3 numbers for the arrays w, which have 2 ele": func(p *problem.Problem) {
			p.Lower.Start = params.Values{}.AndShaped("w", []int{2}, []float64{1, 2, 3})
		},
		`the lower level's rows: "z": 13 elements are no whole number of rows of shape [2]`: func(p *problem.Problem) {
			p.Lower.Rows = problem.Rows{"z": problem.Reals(make([]float32, 13), 2)}
		},
		`the lower level's rows: "z" has no rows`: func(p *problem.Problem) {
			p.Lower.Rows = problem.Rows{"z": problem.Ints(nil)}
		},
		`the lower level's rows: "z" is no node`: func(p *problem.Problem) {
			p.Lower.Rows = problem.Rows{"z": problem.On(nil)}
		},
		`the lower level's rows: "z" has 6 rows, "label" has 5`: func(p *problem.Problem) {
			p.Lower.Rows = problem.Rows{"z": rows["z"], "label": problem.Ints(make([]int32, 5))}
		},
		`"z" is one number on the device; wants rows`: func(p *problem.Problem) {
			p.Lower.Rows = problem.Rows{"z": problem.On(tensor.Const(1))}
		},
		"the lower level draws minibatches of 4 from 0 rows; wants at least one of each": func(p *problem.Problem) {
			p.Lower.Sampler = problem.Epochs(4)
		},
		"the lower level draws minibatches of -1 from 6 rows": func(p *problem.Problem) {
			p.Lower.Rows, p.Lower.Sampler = rows, problem.WithReplacement(-1)
		},
		"the lower level: epochs of minibatches of 7 from 6 rows": func(p *problem.Problem) {
			p.Lower.Rows, p.Lower.Sampler = rows, problem.Epochs(7)
		},
		"the upper level: fixed minibatches of 4 do not divide 6 rows: 3 do": func(p *problem.Problem) {
			p.Upper.Rows, p.Upper.Sampler = rows, problem.Fixed(4)
		},
		`"z": 4 elements are no whole number of rows of shape [-1 -2]`: func(p *problem.Problem) {
			p.Lower.Rows = problem.Rows{"z": problem.Reals([]float64{1, 2, 3, 4}, -1, -2)}
		},
		"the upper level's Saddle lacks its Value":    saddle(&problem.Saddle{Start: problem.Vector(1)}),
		"the upper level's Saddle has no start value": saddle(&problem.Saddle{Value: worst}),
		"start values of the Saddle: element 0 is NaN": saddle(
			&problem.Saddle{Start: problem.Vector(math.NaN()), Value: worst}),
		"the Saddle's set: a simplex of total -1": saddle(
			&problem.Saddle{Start: problem.Vector(1), Value: worst, Set: problem.Simplex{Total: -1}}),
		"the Saddle starts outside its simplex of total 1": saddle(
			&problem.Saddle{Start: problem.Vector(0.7), Value: worst, Set: problem.Simplex{Total: 1}}),
		"only an upper level can be a Saddle": func(p *problem.Problem) {
			p.Lower.Value, p.Lower.Saddle = nil, &problem.Saddle{Start: problem.Vector(1), Value: worst}
		},
		"BlockPerRow with 0 rows of the lower and 0 of the upper level": func(p *problem.Problem) {
			p.BlockPerRow = true
		},
		"BlockPerRow with 6 rows, but y has 1 elements: wants a multiple": func(p *problem.Problem) {
			p.BlockPerRow, p.Lower.Rows, p.Upper.Rows = true, rows, rows
		},
		`BlockPerRow with 6 rows, but the array "w" of y has the shape [2]`: func(p *problem.Problem) {
			p.BlockPerRow, p.Lower.Rows, p.Upper.Rows = true, rows, rows
			p.Lower.Start = params.Values{}.And("w", 1, 2)
		},
		"the modulus of convexity Mu is -1": func(p *problem.Problem) { p.Mu = -1 },
		"one of the Constants is NaN": func(p *problem.Problem) {
			p.Constants = &problem.Constants{CrossNorm: math.NaN()}
		},
		"there are running statistics, but no objective that can read them": func(p *problem.Problem) {
			p.State = problem.Vector(1)
		},
		"wants PerBatch.Start and PerBatch.Size": func(p *problem.Problem) {
			p.PerBatch = &problem.PerBatch{Start: start}
		},
		"PerBatch.Size, and no Lower.Start": func(p *problem.Problem) {
			p.PerBatch = &problem.PerBatch{Start: start, Size: size}
		},
		"the lower level's set: a box by batch without": perBatch(problem.BatchBox{}, rows),
		"the lower level's set: 1 lower and 1 upper bounds for 12 coordinates": perBatch(
			problem.Bounds{Lo: []float64{0}, Hi: []float64{1}}, rows,
		),
	} {
		p := square(problem.Vector(0), problem.Vector(0))
		change(p)
		require.ErrorContains(t, p.Check(), want)
		_, err := p.Bind(executor(t))
		require.ErrorContains(t, err, want)
	}
	require.ErrorContains(t, (*problem.Problem)(nil).Check(), "there is no problem")
	_, err := square(problem.Vector(0), problem.Vector(0)).Bind(nil)
	require.ErrorContains(t, err, "there is no executor")
	far := square(problem.Vector(0, 1e300), problem.Vector(0))
	_, err = far.Bind(narrow(t))
	require.ErrorContains(t, err, "lower start values: element 1 is 1e+300, which is beyond float32, in which device "+
		"cpu computes: at most 3.4028235e+38")
	b, err := far.Bind(executor(t))
	require.NoError(t, err, "float64 holds it")
	require.NoError(t, b.Close())
	good := square(problem.Vector(0), problem.Vector(0))
	perBatch(problem.Bounds{Lo: make([]float64, 12), Hi: make([]float64, 12)}, rows)(good)
	require.NoError(t, good.Check(), "4 rows a minibatch of 3 numbers each")
}

// worst is the first of the weights, saddle gives a problem an upper objective that is maximized over weights.
func worst(_, _, alpha problem.Vars, _ problem.Batch) *tensor.Node {
	return alpha.Flat().Slice(0, 0, 1)
}

func saddle(s *problem.Saddle) func(*problem.Problem) {
	return func(p *problem.Problem) { p.Upper.Value, p.Upper.Saddle = nil, s }
}

// perBatch gives a problem a lower variable of three numbers for each row of a minibatch of four, in a set.
func perBatch(set problem.Set, rows problem.Rows) func(*problem.Problem) {
	return func(p *problem.Problem) {
		p.PerBatch = &problem.PerBatch{
			Start: func(problem.Vars, problem.Batch, *problem.Random) *tensor.Node { return nil },
			Size:  func(rows int) int { return 3 * rows },
		}
		p.Lower.Start, p.Lower.Rows, p.Lower.Sampler, p.Lower.Set = problem.Values{}, rows, problem.Epochs(4), set
	}
}

// Each feature is found, and refused with words of its own by an algorithm that cannot use it.
func TestFeatures(t *testing.T) {
	value := problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return half(y) })
	for _, c := range []struct {
		feature problem.Features
		words   string
		change  func(*problem.Problem)
	}{
		{problem.UpperSet, "keeps x in a set", func(p *problem.Problem) { p.Upper.Set = problem.Box{} }},
		{problem.LowerSet, "keeps y in a set", func(p *problem.Problem) { p.Lower.Set = problem.Box{} }},
		{problem.UpperConstraints, "constraint functions on the upper level",
			func(p *problem.Problem) { p.Upper.Equality = value }},
		{problem.LowerConstraints, "constraint functions on the lower level",
			func(p *problem.Problem) { p.Lower.Inequality = value }},
		{problem.LowerResidual, "as the root of a residual", func(p *problem.Problem) { p.Lower.Residual = value }},
		{problem.LowerProx, "a proximal map on the lower level",
			func(p *problem.Problem) {
				p.Lower.Prox = func(_ problem.Vars, z, _ *tensor.Node) *tensor.Node { return z }
			}},
		{problem.UpperSaddle, "maximizes its upper objective over a further variable",
			saddle(&problem.Saddle{Start: problem.Vector(1), Value: worst})},
		{problem.LowerPerBatch, "a lower variable for every batch",
			func(p *problem.Problem) { p.PerBatch = &problem.PerBatch{} }},
		{problem.ModelState, "running statistics", func(p *problem.Problem) { p.State = problem.Vector(1) }},
	} {
		p := square(problem.Vector(0), problem.Vector(0))
		require.Zero(t, p.Features())
		require.NoError(t, p.Refuse("nobody", 0, "why"))
		c.change(p)
		require.Equal(t, c.feature, p.Features())
		err := p.Refuse("nobody", ^c.feature, "it wants none")
		require.ErrorContains(t, err, "nobody: the problem square ")
		require.ErrorContains(t, err, c.words+", which this algorithm cannot use: it wants none")
		require.NoError(t, p.Refuse("nobody", c.feature, ""))
	}
}
