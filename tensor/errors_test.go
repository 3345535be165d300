package tensor

import (
	"errors"
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every misuse of a constructor names the operation, what does not fit, and the line of the caller.
func TestMisuse(t *testing.T) {
	ex := newRef(t)
	m, v, s := filled(t, ex, 3, 4).Node(), filled(t, ex, 5).Node(), Const(1)
	k := integers(t, ex, []int32{1, 2}, 2).Node()
	seed, step, images := k, IntConst(1), m.Reshape(1, 3, 4, 1)
	for _, c := range []struct {
		op    string
		says  string
		build func()
	}{
		{"Iota", "axis 1 of shape [2]", func() { Iota(1, 2) }},
		{"Iota", "negative", func() { Iota(0, -2) }},
		{"Expand", "negative", func() { Full(1, 2, -1) }},
		{"Reshape", "[3 4] has 12 elements, [5] does not", func() { m.Reshape(5) }},
		{"Reshape", "", func() { m.Reshape(-1, 5) }},
		{"Reshape", "negative", func() { m.Reshape(-1, -1) }},
		{"Permute", "[0 0] is no permutation of the axes of [3 4]", func() { m.Permute(0, 0) }},
		{"Permute", "", func() { m.Permute(1) }},
		{"Permute", "", func() { m.Permute() }},
		{"Permute", "", func() { s.Permute(0) }},
		{"Permute", "", func() { m.Permute(1, 2) }},
		{"T", "[5]", func() { v.T() }},
		{"Expand", "[5] does not broadcast to [2]", func() { v.Expand(2) }},
		{"Expand", "", func() { m.Expand(4) }},
		{"Slice", "axis 0, 2 to 6 of shape [5]", func() { v.Slice(0, 2, 6) }},
		{"Slice", "", func() { v.Slice(1, 0, 1) }},
		{"Slice", "", func() { v.Slice(0, 3, 2) }},
		{"Slice", "", func() { v.Slice(0, -1, 2) }},
		{"Slice", "", func() { s.Slice(0, 0, 1) }},
		{"Pad", "axis 2", func() { m.Pad(2, 1, 1) }},
		{"Pad", "", func() { m.Pad(0, -1, 1) }},
		{"Pad", "wants Real, got Int", func() { k.Pad(0, 1, 1) }},
		{"Concat", "nothing", func() { Concat(0) }},
		{"Concat", "axis 1 of shape [5]", func() { Concat(1, v) }},
		{"Concat", "Real [5] does not fit Real [3 4] along axis 0", func() { Concat(0, m, v) }},
		{"Concat", "", func() { Concat(0, m, m.T()) }},
		{"Concat", "Int", func() { Concat(0, v, k) }},
		{"Concat", "", func() { Concat(-1, v, v) }},
		{"add", "[[3 4] [5]] do not broadcast", func() { m.Add(v) }},
		{"mul", "wants Real, got Int", func() { v.Slice(0, 0, 2).Mul(k) }},
		{"div", "Int", func() { k.Div(k) }},
		{"exp", "Int", func() { k.Exp() }},
		{"toreal", "wants Int", func() { v.ToReal() }},
		{"where", "", func() { Where(v, m, m) }},
		{"clamp", "", func() { m.Clamp(v, s) }},
		{"le", "Int", func() { k.Le(k) }},
		{"mul", "Int", func() { k.Scale(2) }},
		{"Sum", "axes [2] of shape [3 4]", func() { m.Sum(2) }},
		{"Sum", "axes [0 0]", func() { m.Sum(0, 0) }},
		{"Sum", "", func() { m.Mean(-1) }},
		{"Sum", "Int", func() { k.Sum() }},
		{"MaxOver", "axes [5]", func() { m.MaxOver(5) }},
		{"Dot", "[3 4] and [5] differ", func() { Dot(m, v) }},
		{"MatMul", "[3 4] by [3 4]", func() { m.MatMul(m) }},
		{"MatMul", "", func() { v.MatMul(v) }},
		{"MatMul", "", func() { m.MatMul(m.T().Reshape(1, 4, 3)) }},
		{"MatMul", "", func() { m.Reshape(1, 3, 4).MatMul(m.T().Reshape(1, 4, 3).Expand(2, 4, 3)) }},
		{"Conv2D", "rank 4, got shape [3 4]", func() { Conv2D(m, images) }},
		{"Conv2D", "wants Real, got Int", func() { Conv2D(images, k) }},
		{"Conv2D", "images [1 3 4 1] by kernels [4 3 1 1]: a window that covers 4 rows is larger than the images, " +
			"which have 3, and 0 of padding", func() { Conv2D(images, m.Reshape(4, 3, 1, 1)) }},
		{"Conv2D", "stride 0", func() { Conv2D(images, m.Reshape(1, 1, 1, 12), Stride(1, 0)) }},
		{"Conv2D", "padding -1", func() { Conv2D(images, m.Reshape(1, 1, 1, 12), Padding(0, 0, -1, 0)) }},
		{"Conv2D", "2 groups do not divide 1 input and 12 output channels",
			func() { Conv2D(images, m.Reshape(1, 1, 1, 12), Groups(2)) }},
		{"Conv2D", "images [1 2 3 2] by kernels [1 1 1 12]: wants kernels for 2 channels, those of one of 1 groups",
			func() { Conv2D(images.Reshape(1, 2, 3, 2), m.Reshape(1, 1, 1, 12)) }},
		{"MaxPool2D", "window that covers 5 columns", func() { MaxPool2D(images, 3, 5) }},
		{"MaxPool2D", "padding by 2 rows for a window of 2", func() { MaxPool2D(images, 2, 2, Padding(2, 0, 0, 0)) }},
		{"MaxPool2D", "Dilation and Groups are options of Conv2D", func() { MaxPool2D(images, 2, 2, Dilation(2, 2)) }},
		{"AvgPool2D", "rank 4", func() { AvgPool2D(m, 2, 2) }},
		{"AvgPool2D", "width of a window 0", func() { AvgPool2D(images, 2, 0) }},
		{"GlobalAvgPool", "rank 4", func() { GlobalAvgPool(m) }},
		{"PadImages", "rank 4", func() { PadImages(m, 1, 1, 1, 1) }},
		{"BatchNorm", "at least 2 numbers", func() { BatchNorm(m.Reshape(1, 12), m.Flatten(), m.Flatten(), 1) }},
		{"BatchNorm", "weight [5] and bias [5], wants [4]", func() { BatchNorm(m, v, v, 1) }},
		{"LayerNorm", "weights [] for x of shape [3 4]", func() { LayerNorm(m, s, s, 1) }},
		{"LayerNorm", "weight [5] and bias [5], wants [4]", func() { LayerNorm(m, v, v, 1) }},
		{"GroupNorm", "3 groups do not divide 4 channels", func() { GroupNorm(m, 3, v, v, 1) }},
		{"GroupNorm", "weight [5]", func() { GroupNorm(m, 2, v, v, 1) }},
		{"Dropout", "rate 1: wants", func() { Dropout(m, 1, seed, step, 0) }},
		{"RandomCrops", "rank 4", func() { RandomCrops(m, k, 1, true, seed, step, 0) }},
		{"RandomCrops", "wants Int", func() { RandomCrops(images, v, 1, true, seed, step, 0) }},
		{"RandomCrops", "padding 4 of images [1 3 4 1]", func() { RandomCrops(images, k, 4, true, seed, step, 0) }},
		{"RandomCrops", "2^31 pixels", func() {
			RandomCrops(Zeros(1<<15, 1<<8, 1<<8, 1), k, 4, true, seed, step, 0)
		}},
		{"Softmax", "scalar", func() { s.Softmax() }},
		{"LogSoftmax", "Int", func() { k.LogSoftmax() }},
		{"CrossEntropy", "rank 2", func() { CrossEntropy(v, k) }},
		{"CrossEntropy", "logits [3 4] with labels [2]", func() { CrossEntropy(m, k) }},
		{"CrossEntropy", "wants Int", func() { CrossEntropy(m, v.Slice(0, 0, 3)) }},
		{"Gather", "wants Int", func() { Gather(m, v) }},
		{"Gather", "rank 1", func() { Gather(m, k.Reshape(1, 2)) }},
		{"Gather", "scalar", func() { Gather(s, k) }},
		{"ScatterAdd", "base [3 4], index [2], source [5]", func() { ScatterAdd(m, k, v) }},
		{"ScatterAdd", "Int", func() { ScatterAdd(k, k, k) }},
		{"ScatterAdd", "", func() { ScatterAdd(s, k, v.Slice(0, 0, 2)) }},
		{"ArgMax", "[]", func() { s.ArgMax() }},
		{"ArgMax", "[3 0]", func() { Zeros(3, 0).ArgMax() }},
		{"ArgMax", "Int", func() { k.ArgMax() }},
		{"KthLargest", "wants Int, got Real", func() { KthLargest(s, v) }},
		{"KthLargest", "wants one k, got shape [2]", func() { KthLargest(k, v) }},
		{"KthLargest", "wants Real, got Int", func() { KthLargest(step, v, k) }},
		{"KthLargest", "got 0 in 0 parts", func() { KthLargest(step) }},
		{"KthLargest", "got 0 in 1 parts", func() { KthLargest(step, Zeros(3, 0)) }},
		{"KthLargest", "got 2147483648 in 2 parts", func() { KthLargest(step, Zeros(1<<30), Zeros(1<<15, 1<<15)) }},
		{"KthLargest", "k is 18 of 17 elements", func() { KthLargest(IntConst(18), v, m) }},
		{"KthLargest", "k is 0 of 5 elements", func() { KthLargest(IntConst(0), v) }},
		{"OneHot", "wants Int", func() { OneHot(v, 3) }},
		{"Iota", "", func() { OneHot(k, -3) }},
		{"Random", "seed of 2 words", func() { RandomNormal(step, step, 0, 3) }},
		{"Random", "Int", func() { RandomUniform(seed, s, 0, 3) }},
		{"Random", "negative", func() { RandomUniform(seed, step, 0, -3) }},
		{"Random", "below 0", func() { RandomInts(0, seed, step, 0, 3) }},
		{"Variable", "negative", func() { ex.Variable("x", Real, -3) }},
		{"Grad", "one Real number, got Real [5]", func() { Grad(v, v) }},
		{"Grad", "Int", func() { Grad(step, v) }},
		{"derivative", "Int", func() { Grad(v.Sum(), k) }},
		{"VJP", "output [5] with cotangent []", func() { VJP([]*Node{v}, []*Node{v}, []*Node{s}) }},
		{"VJP", "1 outputs with 2", func() { VJP([]*Node{v}, []*Node{v}, []*Node{v, v}) }},
		{"VJP", "Int", func() { VJP([]*Node{k.ToReal()}, []*Node{v}, []*Node{k}) }},
		{"JVP", "variable [5] with tangent []", func() { JVP([]*Node{v}, []*Node{v}, []*Node{s}) }},
		{"JVP", "1 variables with 0", func() { JVP([]*Node{v}, []*Node{v}, nil) }},
		{"JVP", "", func() { HVP(v.Sum(), []*Node{v}, []*Node{m}) }},
		{"JVP", "Int", func() { JVP([]*Node{v}, []*Node{k}, []*Node{k}) }},
	} {
		var e *BuildError
		require.True(t, errors.As(Catch(c.build), &e), "%s %q: nothing wrong?", c.op, c.says)
		require.Equal(t, c.op, e.Op)
		require.Contains(t, e.Detail, c.says, c.op)
		require.True(t, strings.HasSuffix(e.File, "errors_test.go"), "%s blames %s:%d", c.op, e.File, e.Line)

		f, err := ex.Compile("wrong", func() []Update { c.build(); return nil })
		require.Nil(t, f)
		require.True(t, errors.As(err, &e), c.op)
		_, err = ex.CompileLoop("wrong", func() []Update { c.build(); return nil })
		require.True(t, errors.As(err, &e), c.op)
	}
}

func TestBuildErrorNamesTheLine(t *testing.T) {
	_, file, line, _ := runtime.Caller(0)
	err := Catch(func() { Zeros(2).Add(Zeros(3)) })
	var e *BuildError
	require.True(t, errors.As(err, &e))
	require.Equal(t, file, e.File)
	require.Equal(t, line+1, e.Line)
	require.Equal(t, "tensor", e.Package)
	require.Contains(t, err.Error(), "tensor: add: shapes [[2] [3]] do not broadcast (")
}

// A package that composes nodes fails like this one: the error carries its name and the caller's line.
func TestFail(t *testing.T) {
	require.Equal(t, "bilevel/tensor", packageOf("bilevel/tensor.(*Node).Add"))
	require.Equal(t, "example.org/a.b/models", packageOf("example.org/a.b/models.MLP.Apply.func1"))
	require.Equal(t, "main", packageOf("main.main"))
	_, file, line, _ := runtime.Caller(0)
	err := Catch(func() { Fail("MLP", "wants %d rows", 2) })
	var e *BuildError
	require.True(t, errors.As(err, &e))
	require.Equal(t, BuildError{"tensor", "MLP", "wants 2 rows", file, line + 1}, *e)
}

func TestCatchLetsOtherPanicsThrough(t *testing.T) {
	require.PanicsWithValue(t, "other", func() { _ = Catch(func() { panic("other") }) })
	require.NoError(t, Catch(func() {}))
}

// A nil node, a nil function and an update that is not whole are wrong calls like others, at every door; what is nil in
// the caller's own code is not.
func TestNilNodes(t *testing.T) {
	ex := newRef(t)
	v := filled(t, ex, 3)
	var none *Node
	some := v.Node()
	for op, build := range map[string]func() []Update{
		"Add":    func() []Update { return []Update{{v, none.Add(some)}} },
		"Mul":    func() []Update { return []Update{{v, some.Mul(none)}} },
		"Concat": func() []Update { return []Update{{v, Concat(0, some, none)}} },
		"Grad":   func() []Update { return []Update{{v, Grad(none, some)[0]}} },
		"Where":  func() []Update { return []Update{{v, Where(some, none, some)}} },
	} {
		_, err1 := ex.Compile("nil", build)
		_, err2 := ex.CompileLoop("nil", build)
		_, err3 := ex.Estimate("nil", build)
		for _, err := range []error{err1, err2, err3} {
			require.ErrorContains(t, err, "tensor: "+op+": a node is nil (")
			var e *BuildError
			require.True(t, errors.As(err, &e))
			require.True(t, strings.HasSuffix(e.File, "errors_test.go"), "%s blames %s", op, e.File)
		}
	}
	for want, build := range map[string]func() []Update{
		"there is no function that gives the updates": nil,
		"update 1 has no variable or no value":        func() []Update { return []Update{{v, some}, {v, nil}} },
		"update 0 has no variable or no value":        func() []Update { return []Update{{nil, some}} },
	} {
		_, err := ex.Compile("nil", build)
		require.ErrorContains(t, err, want)
		_, err = ex.CompileLoop("nil", build)
		require.ErrorContains(t, err, want)
	}
	var own *struct{ n int }
	require.Panics(t, func() {
		_, _ = ex.Compile("own", func() []Update { return []Update{{v, Const(float64(own.n))}} })
	})
	require.ErrorContains(t, v.CopyFrom(nil), "no variable to copy from")
	require.ErrorContains(t, v.CopyFrom(v), "to itself")
}

// Shapes whose number of elements no int counts are refused, and what the device does not hold is not read.
func TestShapesThatOverflow(t *testing.T) {
	ex := newRef(t)
	const half = 1 << 32
	column, row := Zeros(half, 1), Zeros(1, half)
	for op, build := range map[string]func(){
		"Variable": func() { ex.Variable("v", Real, half, half) },
		"Expand":   func() { Full(1, 3037000500, 3037000500) },
		"add":      func() { column.Add(row) },
		"MatMul":   func() { column.MatMul(row) },
		"Gather":   func() { Gather(row.Reshape(1, half), IntConst(0).Expand(half)) },
		"Pad":      func() { column.Pad(1, half, 0) },
	} {
		require.ErrorContains(t, Catch(build), "tensor: "+op+": ")
		require.ErrorContains(t, Catch(build), "has too many elements")
	}
	_, err := ex.Variable("v", Real, 1<<30, 1<<20).Read()
	require.Error(t, err)
}
