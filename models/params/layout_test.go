package params_test

import (
	"strings"
	"testing"

	"bilevel/device/ref"
	"bilevel/models/params"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// layer is the part of an array's name before the dot.
func layer(a params.Array) string {
	before, _, _ := strings.Cut(a.Name, ".")
	return before
}

func isWeight(a params.Array) bool { return len(a.Shape) == 2 }

var layout = params.Layout{}.With("0.weight", 2, 3).With("0.bias", 3).With("count").With("1.weight", 1, 2)

// eval computes nodes on the reference device. build makes them from a flat vector 1, 2, … of the layout's length and
// from values [G].
func eval(t *testing.T, values []float64, build func(flat, values *tensor.Node) []*tensor.Node) (out [][]float64) {
	t.Helper()
	ex := tensor.NewExecutor(ref.New())
	defer ex.Close()
	flat, v := ex.Variable("flat", tensor.Real, layout.Size()), ex.Variable("values", tensor.Real, len(values))
	numbers := make([]float64, layout.Size())
	for i := range numbers {
		numbers[i] = float64(i + 1)
	}
	require.NoError(t, flat.Write(numbers))
	require.NoError(t, v.Write(values))
	var updates []tensor.Update
	f, err := ex.Compile("test", func() []tensor.Update {
		for _, n := range build(flat.Node(), v.Node()) {
			updates = append(updates, tensor.Update{Var: ex.Variable("out", tensor.Real, n.Shape()...), Value: n})
		}
		return updates
	})
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	for _, u := range updates {
		got, err := u.Var.Read()
		require.NoError(t, err)
		out = append(out, got)
	}
	return out
}

func TestNamedNodes(t *testing.T) {
	got := eval(t, []float64{0}, func(flat, _ *tensor.Node) []*tensor.Node {
		v := layout.Vars(flat)
		require.Equal(t, []int{2, 3}, v["0.weight"].Shape())
		require.Empty(t, v["count"].Shape())
		require.Same(t, flat, v.Flat())
		require.Nil(t, v["2.weight"])
		return []*tensor.Node{v["0.weight"], v["0.bias"], v["count"], v["1.weight"], layout.Mask(isWeight)}
	})
	require.Equal(t, [][]float64{
		{1, 2, 3, 4, 5, 6}, {7, 8, 9}, {10}, {11, 12}, {1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 1, 1},
	}, got)
}

// ByGroup makes one weight decay per layer, Σ decay_l w² over weights only. It is differentiable with respect to the
// decay, and arrays of no group have decay 0.
func TestByGroup(t *testing.T) {
	decayed := func(a params.Array) string {
		if isWeight(a) {
			return layer(a)
		}
		return ""
	}
	require.Equal(t, []string{"0", "count", "1"}, layout.Groups(layer))
	require.Equal(t, []string{"0", "1"}, layout.Groups(decayed))
	require.Empty(t, layout.Groups(func(params.Array) string { return "" }))
	got := eval(t, []float64{0.5, 3}, func(flat, decay *tensor.Node) []*tensor.Node {
		spread := layout.ByGroup(decay, decayed)
		penalty := tensor.Dot(spread, flat.Square())
		return []*tensor.Node{spread, penalty, tensor.Grad(penalty, decay)[0]}
	})
	require.Equal(t, [][]float64{
		{0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0, 0, 0, 0, 3, 3}, {0.5*91 + 3*265}, {91, 265}, // 1+4+…+36 and 121+144
	}, got)
	err := tensor.Catch(func() { layout.ByGroup(tensor.Zeros(3), decayed) })
	require.ErrorContains(t, err, "params: ByGroup: ")
	require.ErrorContains(t, err, "[3] for the 2 groups 0, 1")
	require.Error(t, tensor.Catch(func() { layout.ByGroup(tensor.Const(1), decayed) }))
}

func TestLayoutNames(t *testing.T) {
	require.Equal(t, []string{"0.weight", "0.bias", "count", "1.weight"}, layout.Names())
	require.Equal(t, 12, layout.Size())
	require.NoError(t, layout.Check())
	require.Zero(t, params.Layout(nil).Size())
	a, err := layout.Find("0.bias")
	require.NoError(t, err)
	require.Equal(t, params.Array{Name: "0.bias", Shape: []int{3}, Off: 6}, a)
	_, err = layout.Find("0.bais")
	require.ErrorContains(t, err,
		`no array "0.bais" (there are 0.weight, 0.bias, count, 1.weight); did you mean "0.bias"?`)
	_, err = params.Layout(nil).Find("x")
	require.ErrorContains(t, err, "no named arrays")
	// With does not change its receiver, even where the receiver's slice has room for one more array.
	one := layout.With("a", 1)
	two := layout.With("b", 2)
	require.Equal(t, "a", one[4].Name)
	require.Equal(t, "b", two[4].Name)

	for says, l := range map[string]params.Layout{
		"has no name":              {{Shape: []int{1}}},
		`two arrays are called`:    params.Layout{}.With("a", 1).With("a", 1),
		"has no elements":          params.Layout{}.With("a", 0),
		"begins at element 3, not": {{Name: "a", Shape: []int{1}, Off: 3}},
	} {
		require.ErrorContains(t, l.Check(), says)
	}
}

func TestValues(t *testing.T) {
	v := params.Values{}.And("a", 1, 2).AndShaped("b", []int{2, 1}, []float64{3, 4})
	require.NoError(t, v.Check())
	require.Equal(t, []float64{3, 4}, v.Of("b"))
	require.Nil(t, v.Of("c"))
	require.Equal(t, 4, v.Size())
	other := v.Like([]float64{5, 6, 7, 8})
	require.Equal(t, []float64{7, 8}, other.Of("b"))
	other.Of("b")[0] = 9
	require.Equal(t, []float64{5, 6, 9, 8}, other.Flat, "Of gives a part of Flat, not a copy")
	require.ErrorContains(t, v.Like([]float64{1}).Check(), "1 numbers for the arrays a, b, which have 4 elements")
	require.Nil(t, v.Like([]float64{1}).Of("b"))
	require.NoError(t, params.Vector(1, 2).Check())
	require.Equal(t, []float64{7, 7, 7}, params.Repeat(7, 3).Flat)
	left, right := v.And("c", 1), v.And("d", 2)
	require.Equal(t, []float64{1}, left.Of("c"))
	require.Equal(t, []float64{2}, right.Of("d"))
}

func TestModes(t *testing.T) {
	require.Equal(t, "train", params.Mode(0).String(), "the zero value is Train")
	require.Equal(t, "train with frozen statistics", params.TrainFrozen.String())
	require.Equal(t, "evaluate", params.Eval.String())
	require.Equal(t, "Mode(9)", params.Mode(9).String())
}
