package ref

import (
	"math"

	"bilevel/device"
)

// pool is Pool, window by window and channel by channel. The adjoints add to images of zeros, in the order of the
// windows.
func pool(m memory, in *device.Instr) error {
	a := in.Attr.(device.PoolAttr)
	s, out := a.Shape, in.Out[0]
	read := func(k int, idx []int) float64 { return m[in.In[k].Buf].real[at(in.In[k], idx...)] }
	write := func(idx []int, x float64) { m[out.Buf].real[at(out, idx...)] = x }
	add := func(idx []int, x float64) { m[out.Buf].real[at(out, idx...)] += x }
	if a.Kind == device.AveragePoolAdjoint || a.Kind == device.MaxPoolAdjoint {
		walk(out.Shape, nil, nil, func(idx, _ []int) { write(idx, 0) })
	}
	walk(s.Result(), nil, nil, func(idx, _ []int) {
		pixels := pixelsOf(s, idx)
		divisor := float64(len(pixels))
		if s.CountPadding {
			divisor = float64(s.R * s.S)
		}
		switch a.Kind {
		case device.AveragePool:
			var terms []float64
			for _, p := range pixels {
				terms = append(terms, read(0, p))
			}
			write(idx, sum(terms)/divisor)
		case device.AveragePoolAdjoint:
			for _, p := range pixels {
				add(p, read(0, idx)/divisor)
			}
		case device.MaxPool:
			write(idx, read(0, greatest(pixels, read)))
		case device.MaxPoolTangent:
			write(idx, read(1, greatest(pixels, read)))
		case device.MaxPoolAdjoint:
			add(greatest(pixels, read), read(1, idx))
		}
	})
	return nil
}

// pixelsOf lists the indices of the pixels in the window of one result, by rows.
func pixelsOf(s device.PoolShape, idx []int) (list [][]int) {
	for r := range s.R {
		h, inRows := pixel(idx[1], s.StrideH, r, 1, s.Top, s.H)
		for c := range s.S {
			v, inColumns := pixel(idx[2], s.StrideW, c, 1, s.Left, s.W)
			if inRows && inColumns {
				list = append(list, []int{idx[0], h, v, idx[3]})
			}
		}
	}
	return list
}

// greatest is the first of the pixels that have the greatest number of input 0, or the first NaN.
func greatest(pixels [][]int, read func(k int, idx []int) float64) []int {
	best := pixels[0]
	for _, p := range pixels[1:] {
		if x, most := read(0, p), read(0, best); x > most || math.IsNaN(x) && !math.IsNaN(most) {
			best = p
		}
	}
	return best
}
