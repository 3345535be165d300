//go:build !purego

package cpu

import "bilevel/internal/expr"

// loopsOf is the table of a level. The stubs of its loops are in vec_amd64.go.
func loopsOf(l Level) *loops {
	switch l {
	case AVX512, AMX:
		return &avx512Loops
	case AVX2:
		return &avx2Loops
	}
	return &genericLoops
}

var avx2Loops = loops{
	real: [numFn]realKernel{
		expr.Neg:      {v: negVAVX2, cost: 0.08},
		expr.Abs:      {v: absVAVX2, cost: 0.08},
		expr.Sign:     {v: signVAVX2, cost: 0.13},
		expr.Sqrt:     {v: sqrtVAVX2, cost: 0.8},
		expr.Exp:      {v: expVAVX2, cost: 0.48},
		expr.Log:      {v: logVAVX2, cost: 0.64},
		expr.Tanh:     {v: tanhVAVX2, cost: 0.96},
		expr.Sigmoid:  {v: sigmoidVAVX2, cost: 0.8},
		expr.Softplus: {v: softplusVAVX2, cost: 0.96},
		expr.Relu:     {v: reluVAVX2, cost: 0.08},
		expr.Floor:    {v: floorVAVX2, cost: 0.08},
		expr.Add:      {vv: addVVAVX2, vs: addVSAVX2, swaps: true, cost: 0.1},
		expr.Sub:      {vv: subVVAVX2, vs: subVSAVX2, sv: subSVAVX2, cost: 0.1},
		expr.Mul:      {vv: mulVVAVX2, vs: mulVSAVX2, swaps: true, cost: 0.1},
		expr.Div:      {vv: divVVAVX2, vs: divVSAVX2, sv: divSVAVX2, cost: 0.4},
		expr.Max:      {vv: maxVVAVX2, vs: maxVSAVX2, swaps: true, cost: 0.13},
		expr.Min:      {vv: minVVAVX2, vs: minVSAVX2, swaps: true, cost: 0.13},
		expr.Lt:       {vv: ltVVAVX2, vs: ltVSAVX2, sv: ltSVAVX2, cost: 0.11},
		expr.Le:       {vv: leVVAVX2, vs: leVSAVX2, sv: leSVAVX2, cost: 0.11},
		expr.Eq:       {vv: eqVVAVX2, vs: eqVSAVX2, swaps: true, cost: 0.11},
		expr.Where:    {vvv: whereVVVAVX2, vvs: whereVVSAVX2, vsv: whereVSVAVX2, cost: 0.13},
		expr.Clamp:    {vvv: clampVVVAVX2, vss: clampVSSAVX2, cost: 0.16},
		mulAdd:        {vvv: mulAddVVVAVX2, vsv: mulAddVSVAVX2, cost: 0.13},
		subMul:        {vvv: subMulVVVAVX2, vsv: subMulVSVAVX2, cost: 0.13},

		expr.Sin: realKernels[expr.Sin],
		expr.Cos: realKernels[expr.Cos],
	},
	int: [numFn]intKernel{
		expr.IAdd:   {toInt: iaddVVAVX2},
		expr.ISub:   {toInt: isubVVAVX2},
		expr.IMul:   {toInt: imulVVAVX2},
		expr.ILt:    {toReal: iltVVAVX2},
		expr.IEq:    {toReal: ieqVVAVX2},
		expr.ToReal: {cast: toRealAVX2},
		expr.ToInt:  {trunc: toIntAVX2},
	},
	fill:     fillSAVX2,
	prefetch: prefetch,
	rowLoops: rowLoops{
		sums: rowSumsAVX2, maxima: rowMaximaAVX2, dots: rowDotsAVX2,
		addRows: columnSumsAVX2, maxRows: columnMaximaAVX2,
		subNumber: rowSubAVX2, byNumber: rowDivAVX2,
		spread: rowSpreadAVX2, copyRows8: copyRows8AVX2,
	},
	randomLoops: randomLoops{
		bits: philoxBitsAVX2, integers: philoxIntegersAVX2, uniforms: philoxUniformsAVX2, normals: philoxNormalsAVX2,
	},
}

var avx512Loops = loops{
	real: [numFn]realKernel{
		expr.Neg:      {v: negVAVX512, cost: 0.05},
		expr.Abs:      {v: absVAVX512, cost: 0.05},
		expr.Sign:     {v: signVAVX512, cost: 0.08},
		expr.Sqrt:     {v: sqrtVAVX512, cost: 0.5},
		expr.Exp:      {v: expVAVX512, cost: 0.3},
		expr.Log:      {v: logVAVX512, cost: 0.4},
		expr.Tanh:     {v: tanhVAVX512, cost: 0.6},
		expr.Sigmoid:  {v: sigmoidVAVX512, cost: 0.5},
		expr.Softplus: {v: softplusVAVX512, cost: 0.6},
		expr.Relu:     {v: reluVAVX512, cost: 0.05},
		expr.Floor:    {v: floorVAVX512, cost: 0.05},
		expr.Add:      {vv: addVVAVX512, vs: addVSAVX512, swaps: true, cost: 0.06},
		expr.Sub:      {vv: subVVAVX512, vs: subVSAVX512, sv: subSVAVX512, cost: 0.06},
		expr.Mul:      {vv: mulVVAVX512, vs: mulVSAVX512, swaps: true, cost: 0.06},
		expr.Div:      {vv: divVVAVX512, vs: divVSAVX512, sv: divSVAVX512, cost: 0.25},
		expr.Max:      {vv: maxVVAVX512, vs: maxVSAVX512, swaps: true, cost: 0.08},
		expr.Min:      {vv: minVVAVX512, vs: minVSAVX512, swaps: true, cost: 0.08},
		expr.Lt:       {vv: ltVVAVX512, vs: ltVSAVX512, sv: ltSVAVX512, cost: 0.07},
		expr.Le:       {vv: leVVAVX512, vs: leVSAVX512, sv: leSVAVX512, cost: 0.07},
		expr.Eq:       {vv: eqVVAVX512, vs: eqVSAVX512, swaps: true, cost: 0.07},
		expr.Where:    {vvv: whereVVVAVX512, vvs: whereVVSAVX512, vsv: whereVSVAVX512, cost: 0.08},
		expr.Clamp:    {vvv: clampVVVAVX512, vss: clampVSSAVX512, cost: 0.1},
		mulAdd:        {vvv: mulAddVVVAVX512, vsv: mulAddVSVAVX512, cost: 0.08},
		subMul:        {vvv: subMulVVVAVX512, vsv: subMulVSVAVX512, cost: 0.08},

		expr.Sin: realKernels[expr.Sin],
		expr.Cos: realKernels[expr.Cos],
	},
	int: [numFn]intKernel{
		expr.IAdd:   {toInt: iaddVVAVX512},
		expr.ISub:   {toInt: isubVVAVX512},
		expr.IMul:   {toInt: imulVVAVX512},
		expr.ILt:    {toReal: iltVVAVX512},
		expr.IEq:    {toReal: ieqVVAVX512},
		expr.ToReal: {cast: toRealAVX512},
		expr.ToInt:  {trunc: toIntAVX512},
	},
	fill:     fillSAVX512,
	prefetch: prefetch,
	rowLoops: rowLoops{
		sums: rowSumsAVX512, maxima: rowMaximaAVX512, dots: rowDotsAVX512,
		addRows: columnSumsAVX512, maxRows: columnMaximaAVX512,
		subNumber: rowSubAVX512, byNumber: rowDivAVX512,
		spread: rowSpreadAVX512, copyRows8: copyRows8AVX512,
	},
	randomLoops: randomLoops{
		bits: philoxBitsAVX512, integers: philoxIntegersAVX512, uniforms: philoxUniformsAVX512,
		normals: philoxNormalsAVX512,
	},
}
