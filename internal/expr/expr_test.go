package expr

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestTableIsComplete(t *testing.T) {
	names := map[string]Fn{}
	for f := range NumFn {
		row := Table[f]
		require.NotEmpty(t, row.Name, "function %d", uint8(f))
		other, taken := names[row.Name]
		require.False(t, taken, "%s is the name of %d and %d", row.Name, other, f)
		names[row.Name] = f
		require.Equal(t, row.Name, f.String())

		leaf := f <= Iota
		require.Equal(t, leaf, row.Arity == 0, "%s", f)
		require.LessOrEqual(t, row.Arity, len(Step{}.Args), "%s", f)
		onReals := !leaf && row.In == Real && row.Out == Real
		require.Equal(t, onReals, row.Eval != nil, "%s: Eval defines functions from Real to Real, and only these", f)
	}
	require.Equal(t, "Fn(200)", Fn(200).String())
}

// TestEval holds the promises that the comments of the functions make.
func TestEval(t *testing.T) {
	nan, inf, minus := math.NaN(), math.Inf(1), math.Copysign(0, -1)
	for _, c := range []struct {
		f             Fn
		a, b, c, want float64
	}{
		{Sign, -3, 0, 0, -1}, {Sign, minus, 0, 0, 0}, {Sign, nan, 0, 0, nan}, {Sign, inf, 0, 0, 1},
		{Sigmoid, 0, 0, 0, 0.5}, {Sigmoid, 1000, 0, 0, 1}, {Sigmoid, -1000, 0, 0, 0}, {Sigmoid, nan, 0, 0, nan},
		{Softplus, 0, 0, 0, math.Ln2}, {Softplus, 1000, 0, 0, 1000}, {Softplus, -1000, 0, 0, 0},
		{Softplus, inf, 0, 0, inf}, {Softplus, nan, 0, 0, nan},
		{Relu, -1, 0, 0, 0}, {Relu, 2, 0, 0, 2}, {Relu, nan, 0, 0, nan}, {Relu, minus, 0, 0, 0},
		{Max, nan, 1, 0, nan}, {Max, 1, nan, 0, nan}, {Max, minus, 0, 0, 0}, {Min, 0, minus, 0, minus},
		{Min, 1, nan, 0, nan},
		{Lt, 1, 2, 0, 1}, {Lt, 2, 2, 0, 0}, {Lt, nan, 2, 0, 0}, {Le, 2, 2, 0, 1}, {Le, 2, nan, 0, 0},
		{Eq, 0, minus, 0, 1}, {Eq, nan, nan, 0, 0},
		{Where, 1, 2, 3, 2}, {Where, minus, 2, 3, 3}, {Where, nan, 2, 3, 2},
		{Clamp, 5, 0, 1, 1}, {Clamp, -5, 0, 1, 0}, {Clamp, 0.5, 0, 1, 0.5}, {Clamp, nan, 0, 1, nan},
	} {
		got := Table[c.f].Eval(c.a, c.b, c.c)
		same := math.Float64bits(got) == math.Float64bits(c.want) || math.IsNaN(got) && math.IsNaN(c.want)
		require.True(t, same, "%s(%v, %v, %v) = %v, want %v", c.f, c.a, c.b, c.c, got, c.want)
	}
}

func TestTypes(t *testing.T) {
	e := &Expr{Steps: []Step{
		{Fn: Input, Arg: 1}, {Fn: Iota, Arg: 2}, {Fn: IAdd, Args: [3]int{0, 1}}, {Fn: ToReal, Args: [3]int{2}},
		{Fn: Input},
		{Fn: Mul, Args: [3]int{3, 4}}, {Fn: ToInt, Args: [3]int{5}},
	}, Outs: []int{5, 6}}
	types, err := e.Types([]Type{Real, Int}, 3)
	require.NoError(t, err)
	require.Equal(t, []Type{Int, Int, Int, Real, Real, Real, Int}, types)
	require.Equal(t, "v0=input 1; v1=iota 2; v2=iadd v0 v1; v3=toreal v2; v4=input 0; v5=mul v3 v4; v6=toint "+
		"v5; -> v5 v6", e.String())
}

func TestTypesRefuses(t *testing.T) {
	in := Step{Fn: Input}
	for _, c := range []struct {
		what string
		e    Expr
		says string
	}{
		{"nothing", Expr{}, "nothing leaves"},
		{"no outputs", Expr{Steps: []Step{in}}, "nothing leaves"},
		{"output out of range", Expr{Steps: []Step{in}, Outs: []int{1}}, "names value 1 of 1"},
		{"negative output", Expr{Steps: []Step{in}, Outs: []int{-1}}, "names value -1"},
		{"unknown function", Expr{Steps: []Step{{Fn: NumFn}}, Outs: []int{0}}, "unknown function"},
		{"input out of range", Expr{Steps: []Step{{Fn: Input, Arg: 2}}, Outs: []int{0}}, "reads input 2 of 2"},
		{"negative input", Expr{Steps: []Step{{Fn: Input, Arg: -1}}, Outs: []int{0}}, "reads input -1"},
		{"axis out of range", Expr{Steps: []Step{{Fn: Iota, Arg: 1}}, Outs: []int{0}}, "axis 1 of a space of rank 1"},
		{"negative axis", Expr{Steps: []Step{{Fn: Iota, Arg: -1}}, Outs: []int{0}}, "axis -1"},
		{"own value", Expr{Steps: []Step{{Fn: Neg, Args: [3]int{0}}}, Outs: []int{0}}, "not computed before"},
		{"later value", Expr{Steps: []Step{in, {Fn: Add, Args: [3]int{0, 2}}, in}, Outs: []int{1}},
			"not computed before"},
		{"negative value", Expr{Steps: []Step{in, {Fn: Neg, Args: [3]int{-1}}}, Outs: []int{1}}, "not computed before"},
		{"Int for Real", Expr{Steps: []Step{{Fn: Iota}, {Fn: Exp}}, Outs: []int{1}}, "takes Real, value 0 is Int"},
		{"Real for Int", Expr{Steps: []Step{in, {Fn: ToReal}}, Outs: []int{1}}, "takes Int, value 0 is Real"},
	} {
		_, err := c.e.Types([]Type{Real, Int}, 1)
		require.ErrorContains(t, err, c.says, c.what)
		require.True(t, strings.HasPrefix(err.Error(), "expr: "), c.what)
	}
}
