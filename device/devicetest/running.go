package devicetest

import (
	"math"

	"bilevel/internal/expr"
)

// approx is a value and a bound on how far a device's value may be from it. An Int is exact or unknown.
// The bound +Inf says that nothing is known, not even that the device has a number there.
type approx struct {
	v   float64
	i   int32
	err float64
}

func (a approx) unknown() bool { return math.IsInf(a.err, 1) }

// running carries approx through an expression: running error analysis (Wilkinson; Higham, Accuracy and Stability of
// Numerical Algorithms, 3.3). vals has one place a step; input gives the inputs at the point idx.
//
// The error of a step is what its function makes of the errors of its arguments (spread) plus its own (ulps). Where an
// argument or its error is beyond the machine's numbers, the device may already have an infinity, and the result is
// unknown.
func (m machine) running(e *expr.Expr, vals []approx, idx []int, input func(k int) approx) {
	for i, s := range e.Steps {
		switch s.Fn {
		case expr.Input:
			vals[i] = input(s.Arg)
		case expr.Const:
			vals[i] = approx{v: s.Const}
			if float64(float32(s.Const)) != s.Const {
				vals[i].err = m.u * math.Abs(s.Const) // rounded once
			}
		case expr.IConst:
			vals[i] = approx{i: int32(s.Const)}
		case expr.Iota:
			vals[i] = approx{i: int32(idx[s.Arg])}
		default:
			var args [3]approx
			for k, a := range s.Args[:expr.Table[s.Fn].Arity] {
				args[k] = vals[a]
				if x := math.Abs(args[k].v); x+args[k].err > m.huge && !math.IsInf(x, 1) {
					args[k].err = math.Inf(1)
				}
			}
			vals[i] = m.step(s.Fn, args[0], args[1], args[2])
		}
	}
}

// step evaluates one function on approximate arguments.
func (m machine) step(f expr.Fn, a, b, c approx) approx {
	if g := onInts(f); g != nil {
		out := g(a, b)
		if a.unknown() || b.unknown() {
			out.err = math.Inf(1)
		} else if f == expr.ToReal && m.RealBits == 32 {
			out.err = m.ulp(out.v) / 2
		}
		return out
	}
	if f == expr.ToInt {
		out := approx{i: toInt(a.v)}
		if a.err != 0 && toInt(a.v-a.err) != toInt(a.v+a.err) || a.unknown() {
			out.err = math.Inf(1) // a tie: either side is right
		}
		return out
	}
	out := approx{v: expr.Table[f].Eval(a.v, b.v, c.v)}
	if a.err != 0 || b.err != 0 || c.err != 0 {
		out.err = spread[f](out.v, a, b, c)
		if lost := a.unknown() || f != expr.Where && (b.unknown() || c.unknown()); lost || math.IsNaN(out.err) {
			out.err = math.Inf(1)
		}
	}
	out.err += m.own(f, a, math.Abs(out.v)+out.err)
	return out
}

// own is the error a function adds by itself, for a result of size at most x.
func (m machine) own(f expr.Fn, a approx, x float64) float64 {
	if ulps[f] == 0 {
		return 0
	}
	if (f == expr.Sin || f == expr.Cos) && math.Abs(a.v)+a.err > maxAngle && !math.IsInf(a.v, 0) {
		return 2 // only that it lies in [-1, 1]
	}
	return ulps[f]*m.ulp(x) + m.reference(x)
}

// reference is the error of the float64 result that we compare with.
func (m machine) reference(x float64) float64 {
	if math.IsInf(x, 0) || math.IsNaN(x) {
		return 0
	}
	return 0x1p-52 * x
}

// onInts defines the functions that take Int arguments.
func onInts(f expr.Fn) func(a, b approx) approx {
	switch f {
	case expr.IAdd:
		return func(a, b approx) approx { return approx{i: a.i + b.i} }
	case expr.ISub:
		return func(a, b approx) approx { return approx{i: a.i - b.i} }
	case expr.IMul:
		return func(a, b approx) approx { return approx{i: a.i * b.i} }
	case expr.ILt:
		return func(a, b approx) approx { return approx{v: truth(a.i < b.i)} }
	case expr.IEq:
		return func(a, b approx) approx { return approx{v: truth(a.i == b.i)} }
	case expr.ToReal:
		return func(a, _ approx) approx { return approx{v: float64(a.i)} }
	}
	return nil
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func toInt(x float64) int32 {
	if t := math.Trunc(x); t >= math.MinInt32 && t <= math.MaxInt32 {
		return int32(t)
	}
	return 0
}

// spread says how far errors of the arguments may move a result, function by function; a NaN stands for "unknown".
// Exact arguments never come here. y is the result for the arguments' values.
var spread = [expr.NumFn]func(y float64, a, b, c approx) float64{
	expr.Neg: same,
	expr.Abs: same, // | |a| - |a'| | ≤ |a - a'|
	expr.Sign: func(_ float64, a, _, _ approx) float64 {
		return jump(math.Abs(a.v) > a.err, 2)
	},
	expr.Sqrt: func(y float64, a, _, _ approx) float64 { // √a - √(a-e) is the larger side; below 0 it is NaN
		return y - math.Sqrt(a.v-a.err)
	},
	expr.Exp: func(y float64, a, _, _ approx) float64 { return y * math.Expm1(a.err) },
	expr.Log: func(_ float64, a, _, _ approx) float64 { // log a - log(a-e) is the larger side
		if a.v <= a.err {
			return math.NaN()
		}
		return -math.Log1p(-a.err / a.v)
	},
	expr.Sin:      same, // all five have slopes of at most 1
	expr.Cos:      same,
	expr.Tanh:     same,
	expr.Softplus: same,
	expr.Relu:     same,
	expr.Sigmoid:  func(_ float64, a, _, _ approx) float64 { return a.err / 4 },
	expr.Floor: func(_ float64, a, _, _ approx) float64 {
		return math.Floor(a.v+a.err) - math.Floor(a.v-a.err)
	},
	expr.Add: func(_ float64, a, b, _ approx) float64 { return a.err + b.err },
	expr.Sub: func(_ float64, a, b, _ approx) float64 { return a.err + b.err },
	expr.Mul: func(_ float64, a, b, _ approx) float64 {
		return math.Abs(a.v)*b.err + math.Abs(b.v)*a.err + a.err*b.err
	},
	expr.Div: func(y float64, a, b, _ approx) float64 { // a'/b' - a/b = ((a'-a) - y(b'-b))/b'
		if b.err >= math.Abs(b.v) {
			return math.NaN()
		}
		return (a.err + math.Abs(y)*b.err) / (math.Abs(b.v) - b.err)
	},
	expr.Max: func(_ float64, a, b, _ approx) float64 { return max(a.err, b.err) },
	expr.Min: func(_ float64, a, b, _ approx) float64 { return max(a.err, b.err) },
	expr.Lt:  compared,
	expr.Le:  compared,
	expr.Eq:  compared,
	expr.Where: func(_ float64, a, b, c approx) float64 {
		switch {
		case a.err != 0 && math.Abs(a.v) <= a.err: // either branch
			return max(b.err, c.err) + math.Abs(b.v-c.v)
		case a.v != 0:
			return b.err
		}
		return c.err
	},
	expr.Clamp: func(_ float64, a, b, c approx) float64 { return max(a.err, b.err, c.err) },
}

func same(_ float64, a, _, _ approx) float64 { return a.err }

// compared is the error of a comparison: none where the sides are apart by more than their errors.
func compared(_ float64, a, b, _ approx) float64 {
	return jump(math.Abs(a.v-b.v) > a.err+b.err, 1)
}

func jump(decided bool, height float64) float64 {
	if decided {
		return 0
	}
	return height
}
