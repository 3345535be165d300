// Package expr is the language of fused elementwise work: what one Map, one fused Reduce or one Gemm epilogue
// computes at every point of its iteration space.
//
// An Expr is straight-line code in single-assignment form. It is data: a device compiles it once into its own
// kind of program (vector kernels over blocks on the CPU, PTX text on CUDA) and never walks it per element.
package expr

import (
	"fmt"
	"math"
	"strings"
)

// Type is the type of a value: Real (float32 or float64, as the device decides), Int (int32, for indices), or Byte (0
// to 255), in which tables are kept, but nothing is computed.
type Type uint8

const (
	Real Type = iota
	Int
	Byte

	NumType // number of types, not a type
)

func (t Type) String() string { return [...]string{"Real", "Int", "Byte"}[t] }

// Fn is one elementwise function. Table describes each.
type Fn uint8

// Leaves first, then Real functions by arity, then functions on Int.
const (
	Input  Fn = iota // value of input number Step.Arg at this point
	Const            // Step.Const, a Real
	IConst           // Step.Const, an Int: a whole number from -2^31 to 2^31-1, all bits kept
	Iota             // index of this point along axis Step.Arg, an Int

	Neg
	Abs
	Sign     // -1, 0 or 1; Sign(±0) = 0, Sign(NaN) = NaN
	Sqrt     //
	Exp      //
	Log      //
	Sin      //
	Cos      //
	Tanh     //
	Sigmoid  // 1/(1+exp(-a)), no overflow for any a
	Softplus // log(1+exp(a)), no overflow for any a
	Relu     // max(a, 0), NaN stays NaN
	Floor    //

	Add
	Sub
	Mul
	Div
	Max // as Go's built-in max: NaN wins, -0 < +0
	Min // as Go's built-in min
	Lt  // 1 if a < b, else 0 (0 when either is NaN)
	Le  // 1 if a <= b, else 0
	Eq  // 1 if a == b, else 0

	Where // b if a != 0 (NaN too), else c
	Clamp // min(max(a, b), c): a between b and c

	IAdd
	ISub
	IMul
	ILt // Real 1 if a < b, else 0
	IEq // Real 1 if a == b, else 0
	ToReal
	ToInt // truncates toward zero; NaN and values outside int32 give 0

	NumFn // number of functions, not a function
)

// Info is one row of Table.
type Info struct {
	Name  string
	Arity int
	In    Type // type of every argument
	Out   Type // type of the result (Input: the input's own type)

	// Eval is the definition on Real arguments, in float64; nil for leaves and for functions that take or give Int.
	Eval func(a, b, c float64) float64
}

// Table describes every Fn; a test checks that no row is missing.
var Table = [NumFn]Info{
	Input:  {Name: "input"},
	Const:  {Name: "const"},
	IConst: {Name: "iconst", Out: Int},
	Iota:   {Name: "iota", Out: Int},

	Neg:      {Name: "neg", Arity: 1, Eval: func(a, _, _ float64) float64 { return -a }},
	Abs:      {Name: "abs", Arity: 1, Eval: func(a, _, _ float64) float64 { return math.Abs(a) }},
	Sign:     {Name: "sign", Arity: 1, Eval: func(a, _, _ float64) float64 { return sign(a) }},
	Sqrt:     {Name: "sqrt", Arity: 1, Eval: func(a, _, _ float64) float64 { return math.Sqrt(a) }},
	Exp:      {Name: "exp", Arity: 1, Eval: func(a, _, _ float64) float64 { return math.Exp(a) }},
	Log:      {Name: "log", Arity: 1, Eval: func(a, _, _ float64) float64 { return math.Log(a) }},
	Sin:      {Name: "sin", Arity: 1, Eval: func(a, _, _ float64) float64 { return math.Sin(a) }},
	Cos:      {Name: "cos", Arity: 1, Eval: func(a, _, _ float64) float64 { return math.Cos(a) }},
	Tanh:     {Name: "tanh", Arity: 1, Eval: func(a, _, _ float64) float64 { return math.Tanh(a) }},
	Sigmoid:  {Name: "sigmoid", Arity: 1, Eval: func(a, _, _ float64) float64 { return sigmoid(a) }},
	Softplus: {Name: "softplus", Arity: 1, Eval: func(a, _, _ float64) float64 { return softplus(a) }},
	Relu:     {Name: "relu", Arity: 1, Eval: func(a, _, _ float64) float64 { return max(a, 0) }},
	Floor:    {Name: "floor", Arity: 1, Eval: func(a, _, _ float64) float64 { return math.Floor(a) }},

	Add: {Name: "add", Arity: 2, Eval: func(a, b, _ float64) float64 { return a + b }},
	Sub: {Name: "sub", Arity: 2, Eval: func(a, b, _ float64) float64 { return a - b }},
	Mul: {Name: "mul", Arity: 2, Eval: func(a, b, _ float64) float64 { return a * b }},
	Div: {Name: "div", Arity: 2, Eval: func(a, b, _ float64) float64 { return a / b }},
	Max: {Name: "max", Arity: 2, Eval: func(a, b, _ float64) float64 { return max(a, b) }},
	Min: {Name: "min", Arity: 2, Eval: func(a, b, _ float64) float64 { return min(a, b) }},
	Lt:  {Name: "lt", Arity: 2, Eval: func(a, b, _ float64) float64 { return truth(a < b) }},
	Le:  {Name: "le", Arity: 2, Eval: func(a, b, _ float64) float64 { return truth(a <= b) }},
	Eq:  {Name: "eq", Arity: 2, Eval: func(a, b, _ float64) float64 { return truth(a == b) }},

	Where: {Name: "where", Arity: 3, Eval: where},
	Clamp: {Name: "clamp", Arity: 3, Eval: func(a, b, c float64) float64 { return min(max(a, b), c) }},

	IAdd:   {Name: "iadd", Arity: 2, In: Int, Out: Int},
	ISub:   {Name: "isub", Arity: 2, In: Int, Out: Int},
	IMul:   {Name: "imul", Arity: 2, In: Int, Out: Int},
	ILt:    {Name: "ilt", Arity: 2, In: Int},
	IEq:    {Name: "ieq", Arity: 2, In: Int},
	ToReal: {Name: "toreal", Arity: 1, In: Int},
	ToInt:  {Name: "toint", Arity: 1, Out: Int},
}

func (f Fn) String() string {
	if f < NumFn {
		return Table[f].Name
	}
	return fmt.Sprintf("Fn(%d)", uint8(f))
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

func sign(a float64) float64 {
	switch {
	case a > 0:
		return 1
	case a < 0:
		return -1
	case a == 0:
		return 0
	}
	return a // NaN
}

func sigmoid(a float64) float64 {
	if a < 0 {
		e := math.Exp(a)
		return e / (1 + e)
	}
	return 1 / (1 + math.Exp(-a))
}

func softplus(a float64) float64 { return max(a, 0) + math.Log1p(math.Exp(-math.Abs(a))) }

func where(a, b, c float64) float64 {
	if a != 0 {
		return b
	}
	return c
}

// Step computes one value. Args are numbers of earlier steps; only the first Arity count.
type Step struct {
	Fn    Fn
	Arg   int     // Input: its number; Iota: the axis
	Args  [3]int  // operands
	Const float64 // Const and IConst: the value
}

// Expr is a list of steps; step i defines value i. Outs names the values that leave the expression.
type Expr struct {
	Steps []Step
	Outs  []int
}

// Types gives the type of every value, given the types of the inputs, and checks the expression:
// arguments earlier than their use, types as Table says, inputs and axes in range.
func (e *Expr) Types(inputs []Type, rank int) ([]Type, error) {
	types := make([]Type, len(e.Steps))
	for i, s := range e.Steps {
		if s.Fn >= NumFn {
			return nil, fmt.Errorf("expr: step %d: unknown function %d", i, s.Fn)
		}
		info := &Table[s.Fn]
		types[i] = info.Out
		switch s.Fn {
		case IConst:
			if c := s.Const; c != math.Trunc(c) || c < math.MinInt32 || c > math.MaxInt32 {
				return nil, fmt.Errorf(
					"expr: step %d: the Int constant %v is no whole number from -2^31 to 2^31-1", i, c,
				)
			}
		case Input:
			if s.Arg < 0 || s.Arg >= len(inputs) {
				return nil, fmt.Errorf("expr: step %d reads input %d of %d", i, s.Arg, len(inputs))
			}
			types[i] = inputs[s.Arg]
		case Iota:
			if s.Arg < 0 || s.Arg >= rank {
				return nil, fmt.Errorf("expr: step %d: axis %d of a space of rank %d", i, s.Arg, rank)
			}
		}
		for _, a := range s.Args[:info.Arity] {
			if a < 0 || a >= i {
				return nil, fmt.Errorf("expr: step %d (%s) uses value %d, which is not computed before it", i, s.Fn, a)
			}
			if types[a] != info.In {
				return nil, fmt.Errorf("expr: step %d (%s) takes %s, value %d is %s", i, s.Fn, info.In, a, types[a])
			}
		}
	}
	if len(e.Outs) == 0 {
		return nil, fmt.Errorf("expr: nothing leaves the expression")
	}
	for _, o := range e.Outs {
		if o < 0 || o >= len(e.Steps) {
			return nil, fmt.Errorf("expr: output names value %d of %d", o, len(e.Steps))
		}
	}
	return types, nil
}

// String prints the expression, one step a semicolon: "v0=input 0; v1=exp v0; -> v1".
func (e *Expr) String() string {
	var b strings.Builder
	for i, s := range e.Steps {
		fmt.Fprintf(&b, "v%d=%s", i, s.Fn)
		switch s.Fn {
		case Input, Iota:
			fmt.Fprintf(&b, " %d", s.Arg)
		case Const:
			fmt.Fprintf(&b, " %g", s.Const)
		case IConst:
			fmt.Fprintf(&b, " %.0f", s.Const)
		}
		for _, a := range s.Args[:Table[s.Fn].Arity] {
			fmt.Fprintf(&b, " v%d", a)
		}
		b.WriteString("; ")
	}
	b.WriteString("->")
	for _, o := range e.Outs {
		fmt.Fprintf(&b, " v%d", o)
	}
	return b.String()
}
