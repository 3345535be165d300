package report

import (
	"fmt"
	"math/rand/v2"

	"bilevel/device"
	"bilevel/internal/expr"
)

// Scene is an operation that is measured at every size.
type Scene struct {
	Name   string
	Tensor bool // on a device with cuda.Options.TensorCores
	work   func(Size) *work
}

// work is one instruction over operands of its own.
type work struct {
	shape       string
	bytes, flop float64
	operands    []operand
	instr       device.Instr
}

type operand struct {
	typ  device.Type
	n    int
	ints []int32 // contents, where they matter
}

// view is a view of a new operand.
func (w *work) view(typ device.Type, shape, strides []int, ints ...int32) device.View {
	v := device.View{Buf: len(w.operands), Shape: shape, Strides: strides}
	n := 1
	for a, d := range shape {
		n += (d - 1) * strides[a]
	}
	w.operands = append(w.operands, operand{typ, n, ints})
	return v
}

func (w *work) in(typ device.Type, shape, strides []int, ints ...int32) {
	w.instr.In = append(w.instr.In, w.view(typ, shape, strides, ints...))
}

func (w *work) out(typ device.Type, shape ...int) {
	w.instr.Out = append(w.instr.Out, w.view(typ, shape, device.RowMajor(shape)))
}

func (w *work) real(shape ...int) { w.in(device.Real, shape, device.RowMajor(shape)) }

// inPlace makes an output of an input.
func (w *work) inPlace(i int) { w.instr.Out = append(w.instr.Out, w.instr.In[i]) }

// draws are n indices below a number, the same every time.
func draws(n, below int) []int32 {
	rng := rand.New(rand.NewPCG(uint64(n), uint64(below)))
	list := make([]int32, n)
	for i := range list {
		list[i] = rng.Int32N(int32(below))
	}
	return list
}

// Scenes lists what is measured: each kernel of package kernels that a device can launch, and kernels as they are
// emitted for solvers and networks.
func Scenes() []Scene {
	all := []Scene{
		product("deep", factors{}, func(s Size) (b, m, n, k int) { return 1, 64, 64, 64 * s.Side }),
		product("batch of tiny", factors{}, func(s Size) (b, m, n, k int) { return s.Words / 64, 8, 8, 8 }),
	}
	for _, f := range []factors{{}, {turnA: true}, {turnB: true}, {turnA: true, turnB: true}, {odd: true}, {mask: true},
		{odd: true, mask: true}} {
		all = append(all,
			product("square", f, func(s Size) (b, m, n, k int) { return 1, s.Side, s.Side, s.Side }),
			product("narrow", f, func(s Size) (b, m, n, k int) { return 1, s.Side, 16, s.Side }))
	}
	// narrow results stay in float32
	for _, f := range []factors{{}, {turnA: true}, {turnA: true, turnB: true}, {odd: true}, {mask: true},
		{odd: true, mask: true}} {
		f.tensor = true
		all = append(all, product("square", f, func(s Size) (b, m, n, k int) { return 1, s.Side, s.Side, s.Side }))
	}
	for _, cols := range []int{128, 2048} {
		for _, kind := range []device.SoftmaxKind{device.Softmax, device.LogSoftmax, device.CrossEntropy} {
			all = append(all, softmax(kind, cols))
		}
		all = append(all, argMax(cols))
	}
	all = append(all, kthLargest())
	for _, cols := range []int{128, 65} {
		all = append(all, gather(cols, device.Real), gather(cols, device.Byte))
	}
	all = append(all, scatterAdd())
	for _, kind := range []device.RandomKind{device.Bits, device.Integers, device.Uniform, device.Normal} {
		all = append(all, random(kind))
	}
	for _, cast := range []struct {
		name     string
		from, to device.Type
	}{{"copy", device.Real, device.Real}, {"copy to real", device.Int, device.Real},
		{"copy to int", device.Real, device.Int}} {
		for _, how := range []string{"dense", "transposed", "strided"} {
			all = append(all, copied(cast.name+", "+how, cast.from, cast.to, how))
		}
	}
	return append(all, emitted()...)
}

// factors say how those of a product lie and are used.
type factors struct {
	turnA, turnB bool // transposed
	odd          bool // rows that begin at no multiples of 16 bytes
	mask         bool // on A
	tensor       bool // rounded to TF32, for tensor cores
}

func (f factors) String() string {
	text := ""
	for _, word := range []struct {
		on   bool
		name string
	}{{f.turnA, ", A transposed"}, {f.turnB, ", B transposed"}, {f.odd, ", unaligned"}, {f.mask, ", masked"},
		{f.tensor, ", tf32"}} {
		if word.on {
			text += word.name
		}
	}
	return text
}

// strides are those of a batch of matrices.
func (f factors) strides(rows, cols int, turned bool) []int {
	if turned {
		rows, cols = cols, rows
	}
	lead := cols
	if f.odd {
		lead++
	}
	if turned {
		return []int{rows * lead, 1, lead}
	}
	return []int{rows * lead, lead, 1}
}

func product(name string, f factors, shape func(Size) (b, m, n, k int)) Scene {
	return Scene{"gemm, " + name + f.String(), f.tensor, func(s Size) *work {
		b, m, n, k := shape(s)
		B, M, N, K := float64(b), float64(m), float64(n), float64(k)
		w := &work{
			shape: fmt.Sprintf("%dx%d by %dx%d", m, k, k, n), bytes: 4 * B * (M*K + K*N + M*N), flop: 2 * B * M * N * K,
		}
		if b > 1 {
			w.shape = fmt.Sprintf("%d of %s", b, w.shape)
		}
		w.in(device.Real, []int{b, m, k}, f.strides(m, k, f.turnA))
		w.in(device.Real, []int{b, k, n}, f.strides(k, n, f.turnB))
		if f.mask {
			w.in(device.Real, []int{b, m, k}, f.strides(m, k, f.turnA))
			w.bytes += 4 * B * M * K
		}
		w.out(device.Real, b, m, n)
		w.instr.Op, w.instr.Attr = device.Gemm, device.GemmAttr{MaskA: f.mask}
		return w
	}}
}

// rows is how many rows of so many columns make a vector of the size.
func (s Size) rows(cols int) int { return max(1, s.Words/cols) }

func softmax(kind device.SoftmaxKind, cols int) Scene {
	return Scene{Name: fmt.Sprintf("%s, %d columns", kind, cols), work: func(s Size) *work {
		rows := s.rows(cols)
		w := &work{shape: fmt.Sprintf("%dx%d", rows, cols), bytes: 8 * float64(rows*cols)}
		w.instr.Op, w.instr.Attr = device.RowSoftmax, device.SoftmaxAttr{Kind: kind}
		w.real(rows, cols)
		if kind == device.CrossEntropy {
			w.in(device.Int, []int{rows}, []int{1}, draws(rows, cols)...)
			w.out(device.Real, rows)
			w.bytes = 4*float64(rows*cols) + 8*float64(rows)
		} else {
			w.out(device.Real, rows, cols)
		}
		return w
	}}
}

func argMax(cols int) Scene {
	return Scene{Name: fmt.Sprintf("arg-max, %d columns", cols), work: func(s Size) *work {
		rows := s.rows(cols)
		w := &work{shape: fmt.Sprintf("%dx%d", rows, cols), bytes: 4 * float64(rows*(cols+1))}
		w.instr.Op, w.instr.Attr = device.Order, device.OrderAttr{Kind: device.ArgMax}
		w.real(rows, cols)
		w.out(device.Int, rows)
		return w
	}}
}

// kthLargest finds the threshold that leaves a tenth, as pruning does.
func kthLargest() Scene {
	return Scene{Name: "k-th largest", work: func(s Size) *work {
		w := &work{shape: fmt.Sprintf("%d of %d", s.Words/10, s.Words), bytes: 4 * float64(s.Words)}
		w.instr.Op, w.instr.Attr = device.Order, device.OrderAttr{Kind: device.KthLargest}
		w.in(device.Int, []int{1}, []int{1}, int32(s.Words/10))
		w.real(s.Words)
		w.out(device.Int, 1)
		return w
	}}
}

// gather picks rows of a table of numbers, or of bytes that become numbers.
func gather(cols int, table device.Type) Scene {
	name, element := "gather", 4.
	if table == device.Byte {
		name, element = "gather of bytes", 1
	}
	return Scene{Name: fmt.Sprintf("%s, rows of %d", name, cols), work: func(s Size) *work {
		rows := s.rows(cols)
		w := &work{
			shape: fmt.Sprintf("%d of %d rows", rows, rows), bytes: 4*float64(rows) + (element+4)*float64(rows*cols),
		}
		w.instr.Op = device.Gather
		w.in(table, []int{rows, cols}, []int{cols, 1})
		w.in(device.Int, []int{rows}, []int{1}, draws(rows, rows)...)
		w.out(device.Real, rows, cols)
		return w
	}}
}

// scatterAdd adds the rows of a minibatch to a table, in place.
func scatterAdd() Scene {
	return Scene{Name: "scatter-add, rows of 128", work: func(s Size) *work {
		const cols = 128
		rows, n := s.rows(cols), s.Side
		w := &work{
			shape: fmt.Sprintf("%d into %d rows", n, rows), bytes: 4*float64(n) + 12*float64(n*cols),
			flop: float64(n * cols),
		}
		w.instr.Op = device.ScatterAdd
		w.real(rows, cols)
		w.in(device.Int, []int{n}, []int{1}, draws(n, rows)...)
		w.real(n, cols)
		w.inPlace(0)
		return w
	}}
}

func random(kind device.RandomKind) Scene {
	return Scene{Name: fmt.Sprintf("random %s", kind), work: func(s Size) *work {
		w := &work{shape: fmt.Sprint(s.Words), bytes: 4 * float64(s.Words)}
		w.instr.Op, w.instr.Attr = device.Random, device.RandomAttr{Kind: kind}
		typ := device.Real
		if kind == device.Bits || kind == device.Integers {
			typ = device.Int
		}
		if kind == device.Integers {
			w.instr.Attr = device.RandomAttr{Kind: kind, N: 10}
		}
		w.in(device.Int, []int{2}, []int{1}, 1, 2)
		w.in(device.Int, []int{1}, []int{1}, 3)
		w.out(typ, s.Words)
		return w
	}}
}

func copied(name string, from, to device.Type, how string) Scene {
	return Scene{Name: name, work: func(s Size) *work {
		const cols = 256
		rows := s.rows(cols)
		w := &work{shape: fmt.Sprintf("%dx%d", rows, cols), bytes: 8 * float64(rows*cols)}
		w.instr.Op = device.Copy
		strides := map[string][]int{"dense": {cols, 1}, "transposed": {1, rows}, "strided": {cols + 8, 1}}[how]
		w.in(from, []int{rows, cols}, strides)
		w.out(to, rows, cols)
		return w
	}}
}

// emitted are expressions as compiled programs have them, by the names of their uses.
func emitted() []Scene {
	fused := func(name string, flop int, op device.Op, reads int, e func(x []int, b *body) []int,
		place func(w *work, n int)) Scene {
		return Scene{Name: name, work: func(s Size) *work {
			n := s.Words
			w := &work{shape: fmt.Sprint(n), flop: float64(flop) * float64(n)}
			b := &body{}
			var x []int
			for i := range reads {
				w.real(n)
				x = append(x, b.step(expr.Step{Fn: expr.Input, Arg: i}))
			}
			b.Outs = e(x, b)
			w.instr.Op, w.instr.Attr = op, device.MapAttr{Shape: []int{n}, Expr: &b.Expr}
			if op == device.Reduce {
				w.instr.Attr = device.ReduceAttr{
					Shape: []int{n}, Expr: &b.Expr, Axes: []int{0}, Kinds: []device.ReduceKind{device.Sum},
				}
			}
			place(w, n)
			for _, v := range append(w.instr.In, w.instr.Out...) {
				w.bytes += 4 * float64(v.Size())
			}
			return w
		}}
	}
	return []Scene{
		fused("map, axpy", 2, device.Map, 2, func(x []int, b *body) []int {
			return []int{b.do(expr.Add, x[0], b.do(expr.Mul, x[1], b.number(1e-3)))}
		}, func(w *work, n int) { w.inPlace(0) }),
		fused("map, Adam", 12, device.Map, 4, func(x []int, b *body) []int {
			m := b.do(expr.Add, b.do(expr.Mul, x[1], b.number(0.9)), b.do(expr.Mul, x[3], b.number(0.1)))
			s := b.do(
				expr.Add, b.do(expr.Mul, x[2], b.number(0.99)),
				b.do(expr.Mul, b.do(expr.Mul, x[3], x[3]), b.number(0.01)),
			)
			step := b.do(expr.Div, m, b.do(expr.Add, b.do(expr.Sqrt, s), b.number(1e-8)))
			return []int{b.do(expr.Sub, x[0], b.do(expr.Mul, step, b.number(1e-6))), m, s}
		}, func(w *work, n int) {
			for i := range 3 {
				w.inPlace(i)
			}
		}),
		fused("map, PGD step", 7, device.Map, 3, func(x []int, b *body) []int {
			moved := b.do(expr.Add, x[0], b.do(expr.Mul, b.do(expr.Sign, x[1]), b.number(0.01)))
			ball := b.do(expr.Clamp, moved, b.number(-0.1), b.number(0.1))
			return []int{b.do(expr.Sub, b.do(expr.Clamp, b.do(expr.Add, ball, x[2]), b.number(0), b.number(1)), x[2])}
		}, func(w *work, n int) { w.inPlace(0) }),
		fused("reduce, dot product", 2, device.Reduce, 2, func(x []int, b *body) []int {
			return []int{b.do(expr.Mul, x[0], x[1])}
		}, func(w *work, n int) { w.out(device.Real, 1) }),
		// z += αp, r −= αq and r·r of conjugate gradients.
		fused("reduce, CG update with dot", 6, device.Reduce, 4, func(x []int, b *body) []int {
			alpha := b.number(1e-6)
			r := b.do(expr.Sub, x[1], b.do(expr.Mul, x[3], alpha))
			return []int{b.do(expr.Mul, r, r), b.do(expr.Add, x[0], b.do(expr.Mul, x[2], alpha)), r}
		}, func(w *work, n int) {
			w.out(device.Real, 1)
			w.inPlace(0)
			w.inPlace(1)
		}),
		sums("rows", 1), sums("columns", 0),
	}
}

// sums reduces a matrix along an axis.
func sums(name string, along int) Scene {
	return Scene{Name: "reduce, sums of " + name, work: func(s Size) *work {
		const cols = 512
		rows := s.rows(cols)
		kept := []int{rows, cols}
		kept[along] = 1
		w := &work{shape: fmt.Sprintf("%dx%d", rows, cols), flop: float64(rows * cols)}
		w.real(rows, cols)
		w.out(device.Real, kept...)
		w.bytes = 4 * float64(rows*cols+device.Size(kept))
		w.instr.Op = device.Reduce
		w.instr.Attr = device.ReduceAttr{
			Shape: []int{rows, cols}, Expr: &expr.Expr{Steps: []expr.Step{{}}, Outs: []int{0}}, Axes: []int{along},
			Kinds: []device.ReduceKind{device.Sum},
		}
		return w
	}}
}

// body is an expression under construction.
type body struct{ expr.Expr }

func (b *body) step(s expr.Step) int {
	b.Steps = append(b.Steps, s)
	return len(b.Steps) - 1
}

func (b *body) number(c float64) int { return b.step(expr.Step{Fn: expr.Const, Const: c}) }

func (b *body) do(f expr.Fn, args ...int) int {
	s := expr.Step{Fn: f}
	copy(s.Args[:], args)
	return b.step(s)
}
