package device

import (
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
)

func TestSizes(t *testing.T) {
	require.Equal(t, 1, Size(nil))
	require.Equal(t, 24, Size([]int{2, 3, 4}))
	require.Equal(t, 0, Size([]int{2, 0, 4}))
	require.Equal(t, []int{12, 4, 1}, RowMajor([]int{2, 3, 4}))
	require.Equal(t, View{Buf: 1, Off: 5, Shape: []int{2, 3}, Strides: []int{3, 1}}, Dense(1, 5, 2, 3))
	require.Equal(t, 6, Dense(1, 5, 2, 3).Size())
}

func TestIsDense(t *testing.T) {
	view := func(shape []int, strides ...int) View { return View{Off: 7, Shape: shape, Strides: strides} }
	for _, v := range []View{
		Dense(0, 3), Dense(0, 3, 1), Dense(0, 0, 2, 3, 4),
		view([]int{1, 3}, 99, 1), view([]int{3, 1}, 1, 99), view([]int{2, 0}, 5, 9),
	} {
		require.True(t, v.IsDense(), "%+v", v)
	}
	for _, v := range []View{
		view([]int{3}, 2), view([]int{3}, 0), view([]int{2, 3}, 1, 2), view([]int{2, 3}, 4, 1), view([]int{2, 3}, 0, 1),
	} {
		require.False(t, v.IsDense(), "%+v", v)
	}
}

func TestSame(t *testing.T) {
	v := Dense(1, 2, 3, 1)
	require.True(t, v.Same(v))
	require.True(
		t, v.Same(View{Buf: 1, Off: 2, Shape: []int{3, 1}, Strides: []int{1, 77}}),
		"the stride of a single element says nothing",
	)
	require.False(t, v.Same(Dense(0, 2, 3, 1)))
	require.False(t, v.Same(Dense(1, 3, 3, 1)))
	require.False(t, v.Same(Dense(1, 2, 1, 3)))
	require.False(t, v.Same(View{Buf: 1, Off: 2, Shape: []int{3, 1}, Strides: []int{2, 1}}))
}

func TestInside(t *testing.T) {
	for _, c := range []struct {
		v    View
		n    int
		want bool
	}{
		{Dense(0, 0, 2, 3), 6, true}, {Dense(0, 0, 2, 3), 5, false}, {Dense(0, 1, 2, 3), 6, false},
		{Dense(0, 5), 6, true}, {Dense(0, 6), 6, false},
		{Dense(0, 6, 0), 6, true}, {Dense(0, 7, 0), 6, false}, {Dense(0, -1, 1), 6, false},
		{View{Shape: []int{2, 3}, Strides: []int{1, 2}}, 6, true},
		{View{Shape: []int{1000, 1000}, Strides: []int{0, 0}}, 1, true},
		{View{Shape: []int{3}, Strides: []int{math.MaxInt}}, 6, false}, // the product would wrap around
		{View{Shape: []int{2, 2, 2}, Strides: []int{1 << 62, 1 << 62, 1}}, 6, false},
		{View{Shape: []int{1}, Strides: []int{math.MaxInt}}, 1, true},
	} {
		require.Equal(t, c.want, c.v.inside(c.n), "%+v in %d", c.v, c.n)
	}
}

// sample is a valid instruction of each kind, over buffers 0 (Real) and 1 (Int) of 100 elements.
func sample(op Op) Instr {
	in := []View{Dense(0, 0, 2, 3)}
	switch op {
	case Gemm:
		return Instr{
			Op: op, Attr: GemmAttr{}, In: []View{Dense(0, 0, 2, 3, 4), Dense(0, 24, 2, 4, 5)},
			Out: []View{Dense(0, 64, 2, 3, 5)},
		}
	case Map:
		return Instr{Op: op, Attr: MapAttr{Shape: []int{2, 3}, Expr: first0()}, In: in, Out: []View{Dense(0, 6, 2, 3)}}
	case Reduce:
		return Instr{
			Op: op, Attr: ReduceAttr{Shape: []int{2, 3}, Expr: first0(), Axes: []int{1}, Kinds: []ReduceKind{Sum}},
			In: in, Out: []View{Dense(0, 6, 2, 1)},
		}
	case RowSoftmax:
		return Instr{Op: op, Attr: SoftmaxAttr{}, In: in, Out: []View{Dense(0, 6, 2, 3)}}
	case Conv:
		return Instr{Op: op, Attr: ConvAttr{Shape: convolution()}, In: []View{Dense(0, 0, 1, 4, 3, 2),
			Dense(0, 24, 3, 2, 1, 4)}, Out: []View{Dense(0, 48, 1, 2, 3, 4)}}
	case Pool:
		return Instr{Op: op, Attr: PoolAttr{Shape: windows()}, In: []View{Dense(0, 0, 1, 4, 3, 2)},
			Out: []View{Dense(0, 24, 1, 3, 1, 2)}}
	case Gather:
		return Instr{Op: op, In: []View{Dense(0, 0, 2, 3), Dense(1, 0, 4)}, Out: []View{Dense(0, 6, 4, 3)}}
	case ScatterAdd:
		return Instr{
			Op: op, In: []View{Dense(0, 0, 2, 3), Dense(1, 0, 4), Dense(0, 6, 4, 3)}, Out: []View{Dense(0, 0, 2, 3)},
		}
	case Order:
		return Instr{Op: op, Attr: OrderAttr{}, In: in, Out: []View{Dense(1, 0, 2)}}
	case Random:
		return Instr{
			Op: op, Attr: RandomAttr{}, In: []View{Dense(1, 0, 2), Dense(1, 2, 1)}, Out: []View{Dense(1, 3, 9)},
		}
	}
	return Instr{Op: Copy, In: in, Out: []View{Dense(1, 0, 2, 3)}}
}

// convolution of one image [4,3,2] by kernels of 3×2 to 4 channels in 2 groups: a result of 2×3.
func convolution() ConvShape {
	return ConvShape{N: 1, H: 4, W: 3, C: 2, K: 4, R: 3, S: 2, StrideH: 2, StrideW: 1, DilationH: 1, DilationW: 1,
		Top: 1, Left: 1, Groups: 2}
}

// windows of 2×3 over the same image: a result of 3×1.
func windows() PoolShape {
	return PoolShape{N: 1, H: 4, W: 3, C: 2, R: 2, S: 3, StrideH: 1, StrideW: 2}
}

// kthLargest is the other kind of Order, over two arrays.
func kthLargest() Instr {
	return Instr{
		Op: Order, Attr: OrderAttr{Kind: KthLargest}, In: []View{Dense(1, 0, 1), Dense(0, 0, 7), Dense(0, 50, 5)},
		Out: []View{Dense(1, 1, 1)},
	}
}

// first0 is the expression that is its first input.
func first0() *expr.Expr { return &expr.Expr{Steps: []expr.Step{{Fn: expr.Input}}, Outs: []int{0}} }

func validate(in Instr) error {
	p := &Program{Name: "p", Buffers: []Buffer{&memory{Real, 100}, &memory{Int, 100}, nil}, Code: []Instr{in}}
	return p.Validate()
}

func TestValidateAccepts(t *testing.T) {
	for op := range NumOp {
		require.NoError(t, validate(sample(op)), op)
	}
	require.NoError(t, validate(kthLargest()))
	most := kthLargest()
	most.In[1], most.In[2] = View{Shape: []int{math.MaxInt32}, Strides: []int{0}}, Dense(0, 0, 0)
	require.NoError(t, validate(most))
	empty := Instr{Op: Copy, In: []View{Dense(0, 0, 5, 0)}, Out: []View{Dense(0, 0, 5, 0)}} // strides 0 1
	require.NoError(t, validate(empty), "an output without elements repeats none")
	require.NoError(t, (&Program{}).Validate())
}

func TestValidateRefuses(t *testing.T) {
	attr := func(a Attr) func(*Instr) { return func(in *Instr) { in.Attr = a } }
	kth := func(change func(*Instr)) func(*Instr) {
		return func(in *Instr) {
			*in = kthLargest()
			change(in)
		}
	}
	conv := func(change func(*ConvShape)) func(*Instr) {
		s := convolution()
		change(&s)
		return attr(ConvAttr{Shape: s})
	}
	pool := func(change func(*PoolShape)) func(*Instr) {
		s := windows()
		change(&s)
		return attr(PoolAttr{Shape: s})
	}
	for _, c := range []struct {
		op     Op
		what   string
		change func(*Instr)
		says   string
	}{
		{Copy, "unknown operation", func(in *Instr) { in.Op = NumOp }, "unknown operation"},
		{Copy, "buffer out of range", func(in *Instr) { in.In[0].Buf = 3 }, "view of buffer 3"},
		{Copy, "negative buffer", func(in *Instr) { in.In[0].Buf = -1 }, "view of buffer -1"},
		{Copy, "nil buffer", func(in *Instr) { in.Out[0].Buf = 2 }, "view of buffer 2"},
		{Copy, "too few strides", func(in *Instr) { in.In[0].Strides = []int{1} }, "has 1 strides"},
		{Copy, "negative shape", func(in *Instr) { in.In[0].Shape = []int{-2, -3} }, "negative shape"},
		{Copy, "negative stride", func(in *Instr) { in.In[0].Strides = []int{3, -1} }, "negative strides"},
		{Copy, "negative offset", func(in *Instr) { in.In[0].Off = -1 }, "leaves its buffer"},
		{Copy, "past the end", func(in *Instr) { in.In[0].Off = 95 }, "leaves its buffer of 100"},
		{Copy, "strides that wrap around", func(in *Instr) { in.In[0].Strides = []int{1, math.MaxInt} },
			"leaves its buffer"},
		{Copy, "too many elements", func(in *Instr) {
			in.In[0] = View{Shape: []int{1 << 32, 1 << 32}, Strides: []int{0, 0}}
		}, "too many elements"},
		{Copy, "repeated output", func(in *Instr) { in.Out[0].Strides = []int{0, 1} }, "repeats elements"},
		{Copy, "shapes", func(in *Instr) { in.Out[0].Shape = []int{3, 2} }, "output has shape [3 2], wants [2 3]"},
		{Copy, "two inputs", func(in *Instr) { in.In = append(in.In, in.In[0]) }, "takes 1 inputs"},
		{Copy, "no output", func(in *Instr) { in.Out = nil }, "takes 1 inputs and 1 output, got 1 and 0"},

		{Map, "no attribute", attr(nil), "attribute is <nil>"},
		{Map, "another attribute", attr(OrderAttr{}), "attribute is device.OrderAttr"},
		{Map, "no expression", attr(MapAttr{Shape: []int{2, 3}}), "no expression"},
		{Map, "negative space", attr(MapAttr{Shape: []int{-2, 3}, Expr: first0()}), "negative shape"},
		{Map, "input shape", attr(MapAttr{Shape: []int{3, 2}, Expr: first0()}), "input 0 has shape [2 3], wants [3 2]"},
		{Map, "output shape", func(in *Instr) { in.Out[0] = Dense(0, 6, 6) }, "output 0 has shape [6]"},
		{Map, "output type", func(in *Instr) { in.Out[0].Buf = 1 }, "output 0 is Int, wants Real"},
		{Map, "number of outputs", func(in *Instr) { in.Out = append(in.Out, in.Out[0]) }, "1 results for 2 outputs"},
		{Map, "input number", func(in *Instr) { in.In = nil }, "reads input 0 of 0"},

		{Reduce, "no attribute", attr(nil), "attribute"},
		{Reduce, "no kinds", attr(ReduceAttr{Shape: []int{2, 3}, Expr: first0(), Axes: []int{1}}), "0 reductions"},
		{Reduce, "too many kinds", attr(
			ReduceAttr{Shape: []int{2, 3}, Expr: first0(), Axes: []int{1}, Kinds: []ReduceKind{0, 0}},
		), "2 reductions for 1"},
		{Reduce, "unknown kind", attr(
			ReduceAttr{Shape: []int{2, 3}, Expr: first0(), Axes: []int{1}, Kinds: []ReduceKind{7}},
		), "unknown reduction"},
		{Reduce, "axis out of range",
			attr(ReduceAttr{Shape: []int{2, 3}, Expr: first0(), Axes: []int{2}, Kinds: []ReduceKind{0}}), "axes [2]"},
		{Reduce, "axes not ascending",
			attr(ReduceAttr{Shape: []int{2, 3}, Expr: first0(), Axes: []int{1, 0}, Kinds: []ReduceKind{0}}),
			"axes [1 0]"},
		{Reduce, "axis twice",
			attr(ReduceAttr{Shape: []int{2, 3}, Expr: first0(), Axes: []int{1, 1}, Kinds: []ReduceKind{0}}),
			"axes [1 1]"},
		{Reduce, "negative axis",
			attr(ReduceAttr{Shape: []int{2, 3}, Expr: first0(), Axes: []int{-1}, Kinds: []ReduceKind{0}}), "axes [-1]"},
		{Reduce, "negative extent of a reduced axis", func(in *Instr) {
			one := &expr.Expr{Steps: []expr.Step{{Fn: expr.Const}}, Outs: []int{0}}
			in.Attr, in.In = ReduceAttr{Shape: []int{2, -3}, Expr: one, Axes: []int{1}, Kinds: []ReduceKind{0}}, nil
		}, "negative shape"},
		{Reduce, "output shape", func(in *Instr) { in.Out[0] = Dense(0, 6, 2) }, "output 0 has shape [2], wants [2 1]"},
		{Reduce, "reduced Int", func(in *Instr) { in.In[0].Buf, in.Out[0].Buf = 1, 1 }, "a reduced output is Int"},

		{Gemm, "no attribute", attr(nil), "attribute"},
		{Gemm, "one operand", func(in *Instr) { in.In = in.In[:1] }, "at least 2 inputs"},
		{Gemm, "rank", func(in *Instr) { in.In[0] = Dense(0, 0, 6, 4) }, "A has shape [6 4], wants rank 3"},
		{Gemm, "inner sizes", func(in *Instr) { in.In[1] = Dense(0, 24, 2, 3, 5) }, "do not fit"},
		{Gemm, "batches", func(in *Instr) { in.In[1] = Dense(0, 24, 1, 4, 5) }, "do not fit"},
		{Gemm, "output shape", func(in *Instr) { in.Out[0] = Dense(0, 64, 2, 5, 3) }, "output has shape"},
		{Gemm, "Int operand", func(in *Instr) { in.In[1].Buf = 1 }, "operand 1 is Int"},
		{Gemm, "mask missing", attr(GemmAttr{MaskA: true}), "a mask is missing"},
		{Gemm, "mask of the other shape",
			func(in *Instr) { in.Attr, in.In = GemmAttr{MaskA: true}, append(in.In, in.In[1]) }, "mask has shape"},
		{Gemm, "extra without epilogue", func(in *Instr) { in.In = append(in.In, in.In[1]) },
			"1 extra inputs without an epilogue"},
		{Gemm, "extra of another shape", func(in *Instr) {
			in.Attr, in.In = GemmAttr{Epilogue: first0()}, append(in.In, in.In[1])
		}, "input 1 has shape"},

		{RowSoftmax, "no attribute", attr(nil), "attribute"},
		{RowSoftmax, "unknown kind", attr(SoftmaxAttr{Kind: 9}), "unknown kind"},
		{RowSoftmax, "no labels", attr(SoftmaxAttr{Kind: CrossEntropy}), "takes 2 inputs"},
		{RowSoftmax, "Real labels", func(in *Instr) {
			in.Attr, in.In, in.Out = SoftmaxAttr{Kind: CrossEntropy}, append(in.In, Dense(0, 0, 2)),
				[]View{Dense(0, 6, 2)}
		}, "labels is Real"},
		{RowSoftmax, "rank", func(in *Instr) { in.In[0] = Dense(0, 0, 6) }, "rank 2"},
		{RowSoftmax, "Int", func(in *Instr) { in.In[0].Buf = 1 }, "input is Int"},

		{Conv, "no attribute", attr(nil), "attribute"},
		{Conv, "unknown kind", attr(ConvAttr{Kind: 3, Shape: convolution()}), "unknown kind 3"},
		{Conv, "one operand", func(in *Instr) { in.In = in.In[:1] }, "at least 2 inputs"},
		{Conv, "kernel larger than the images", conv(func(s *ConvShape) { s.Top, s.DilationH = 0, 2 }),
			"a window that covers 5 rows is larger than the images, which have 4, and 0 of padding"},
		{Conv, "kernel wider than the images", conv(func(s *ConvShape) { s.Left, s.W = 0, 1 }),
			"a window that covers 2 columns"},
		{Conv, "stride 0", conv(func(s *ConvShape) { s.StrideW = 0 }), "stride 0: wants at least 1"},
		{Conv, "negative stride", conv(func(s *ConvShape) { s.StrideH = -1 }), "stride -1"},
		{Conv, "dilation 0", conv(func(s *ConvShape) { s.DilationH = 0 }), "dilation 0"},
		{Conv, "negative padding", conv(func(s *ConvShape) { s.Bottom = -1 }), "padding -1: wants at least 0"},
		{Conv, "no kernel", conv(func(s *ConvShape) { s.S = 0 }), "height and width of a kernel 0"},
		{Conv, "negative batch", conv(func(s *ConvShape) { s.N = -1 }), "number of images -1"},
		{Conv, "no channels", conv(func(s *ConvShape) { s.C = 0 }), "number of channels 0"},
		{Conv, "groups that do not divide", conv(func(s *ConvShape) { s.Groups = 3 }),
			"3 groups do not divide 2 input and 4 output channels"},
		{Conv, "no groups", conv(func(s *ConvShape) { s.Groups = 0 }), "number of groups 0"},
		{Conv, "sizes that wrap around", conv(func(s *ConvShape) {
			s.N, s.H, s.W, s.C = math.MaxInt32, math.MaxInt32, math.MaxInt32, 2
		}), "too many elements"},
		{Conv, "padding that wraps around", conv(func(s *ConvShape) { s.Top = math.MaxInt }), "less than 2^31"},
		{Conv, "weights of another shape", func(in *Instr) { in.In[1] = Dense(0, 24, 3, 2, 2, 4) },
			"w has shape [3 2 2 4], wants [3 2 1 4]"},
		{Conv, "images of another shape", func(in *Instr) { in.In[0] = Dense(0, 0, 1, 3, 4, 2) }, "x has shape"},
		{Conv, "result of another shape", func(in *Instr) { in.Out[0] = Dense(0, 48, 1, 3, 2, 4) }, "y has shape"},
		{Conv, "another kind's operands", attr(ConvAttr{Kind: ConvInputGradient, Shape: convolution()}),
			"y has shape [1 4 3 2], wants [1 2 3 4]"},
		{Conv, "Int images", func(in *Instr) { in.In[0].Buf = 1 }, "x is Int"},
		{Conv, "strided images", func(in *Instr) { in.In[0].Strides = []int{24, 6, 2, 0} }, "wants dense arrays"},
		{Conv, "strided result", func(in *Instr) { in.Out[0].Strides = []int{24, 4, 8, 1} }, "wants dense arrays"},
		{Conv, "extra without epilogue", func(in *Instr) { in.In = append(in.In, in.Out[0]) },
			"1 extra inputs without an epilogue"},
		{Conv, "extra of another shape", func(in *Instr) {
			in.Attr, in.In = ConvAttr{Shape: convolution(), Epilogue: first0()}, append(in.In, in.In[1])
		}, "input 1 has shape"},

		{Pool, "no attribute", attr(nil), "attribute"},
		{Pool, "unknown kind", attr(PoolAttr{Kind: 5, Shape: windows()}), "unknown kind 5"},
		{Pool, "window larger than the images", pool(func(s *PoolShape) { s.R = 5 }), "covers 5 rows"},
		{Pool, "stride 0", pool(func(s *PoolShape) { s.StrideW = 0 }), "stride 0: wants at least 1"},
		{Pool, "windows without a pixel", pool(func(s *PoolShape) { s.Top = 2 }),
			"padding by 2 rows for a window of 2: it would hold no pixel"},
		{Pool, "windows right of the images", pool(func(s *PoolShape) { s.Right = 3 }), "padding by 3 columns"},
		{Pool, "negative padding", pool(func(s *PoolShape) { s.Left = -1 }), "padding -1"},
		{Pool, "no window", pool(func(s *PoolShape) { s.S = 0 }), "height and width of a window 0"},
		{Pool, "no tangent", attr(PoolAttr{Kind: MaxPoolTangent, Shape: windows()}), "takes 2 inputs"},
		{Pool, "images of another shape", func(in *Instr) { in.In[0] = Dense(0, 0, 1, 3, 4, 2) }, "input 0 has shape"},
		{Pool, "result of another shape", func(in *Instr) { in.Out[0] = Dense(0, 24, 1, 1, 3, 2) },
			"output has shape"},
		{Pool, "Int result", func(in *Instr) { in.Out[0].Buf = 1 }, "output is Int"},
		{Pool, "strided images", func(in *Instr) { in.In[0].Strides = []int{24, 6, 2, 0} }, "wants dense arrays"},

		{Gather, "index rank", func(in *Instr) { in.In[1] = Dense(1, 0, 2, 2) }, "index has shape"},
		{Gather, "Real index", func(in *Instr) { in.In[1].Buf = 0 }, "index is Real"},
		{Gather, "table rank", func(in *Instr) { in.In[0] = Dense(0, 0) }, "table has shape"},
		{Gather, "output shape", func(in *Instr) { in.Out[0] = Dense(0, 6, 3, 3) }, "output has shape"},
		{Gather, "output type", func(in *Instr) { in.Out[0].Buf = 1 }, "output is Int"},

		{ScatterAdd, "scalar base", func(in *Instr) { in.In[0] = Dense(0, 0) }, "base has shape []"},
		{ScatterAdd, "index rank", func(in *Instr) { in.In[1] = Dense(1, 0) }, "index has shape"},
		{ScatterAdd, "Int base", func(in *Instr) { in.In[0].Buf = 1 }, "base is Int"},
		{ScatterAdd, "source shape", func(in *Instr) { in.In[2] = Dense(0, 6, 3, 4) },
			"source has shape [3 4], wants [4 3]"},
		{ScatterAdd, "source missing", func(in *Instr) { in.In = in.In[:2] }, "takes 3 inputs"},

		{Order, "no attribute", attr(nil), "attribute"},
		{Order, "unknown kind", attr(OrderAttr{Kind: 3}), "unknown kind 3"},
		{Order, "empty rows", func(in *Instr) { in.In[0] = Dense(0, 0, 2, 0) }, "rows without elements"},
		{Order, "Real output", func(in *Instr) { in.Out[0].Buf = 0 }, "output is Real"},
		{Order, "output shape", func(in *Instr) { in.Out[0] = Dense(1, 0, 2, 1) }, "output has shape"},
		{Order, "nothing but k", kth(func(in *Instr) { in.In = in.In[:1] }),
			"takes k, at least 1 input and 1 output, got 1 and 1 views"},
		{Order, "two places", kth(func(in *Instr) { in.Out = append(in.Out, in.Out[0]) }), "got 3 and 2 views"},
		{Order, "several k", kth(func(in *Instr) { in.In[0] = Dense(1, 0, 2) }), "k has shape [2], wants [1]"},
		{Order, "scalar k", kth(func(in *Instr) { in.In[0] = Dense(1, 0) }), "k has shape [], wants [1]"},
		{Order, "Real k", kth(func(in *Instr) { in.In[0].Buf = 0 }), "k is Real"},
		{Order, "rank of an input", kth(func(in *Instr) { in.In[2] = Dense(0, 0, 2, 3) }),
			"input 2 has shape [2 3], wants rank 1"},
		{Order, "Int input", kth(func(in *Instr) { in.In[1].Buf = 1 }), "input 1 is Int"},
		{Order, "Real place", kth(func(in *Instr) { in.Out[0].Buf = 0 }), "output is Real"},
		{Order, "scalar place", kth(func(in *Instr) { in.Out[0] = Dense(1, 0) }), "output has shape [], wants [1]"},
		{Order, "no elements", kth(func(in *Instr) { in.In[1], in.In[2] = Dense(0, 0, 0), Dense(0, 5, 0) }),
			"no elements to choose from"},
		{Order, "2^31 elements", kth(func(in *Instr) {
			for i := range in.In[1:] {
				in.In[1+i] = View{Shape: []int{1 << 30}, Strides: []int{0}}
			}
		}), "2^31 elements or more"},
		{Order, "sizes that wrap around", kth(func(in *Instr) {
			in.In[2] = View{Shape: []int{math.MaxInt}, Strides: []int{0}}
		}), "2^31 elements or more"},

		{Random, "no attribute", attr(nil), "attribute"},
		{Random, "unknown kind", attr(RandomAttr{Kind: 9}), "unknown kind"},
		{Random, "integers below 0", attr(RandomAttr{Kind: Integers}), "integers below 0"},
		{Random, "integers below too much", attr(RandomAttr{Kind: Integers, N: 1<<31 + 1}), "integers below"},
		{Random, "Int normals", attr(RandomAttr{Kind: Normal}), "output is Int, wants Real"},
		{Random, "seed of one word", func(in *Instr) { in.In[0] = Dense(1, 0, 1) }, "seed has shape"},
		{Random, "Real step", func(in *Instr) { in.In[1].Buf = 0 }, "step is Real"},
		{Random, "output rank", func(in *Instr) { in.Out[0] = Dense(1, 3, 3, 3) }, "rank 1"},
	} {
		in := sample(c.op)
		in.In, in.Out = slices.Clone(in.In), slices.Clone(in.Out)
		c.change(&in)
		err := validate(in)
		require.ErrorContains(t, err, c.says, "%s: %s", c.op, c.what)
		require.ErrorContains(t, err, `device: program "p", instruction 0`)
	}
}
