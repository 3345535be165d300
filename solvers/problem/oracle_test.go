package problem_test

import (
	"testing"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// named is G = Σ w⊙w⊙scale/2 + bias·(Σ scale) and F = Σ w with variables by name: scale above, w and bias below.
func named() *problem.Problem {
	return &problem.Problem{
		Name: "named",
		Lower: problem.Level{
			Start: params.Values{}.AndShaped("w", []int{2, 1}, []float64{1, 2}).And("bias", 3),
			Rows: problem.Rows{"z": problem.Reals([]float64{1, 2, 3, 4, 5, 6}, 2),
				"label": problem.Ints([]int32{7, 8, 9})},
			Value: func(x, y problem.Vars, _ problem.Batch) *tensor.Node {
				w := y["w"].Flatten()
				return tensor.Dot(w.Square(), x["scale"]).Scale(0.5).Add(y["bias"].Sum().Mul(x["scale"].Sum()))
			},
		},
		Upper: problem.Level{
			Start: params.Values{}.And("scale", 4, 5),
			Value: func(_, y problem.Vars, _ problem.Batch) *tensor.Node { return y["w"].Sum() },
		},
	}
}

// What is asked of a point: by hand, with each kind of call counted once however often it is asked for.
func TestPoint(t *testing.T) {
	ex := executor(t)
	b := bind(t, ex, named())
	o := b.Oracle()
	x, y := vector(t, ex, []float64{4, 5}), vector(t, ex, []float64{1, 2, 3})
	v, u := vector(t, ex, []float64{10, 20, 30}), vector(t, ex, []float64{100, 200})
	got := compute(t, ex, func() []*tensor.Node {
		p := o.At(problem.Lower, x, y, b.All(problem.Lower), params.Train, nil)
		require.Zero(t, o.Counts, "a point that is asked for nothing costs nothing")
		f := o.At(problem.Upper, x, y, b.All(problem.Upper), params.Train, nil)
		out := []*tensor.Node{p.Value(), p.GradX(), p.GradY(), p.HVP(v), p.Cross(v), p.CrossT(u), f.GradX(), f.GradY()}
		p.Value()
		p.Grad()
		p.HVP(v)
		p.Cross(v)
		p.CrossT(u)
		require.Nil(t, p.State())
		return out
	})
	require.Equal(t, [][]float64{
		{(1*4+4*5)/2.0 + 3*9}, {0.5 + 3, 2 + 3}, {4, 10, 9}, {40, 100, 0}, {10*1 + 30, 20*2 + 30}, {100, 400, 300},
		{0, 0}, {1, 1, 0},
	}, got)
	require.Equal(t, problem.Counts{LowerGradients: 1, UpperGradients: 1, HVP: 1, JVP: 2, Values: 1}, o.Counts)
	require.Equal(t, "1 ∇G, 1 ∇F, 1 Hv, 2 Cv, 1 values", o.Counts.String())
	require.EqualValues(t, 6, o.Counts.Calls())
	require.Equal(t, problem.Counts{LowerGradients: 4, UpperGradients: 4, HVP: 4, JVP: 8, Values: 4, Samples: 1},
		problem.Counts{Samples: 1}.Plus(o.Counts, 4))

	other := b.Oracle()
	compute(t, ex, func() []*tensor.Node {
		p := other.At(problem.Lower, x, y, b.All(problem.Lower), params.Train, nil)
		return []*tensor.Node{p.HVP(v), p.HVP(y), p.Cross(y)}
	})
	require.Equal(t, problem.Counts{HVP: 2, JVP: 1}, other.Counts, "another vector is another product")
}

// A batch has its level's rows by name, whole or by index; data may be uploaded by Bind or lie on the device already.
func TestBatch(t *testing.T) {
	ex := executor(t)
	p := named()
	p.Lower.Rows["there"] = problem.On(vector(t, ex, []float64{0.5, 1.5, 2.5}))
	p.Lower.Rows["narrow"] = problem.Reals([]float32{1, 2, 4})
	b := bind(t, ex, p)
	index := ex.Variable("index", tensor.Int, 2)
	require.NoError(t, index.WriteInts([]int32{2, 0}))
	got := compute(t, ex, func() []*tensor.Node {
		all, some := b.All(problem.Lower), b.Batch(problem.Lower, index.Node())
		require.Equal(t, 3, all.Rows)
		require.Equal(t, 2, some.Rows)
		require.Equal(t, []int{2, 2}, some.Get("z").Shape())
		return []*tensor.Node{all.Get("z"), some.Get("z"), some.Get("label").ToReal(), some.Get("there"),
			some.Get("narrow"), some.Of(all.Get("there"))}
	})
	require.Equal(t, [][]float64{{1, 2, 3, 4, 5, 6}, {5, 6, 1, 2}, {9, 7}, {2.5, 0.5}, {4, 1}, {2.5, 0.5}}, got)
	require.Zero(t, b.All(problem.Upper).Rows)
}

// What goes wrong in an objective is an error of Compile that says where, and what there is.
func TestObjectiveErrors(t *testing.T) {
	const variables = "the upper variables are scale, the lower ones w, bias, the running statistics without names"
	for want, change := range map[string]func(*problem.Problem){
		"the lower objective of named uses a variable that is not there: " + variables: func(p *problem.Problem) {
			p.Lower.Value = func(x, y problem.Vars, _ problem.Batch) *tensor.Node { return y["W"].Sum() }
		},
		`there is no array "scales" (there are: scale); did you mean "scale"?`: func(p *problem.Problem) {
			p.Lower.Value = func(x, _ problem.Vars, _ problem.Batch) *tensor.Node { return x.Get("scales").Sum() }
		},
		"uses a variable that is not there": func(p *problem.Problem) {
			p.Lower.Value = func(x, y problem.Vars, _ problem.Batch) *tensor.Node {
				return y["w"].Flatten().Mul(x["scales"]).Sum()
			}
		},
		"the lower objective of named failed: runtime error: index out of range": func(p *problem.Problem) {
			p.Lower.Value = func(_, y problem.Vars, _ problem.Batch) *tensor.Node {
				return []*tensor.Node{}[y["w"].Size()]
			}
		},
		`the level has no rows called "zz" (there are: label, z); did you mean "z"?`: func(p *problem.Problem) {
			p.Lower.Value = func(_, _ problem.Vars, b problem.Batch) *tensor.Node { return b.Get("zz").Sum() }
		},
		`the level has no rows called "z": it has no data at all`: func(p *problem.Problem) {
			p.Lower.Rows = nil
			p.Lower.Value = func(_, _ problem.Vars, b problem.Batch) *tensor.Node { return b.Get("z").Sum() }
		},
		"the lower objective of named gives no node": func(p *problem.Problem) {
			p.Lower.Value = func(_, _ problem.Vars, _ problem.Batch) *tensor.Node { return nil }
		},
		"the lower objective of named gives Real [3]; wants one Real number": func(p *problem.Problem) {
			p.Lower.Value = func(_, y problem.Vars, _ problem.Batch) *tensor.Node { return y.Flat() }
		},
		"gives Int []; wants one Real number": func(p *problem.Problem) {
			p.Lower.Value = func(_, _ problem.Vars, _ problem.Batch) *tensor.Node { return tensor.IntConst(1) }
		},
		"the lower level of named is a residual, which has no value": func(p *problem.Problem) {
			p.Lower.Residual, p.Lower.Value = p.Lower.Value, nil
		},
		"shapes [3] and [2] differ": func(p *problem.Problem) { // a wrong shape keeps its own words
			p.Lower.Value = func(x, y problem.Vars, _ problem.Batch) *tensor.Node {
				return tensor.Dot(y.Flat(), x.Flat())
			}
		},
	} {
		ex := executor(t)
		p := named()
		change(p)
		b := bind(t, ex, p)
		_, err := ex.Compile("objective", func() []tensor.Update {
			v := ex.Variable("value", tensor.Real)
			at := b.Oracle().At(problem.Lower, vector(t, ex, []float64{1, 1}), vector(t, ex, []float64{1, 1, 1}),
				b.All(problem.Lower), params.Train, nil)
			return []tensor.Update{{Var: v, Value: at.Value()}}
		})
		require.ErrorContains(t, err, want)
		require.Regexp(t, `oracle_test\.go:\d+\)$`, err.Error(), "the line is the caller's")
	}
	p := named()
	p.Lower.Value = func(problem.Vars, problem.Vars, problem.Batch) *tensor.Node { panic("mine") }
	b := bind(t, executor(t), p)
	require.PanicsWithValue(t, "mine", func() {
		b.Oracle().At(problem.Lower, tensor.Zeros(2), tensor.Zeros(3), b.All(problem.Lower), params.Train, nil)
	}, "a panic of the caller's own is not touched")
}
