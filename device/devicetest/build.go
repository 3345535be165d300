package devicetest

import (
	"math/rand/v2"

	"bilevel/internal/expr"
)

// builder writes an expression step by step; each method gives the number of the value it adds.
type builder struct{ steps []expr.Step }

func (b *builder) add(s expr.Step) int {
	b.steps = append(b.steps, s)
	return len(b.steps) - 1
}

func (b *builder) input(k int) int         { return b.add(expr.Step{Fn: expr.Input, Arg: k}) }
func (b *builder) constant(c float64) int  { return b.add(expr.Step{Fn: expr.Const, Const: c}) }
func (b *builder) iota(axis int) int       { return b.add(expr.Step{Fn: expr.Iota, Arg: axis}) }
func (b *builder) integer(c int32) int     { return b.add(expr.Step{Fn: expr.IConst, Const: float64(c)}) }
func (b *builder) out(o ...int) *expr.Expr { return &expr.Expr{Steps: b.steps, Outs: o} }

func (b *builder) fn(f expr.Fn, args ...int) int {
	s := expr.Step{Fn: f}
	copy(s.Args[:], args)
	return b.add(s)
}

// input0 is the expression that is its first input.
func input0() *expr.Expr {
	var b builder
	return b.out(b.input(0))
}

// product is the expression input 0 times input 1.
func product() *expr.Expr {
	var b builder
	return b.out(b.fn(expr.Mul, b.input(0), b.input(1)))
}

// limit is the largest size that values of a random expression reach.
const limit = 1e3

// randomExpr makes an expression of about the given number of random steps. Inputs 0 … reals-1 are Real numbers of size
// at most 2, input number reals is an Int below 8; rank is that of the space. It keeps values moderate: it tracks a
// bound of the size of each value, divides by and takes roots and logarithms of numbers of at least ½ only, and
// squashes what gets large. Comparisons may meet ties; running error analysis knows.
func randomExpr(rng *rand.Rand, reals, rank, steps, outs int) *expr.Expr {
	var b builder
	var real, ints []int      // values by type
	size := map[int]float64{} // bound of a Real value
	push := func(v int, s float64) {
		if s > limit {
			v, s = b.fn(expr.Tanh, v), 1
		}
		real, size[v] = append(real, v), s
	}
	pick := func() int { // recent values rather than old ones, so that the expression is deep
		return real[len(real)-1-min(rng.IntN(len(real)), rng.IntN(len(real)))]
	}
	pickInt := func() int { return ints[rng.IntN(len(ints))] }
	positive := func(v int) (int, float64) { return b.fn(expr.Add, b.fn(expr.Abs, v), b.constant(0.5)), size[v] + 0.5 }

	for k := range reals {
		push(b.input(k), 2)
	}
	push(b.constant(rng.NormFloat64()), 8) // not a float32 number: devices round it
	ints = append(ints, b.input(reals))
	ints = append(ints, b.integer(int32(rng.IntN(17)-8)))
	if rank > 0 {
		ints = append(ints, b.iota(rng.IntN(rank)))
	}
	for range steps {
		x, y, z := pick(), pick(), pick()
		for x == y && len(real) > 1 { // x - x and x < x say little: running error analysis takes the two for strangers
			y = pick()
		}
		switch f := expr.Fn(rng.IntN(int(expr.NumFn))); f {
		case expr.Neg, expr.Abs, expr.Relu:
			push(b.fn(f, x), size[x])
		case expr.Floor:
			push(b.fn(f, x), size[x]+1)
		case expr.Softplus:
			push(b.fn(f, x), size[x]+1)
		case expr.Sign, expr.Sin, expr.Cos, expr.Tanh, expr.Sigmoid:
			push(b.fn(f, x), 1)
		case expr.Sqrt, expr.Log:
			p, s := positive(x)
			push(b.fn(f, p), s)
		case expr.Exp:
			lo, hi := b.constant(-4), b.constant(4)
			push(b.fn(f, b.fn(expr.Clamp, x, lo, hi)), 55)
		case expr.Add, expr.Sub:
			push(b.fn(f, x, y), size[x]+size[y])
		case expr.Mul:
			push(b.fn(f, x, y), size[x]*size[y])
		case expr.Div:
			p, _ := positive(y)
			push(b.fn(f, x, p), 2*size[x])
		case expr.Max, expr.Min:
			push(b.fn(f, x, y), max(size[x], size[y]))
		case expr.Lt, expr.Le, expr.Eq:
			push(b.fn(f, x, y), 1)
		case expr.Where:
			push(b.fn(f, x, y, z), max(size[y], size[z]))
		case expr.Clamp:
			push(b.fn(f, x, y, z), max(size[x], size[y], size[z]))
		case expr.IAdd, expr.ISub, expr.IMul:
			ints = append(ints, b.fn(f, pickInt(), pickInt())) // they may wrap around
		case expr.ILt, expr.IEq:
			push(b.fn(f, pickInt(), pickInt()), 1)
		case expr.ToReal:
			push(b.fn(expr.Tanh, b.fn(f, ints[rng.IntN(min(2, len(ints)))])), 1)
		case expr.ToInt:
			ints = append(ints, b.fn(f, x))
		}
	}
	o := make([]int, outs)
	for i := range o {
		o[i] = real[len(real)-1-i%len(real)]
	}
	return b.out(o...)
}
