package devicetest

import (
	"math"
	"slices"

	"bilevel/device"
	"bilevel/internal/expr"
)

// This file has the one table of what a device may differ by (tolerance_conv.go has two of its rows). Nothing here is
// tuned: each bound follows from the unit round-off u, the number of operations and the data. Bounds are first-order,
// and slack covers the higher orders.

// slack covers the terms of second order: for c·u ≤ 2^-10 they are at most 2^-10 of the first.
const slack = 1 + 0x1p-10

// maxAngle is how large the argument of Sin and Cos may be for ulps to hold.
const maxAngle = 1e4

// ulps is the error that each function of one point may add, in units in the last place of its result.
//
//   - 0: the result is an argument, its negative, or a small integer: the bits are right, the sign of zero included.
//   - 0.5: IEEE 754 demands correct rounding.
//   - 4: polynomial approximations after argument reduction, each a few operations of half an ulp. Good
//     single-precision
//     libraries stay within 1 to 4 (CUDA's table of maximum errors: expf 2, logf 1, tanhf 2, sinf and cosf 2).
var ulps = [expr.NumFn]float64{
	expr.Sqrt: 0.5, expr.Add: 0.5, expr.Sub: 0.5, expr.Mul: 0.5, expr.Div: 0.5,
	expr.Exp: 4, expr.Log: 4, expr.Sin: 4, expr.Cos: 4, expr.Tanh: 4, expr.Sigmoid: 4, expr.Softplus: 4,
}

// tolerances gives, for each output of an instruction, the bound of every element in row-major order, from the data
// before the run. A nil list says that the output is exact.
var tolerances = [device.NumOp]func(*trial, *device.Instr, machine) [][]float64{
	device.Gemm:       gemmBounds,
	device.Map:        mapBounds,
	device.Reduce:     reduceBounds,
	device.RowSoftmax: softmaxBounds,
	device.Conv:       convBounds,
	device.Pool:       poolBounds,
	device.Gather:     exact, // moves data
	device.ScatterAdd: scatterBounds,
	device.Order:      exact, // compares
	device.Random:     exact, // the same bits everywhere, by contract
	device.Copy:       copyBounds,
}

func exact(_ *trial, in *device.Instr, _ machine) [][]float64 { return make([][]float64, len(in.Out)) }

// approxAt is an input's exact value at a point.
func (t *trial) approxAt(v device.View, idx []int) approx {
	if t.mem[v.Buf].typ == device.Int {
		return approx{i: t.int(v, idx...)}
	}
	return approx{v: t.real(v, idx...)}
}

// mapBounds is running error analysis at every point.
func mapBounds(t *trial, in *device.Instr, m machine) [][]float64 {
	a := in.Attr.(device.MapAttr)
	bounds := make([][]float64, len(in.Out))
	vals := make([]approx, len(a.Expr.Steps))
	points(a.Shape, func(idx []int) {
		m.running(a.Expr, vals, idx, func(k int) approx { return t.approxAt(in.In[k], idx) })
		for i, o := range a.Expr.Outs {
			bounds[i] = append(bounds[i], vals[o].err)
		}
	})
	return bounds
}

// reduceBounds: a sum of n terms t_i, each off by at most e_i, is off by at most SumError(n)·u·Σ(|t_i| + e_i) + Σ e_i;
// a maximum by at most max e_i.
func reduceBounds(t *trial, in *device.Instr, m machine) [][]float64 {
	a := in.Attr.(device.ReduceAttr)
	kept, over := slices.Clone(a.Shape), slices.Clone(a.Shape)
	for axis := range a.Shape {
		if slices.Contains(a.Axes, axis) {
			kept[axis] = 1
		} else {
			over[axis] = 1
		}
	}
	n := float64(device.Size(over))
	bounds := make([][]float64, len(in.Out))
	whole := make([]map[int]float64, len(in.Out)) // of the outputs that are not reduced, by place
	for i := range whole {
		whole[i] = map[int]float64{}
	}
	vals := make([]approx, len(a.Expr.Steps))
	idx := make([]int, len(a.Shape))
	points(kept, func(cell []int) {
		size, errs, most := make([]float64, len(a.Kinds)), make([]float64, len(a.Kinds)), make([]float64, len(a.Kinds))
		points(over, func(point []int) {
			for axis := range idx {
				idx[axis] = cell[axis] + point[axis]
			}
			m.running(a.Expr, vals, idx, func(k int) approx { return t.approxAt(in.In[k], idx) })
			for i, o := range a.Expr.Outs {
				if i >= len(a.Kinds) {
					whole[i][place(in.Out[i], idx...)] = vals[o].err
					continue
				}
				size[i] += math.Abs(vals[o].v) + vals[o].err
				errs[i] += vals[o].err
				most[i] = max(most[i], vals[o].err)
			}
		})
		for i, kind := range a.Kinds {
			bound := most[i]
			if kind == device.Sum && !math.IsInf(most[i], 1) { // else nothing is known of a term
				bound = nonFinite(size[i], slack*m.SumError(int(n))*m.u*size[i]+errs[i]+m.reference(n*size[i]))
			}
			bounds[i] = append(bounds[i], bound)
		}
	})
	for i := len(a.Kinds); i < len(in.Out); i++ {
		points(a.Shape, func(idx []int) { bounds[i] = append(bounds[i], whole[i][place(in.Out[i], idx...)]) })
	}
	return bounds
}

// nonFinite is the bound of a sum whose terms' sizes add to size: where a term is infinite or NaN, so is the sum, and
// it is compared as it is.
func nonFinite(size, bound float64) float64 {
	if math.IsInf(size, 0) || math.IsNaN(size) {
		return 0
	}
	return bound
}

// gemmBounds: Σ_k a b in any order, fused or not, is off by at most (k+2)·u·Σ|a||b| (Higham, 3.5, with k ≤ k+2), and by
// u more for each mask, which costs one more product; a product that underflows adds at most tiny. The epilogue carries
// this error on.
func gemmBounds(t *trial, in *device.Instr, m machine) [][]float64 {
	a := in.Attr.(device.GemmAttr)
	A, B, out := in.In[0], in.In[1], in.Out[0]
	extras := in.In[2:]
	var maskA, maskB *device.View
	if a.MaskA {
		maskA, extras = &extras[0], extras[1:]
	}
	if a.MaskB {
		maskB, extras = &extras[0], extras[1:]
	}
	k := A.Shape[2]
	c := float64(k + 2)
	for _, mask := range []*device.View{maskA, maskB} {
		if mask != nil {
			c++
		}
	}
	after := t.epilogueError(m, a.Epilogue, extras)
	left, right := t.mem[A.Buf].real, t.mem[B.Buf].real
	var bounds []float64
	points(out.Shape, func(idx []int) {
		b, i, j := idx[0], idx[1], idx[2]
		y, size := 0., 0.
		row, column := place(A, b, i, 0), place(B, b, 0, j)
		for p := range k {
			x := left[row+p*A.Strides[2]] * right[column+p*B.Strides[1]]
			if maskA != nil {
				x *= t.real(*maskA, b, i, p)
			}
			if maskB != nil {
				x *= t.real(*maskB, b, p, j)
			}
			y += x
			size += math.Abs(x)
		}
		bounds = append(bounds, after(idx, m.sumOfProducts(y, size, c)))
	})
	return [][]float64{bounds}
}

// sumOfProducts is y = Σ a b with Σ |a||b| = size, computed in any order with c roundings on the way of each product.
func (m machine) sumOfProducts(y, size, c float64) approx {
	return approx{v: y, err: nonFinite(size, slack*c*m.u*size+4*c*m.tiny+m.reference(c*size))}
}

// epilogueError gives the error at a point after an epilogue, nil being none, that carries that of a sum on.
func (t *trial) epilogueError(m machine, e *expr.Expr, extras []device.View) func(idx []int, y approx) float64 {
	if e == nil {
		return func(_ []int, y approx) float64 { return y.err }
	}
	vals := make([]approx, len(e.Steps))
	return func(idx []int, y approx) float64 {
		m.running(e, vals, idx, func(k int) approx {
			if k == 0 {
				return y
			}
			return t.approxAt(extras[k-1], idx)
		})
		return vals[e.Outs[0]].err
	}
}

// softmaxBounds, for a row z of c elements with μ = max z, d = z - μ, e = exp(d), s = Σ e and L = log s:
//
//	d is off by u|d|, e therefore relatively by u|d| + 8u (4 ulps of exp), s by ρ = u·Σ|d|e/s + 8u + c·u in any order,
//	softmax e/s relatively by u|d| + 8u + ρ + 2u,
//	L by ρ + 8u|L|, and d - L, or z - (μ + L), by that + u|d| + 2u|μ + L| + u|d - L|.
//
// A row whose maximum is not finite is NaN throughout, an element -Inf among others is exact.
func softmaxBounds(t *trial, in *device.Instr, m machine) [][]float64 {
	kind := in.Attr.(device.SoftmaxAttr).Kind
	z := in.In[0]
	rows, cols := z.Shape[0], z.Shape[1]
	var bounds []float64
	for r := range rows {
		top := math.Inf(-1)
		for c := range cols {
			top = max(top, t.real(z, r, c))
		}
		s, weighted := 0., 0.
		for c := range cols {
			if d := t.real(z, r, c) - top; !math.IsInf(d, 0) {
				s += math.Exp(d)
				weighted += math.Abs(d) * math.Exp(d)
			}
		}
		rho := m.u * (weighted/s + 8 + float64(cols))
		L := math.Log(s)
		bound := func(c int) float64 {
			d := t.real(z, r, c) - top
			switch {
			case math.IsInf(top, 0) || math.IsNaN(top) || math.IsInf(d, 0):
				return 0
			case kind == device.Softmax:
				p := math.Exp(d) / s
				return slack*p*(m.u*math.Abs(d)+10*m.u+rho) + 10*m.tiny + m.reference(p*float64(cols))
			}
			size := math.Abs(L) + math.Abs(d) + 2*math.Abs(top+L) + math.Abs(d-L)
			return slack*(rho+8*m.u*math.Abs(L)+m.u*size) + 10*m.tiny + m.reference(size*float64(cols))
		}
		if kind == device.CrossEntropy {
			label := int(t.int(in.In[1], r))
			if label < 0 || label >= cols {
				bounds = append(bounds, 0) // NaN
			} else {
				bounds = append(bounds, bound(label))
			}
			continue
		}
		for c := range cols {
			bounds = append(bounds, bound(c))
		}
	}
	return [][]float64{bounds}
}

// scatterBounds: the order of the additions is fixed, so each element is a plain sum of h + 1 terms with h roundings,
// off by at most h·u·Σ|terms|; an element that no index names is a copy.
func scatterBounds(t *trial, in *device.Instr, m machine) [][]float64 {
	base, idx, src := in.In[0], in.In[1], in.In[2]
	hits, size := make([]float64, base.Size()), make([]float64, base.Size())
	n := 0
	points(base.Shape, func(at []int) {
		size[n] = math.Abs(t.real(base, at...))
		n++
	})
	cols := base.Shape[1]
	points(src.Shape, func(at []int) {
		e := int(t.int(idx, at[0]))*cols + at[1]
		hits[e]++
		size[e] += math.Abs(t.real(src, at...))
	})
	bounds := make([]float64, len(size))
	for e := range bounds {
		bounds[e] = hits[e] * (slack*m.u*size[e] + m.reference(size[e]))
	}
	return [][]float64{bounds}
}

// copyBounds: only the cast from Int to Real rounds, and only where Real is narrow.
func copyBounds(t *trial, in *device.Instr, m machine) [][]float64 {
	src, dst := in.In[0], in.Out[0]
	if t.mem[dst.Buf].typ == device.Int || t.mem[src.Buf].typ == device.Real {
		return exact(t, in, m)
	}
	var bounds []float64
	points(src.Shape, func(idx []int) {
		bounds = append(bounds, m.step(expr.ToReal, t.approxAt(src, idx), approx{}, approx{}).err)
	})
	return [][]float64{bounds}
}
