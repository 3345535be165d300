package cpu

import "bilevel/internal/expr"

// fn is an elementwise function of the block programs: those of expr, and a few fused ones that only the compiler
// emits.
type fn = expr.Fn

const (
	mulAdd fn = expr.NumFn + iota // fl(a·b) + c
	subMul                        // c - fl(a·b)
	numFn
)

// realKernel holds the loops of one function on Real values; a field is nil where there is no such loop. The letters
// name the operands, V a vector and S a scalar. Where the needed form is missing the compiler spreads the scalar.
type realKernel struct {
	v   func(dst, a []float32)
	vv  func(dst, a, b []float32)
	vs  func(dst, a []float32, b float32)
	sv  func(dst []float32, a float32, b []float32)
	vvv func(dst, a, b, c []float32)
	vvs func(dst, a, b []float32, c float32)
	vsv func(dst, a []float32, b float32, c []float32)
	vss func(dst, a []float32, b, c float32)

	swaps bool    // f(a, b) = f(b, a): sv is vs with the operands exchanged
	cost  float64 // nanoseconds per element, roughly: what decides whether work is shared
}

// loops are the inner loops of a level.
type loops struct {
	real [numFn]realKernel
	int  [numFn]intKernel
	fill func(dst []float32, a float32)
	// prefetch says that a will be read soon; nil where there is nothing to say it with.
	prefetch func(a []float32)
	rowLoops
	randomLoops
}

// genericLoops are the definition of what all levels compute: every level gives the same bits, NaN being one value.
var genericLoops = loops{
	real: realKernels, int: intKernels, fill: fill[float32], rowLoops: genericRows, randomLoops: genericRandom,
}

// realKernels is the table of Real functions.
var realKernels = [numFn]realKernel{
	expr.Neg:      {v: negV, cost: 0.3},
	expr.Abs:      {v: absV, cost: 0.3},
	expr.Sign:     {v: signV, cost: 1.5},
	expr.Sqrt:     {v: sqrtV, cost: 2},
	expr.Exp:      {v: expV, cost: 3},
	expr.Log:      {v: logV, cost: 7},
	expr.Sin:      {v: sinV, cost: 10},
	expr.Cos:      {v: cosV, cost: 10},
	expr.Tanh:     {v: tanhV, cost: 6},
	expr.Sigmoid:  {v: sigmoidV, cost: 5},
	expr.Softplus: {v: softplusV, cost: 7},
	expr.Relu:     {v: reluV, cost: 0.5},
	expr.Floor:    {v: floorV, cost: 1},

	expr.Add: {vv: addVV, vs: addVS, swaps: true, cost: 0.3},
	expr.Sub: {vv: subVV, vs: subVS, sv: subSV, cost: 0.3},
	expr.Mul: {vv: mulVV, vs: mulVS, swaps: true, cost: 0.3},
	expr.Div: {vv: divVV, vs: divVS, sv: divSV, cost: 1},
	expr.Max: {vv: maxVV, vs: maxVS, swaps: true, cost: 0.5},
	expr.Min: {vv: minVV, vs: minVS, swaps: true, cost: 0.5},
	expr.Lt:  {vv: ltVV, vs: ltVS, sv: ltSV, cost: 0.5},
	expr.Le:  {vv: leVV, vs: leVS, sv: leSV, cost: 0.5},
	expr.Eq:  {vv: eqVV, vs: eqVS, swaps: true, cost: 0.5},

	expr.Where: {vvv: whereVVV, vvs: whereVVS, vsv: whereVSV, cost: 0.6},
	expr.Clamp: {vvv: clampVVV, vss: clampVSS, cost: 1},

	mulAdd: {vvv: mulAddVVV, vsv: mulAddVSV, cost: 0.4},
	subMul: {vvv: subMulVVV, vsv: subMulVSV, cost: 0.4},
}

// intKernel holds the loop of one function that takes or gives Int values; exactly one field is set.
type intKernel struct {
	toInt  func(dst, a, b []int32)
	toReal func(dst []float32, a, b []int32)
	cast   func(dst []float32, a []int32)
	trunc  func(dst []int32, a []float32)
}

// intKernels is the table of functions on Int.
var intKernels = [numFn]intKernel{
	expr.IAdd:   {toInt: iaddVV},
	expr.ISub:   {toInt: isubVV},
	expr.IMul:   {toInt: imulVV},
	expr.ILt:    {toReal: iltVV},
	expr.IEq:    {toReal: ieqVV},
	expr.ToReal: {cast: toReal},
	expr.ToInt:  {trunc: toInt},
}

// Ulps bounds the error of each Real function in units in the last place of the exact result (2^-149 for subnormal
// ones), for finite results; infinities, NaN and zeros come out as expr.Table says. Zero means exact.
//
// One half is correct rounding; a little more is a float64 result rounded once more. The others are what a sweep of
// four hundred million arguments gave (exp 0.988, log 0.808, sigmoid 2.36, tanh 1.50, softplus 2.73), rounded up;
// TestUlpsEverywhere goes over eight million, or as many as BILEVEL_SWEEP asks for.
var Ulps = [expr.NumFn]float64{
	expr.Sqrt:     0.5,
	expr.Exp:      1,
	expr.Log:      1,
	expr.Sin:      0.501,
	expr.Cos:      0.501,
	expr.Tanh:     2,
	expr.Sigmoid:  3,
	expr.Softplus: 3,
	expr.Add:      0.5,
	expr.Sub:      0.5,
	expr.Mul:      0.5,
	expr.Div:      0.5,
	expr.ToReal:   0.5,
}
