package ref

import (
	"fmt"
	"math"

	"bilevel/device"
	"bilevel/internal/expr"
)

// value is a Real or an Int; the type is known from elsewhere, the other field is zero.
type value struct {
	real float64
	int  int32
}

func (m memory) load(v device.View, place int) value {
	b := m[v.Buf]
	switch b.Type() {
	case device.Int:
		return value{int: b.ints[place]}
	case device.Byte: // a number wherever it is read
		return value{real: float64(b.bytes[place])}
	}
	return value{real: b.real[place]}
}

func (m memory) store(v device.View, place int, x value) {
	b := m[v.Buf]
	if b.Type() == device.Int {
		b.ints[place] = x.int
	} else {
		b.real[place] = x.real
	}
}

// evaluate computes the values of all steps of e at the point idx into vals, which has one place a step;
// input gives the value of an input there.
func evaluate(e *expr.Expr, vals []value, idx []int, input func(k int) value) {
	for i := range e.Steps {
		s := &e.Steps[i]
		var a, b, c value // zero where the function takes fewer
		info := &expr.Table[s.Fn]
		switch info.Arity {
		case 3:
			c = vals[s.Args[2]]
			fallthrough
		case 2:
			b = vals[s.Args[1]]
			fallthrough
		case 1:
			a = vals[s.Args[0]]
		}
		switch s.Fn {
		case expr.Input:
			vals[i] = input(s.Arg)
		case expr.Const:
			vals[i] = value{real: s.Const}
		case expr.IConst:
			vals[i] = value{int: int32(s.Const)}
		case expr.Iota:
			vals[i] = value{int: int32(idx[s.Arg])}
		case expr.IAdd:
			vals[i] = value{int: a.int + b.int} // all three wrap around
		case expr.ISub:
			vals[i] = value{int: a.int - b.int}
		case expr.IMul:
			vals[i] = value{int: a.int * b.int}
		case expr.ILt:
			vals[i] = value{real: truth(a.int < b.int)}
		case expr.IEq:
			vals[i] = value{real: truth(a.int == b.int)}
		case expr.ToReal:
			vals[i] = value{real: float64(a.int)}
		case expr.ToInt:
			vals[i] = value{int: toInt(a.real)}
		default:
			if info.Eval == nil {
				panic(fmt.Sprintf("ref: no definition of %s", s.Fn)) // a test goes through all functions
			}
			vals[i] = value{real: info.Eval(a.real, b.real, c.real)}
		}
	}
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// toInt truncates toward zero; NaN and what does not fit an int32 then give 0.
func toInt(a float64) int32 {
	if t := math.Trunc(a); t >= math.MinInt32 && t <= math.MaxInt32 {
		return int32(t)
	}
	return 0
}
