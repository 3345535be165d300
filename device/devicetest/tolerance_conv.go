package devicetest

import (
	"math"

	"bilevel/device"
)

// convBounds: a sum of n products in any order, fused or not, is off by at most (n+2)·u·Σ|a||b|, as for Gemm. Zeros
// around the images add no error. The epilogue carries this error on.
func convBounds(t *trial, in *device.Instr, m machine) [][]float64 {
	a := in.Attr.(device.ConvAttr)
	s, slots, out := a.Shape, device.ConvSlots[a.Kind], in.Out[0]
	inputs, outputs := s.C/s.Groups, s.K/s.Groups // channels of a group
	element := device.Dense(0, 0, out.Shape...)
	value, size, count := make([]float64, out.Size()), make([]float64, out.Size()), make([]float64, out.Size())
	points(append(s.Result(), s.R, s.S, inputs), func(idx []int) {
		n, p, q, k, row, column, c := idx[0], idx[1], idx[2], idx[3], idx[4], idx[5], idx[6]
		h, w := p*s.StrideH+row*s.DilationH-s.Top, q*s.StrideW+column*s.DilationW-s.Left
		if h < 0 || h >= s.H || w < 0 || w >= s.W {
			return
		}
		at := [3][4]int{
			device.SlotX: {n, h, w, k/outputs*inputs + c},
			device.SlotW: {row, column, c, k},
			device.SlotY: {n, p, q, k},
		}
		left, right, result := at[slots[0]], at[slots[1]], at[slots[2]]
		x := t.real(in.In[0], left[:]...) * t.real(in.In[1], right[:]...)
		to := place(element, result[:]...)
		value[to] += x
		size[to] += math.Abs(x)
		count[to]++
	})
	after := t.epilogueError(m, a.Epilogue, in.In[a.Extras():])
	var bounds []float64
	points(out.Shape, func(idx []int) {
		e := len(bounds)
		bounds = append(bounds, after(idx, m.sumOfProducts(value[e], size[e], count[e]+2)))
	})
	return [][]float64{bounds}
}

// poolBounds: what a maximum chooses is exact. A sum of n terms in any order is off by at most (n-1)·u·Σ|terms|, and an
// average by 2u more: it may divide, or multiply by the reciprocal, before or after the sum. A result that underflows
// is off by tiny for each operation. Where no term is, the result is 0 and exact.
func poolBounds(t *trial, in *device.Instr, m machine) [][]float64 {
	a := in.Attr.(device.PoolAttr)
	s, out := a.Shape, in.Out[0]
	if a.Kind == device.MaxPool || a.Kind == device.MaxPoolTangent {
		return exact(t, in, m)
	}
	element := device.Dense(0, 0, out.Shape...)
	size, count := make([]float64, out.Size()), make([]float64, out.Size())
	add := func(idx []int, x float64) {
		to := place(element, idx...)
		size[to] += math.Abs(x)
		count[to]++
	}
	points(s.Result(), func(idx []int) {
		pixels := windowOf(s, idx)
		divisor := float64(len(pixels))
		if s.CountPadding {
			divisor = float64(s.R * s.S)
		}
		switch a.Kind {
		case device.AveragePool:
			for _, p := range pixels {
				add(idx, t.real(in.In[0], p...)/divisor)
			}
		case device.AveragePoolAdjoint:
			for _, p := range pixels {
				add(p, t.real(in.In[0], idx...)/divisor)
			}
		case device.MaxPoolAdjoint:
			add(t.firstGreatest(in.In[0], pixels), t.real(in.In[1], idx...))
		}
	})
	bounds := make([]float64, len(size))
	for e := range bounds {
		c := count[e] - 1
		if a.Kind != device.MaxPoolAdjoint {
			c += 2
		}
		if count[e] > 0 {
			bounds[e] = nonFinite(size[e], slack*c*m.u*size[e]+4*c*m.tiny+m.reference(count[e]*size[e]))
		}
	}
	return [][]float64{bounds}
}

// windowOf lists the pixels of a window.
func windowOf(s device.PoolShape, idx []int) (pixels [][]int) {
	points([]int{s.R, s.S}, func(tap []int) {
		h, w := idx[1]*s.StrideH-s.Top+tap[0], idx[2]*s.StrideW-s.Left+tap[1]
		if h >= 0 && h < s.H && w >= 0 && w < s.W {
			pixels = append(pixels, []int{idx[0], h, w, idx[3]})
		}
	})
	return pixels
}

// firstGreatest is the first of the pixels that no other exceeds; NaN exceeds every number.
func (t *trial) firstGreatest(x device.View, pixels [][]int) []int {
	for _, p := range pixels {
		if math.IsNaN(t.real(x, p...)) {
			return p
		}
	}
	best := pixels[0]
	for _, p := range pixels {
		if t.real(x, p...) > t.real(x, best...) {
			best = p
		}
	}
	return best
}
