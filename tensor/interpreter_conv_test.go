package tensor

import (
	"math"

	"bilevel/device"
)

// evalConv goes over all products of the trilinear form of a convolution.
func evalConv(a device.ConvAttr, in []array, out array) {
	s, slots := a.Shape, device.ConvSlots[a.Kind]
	inputs, outputs := s.C/s.Groups, s.K/s.Groups
	each(append(s.Result(), s.R, s.S, inputs), func(idx []int) {
		n, p, q, k, r, t, c := idx[0], idx[1], idx[2], idx[3], idx[4], idx[5], idx[6]
		h, w := p*s.StrideH+r*s.DilationH-s.Top, q*s.StrideW+t*s.DilationW-s.Left
		if h < 0 || h >= s.H || w < 0 || w >= s.W {
			return
		}
		at := [3]int{
			denseAt(s.Images(), []int{n, h, w, k/outputs*inputs + c}), denseAt(s.Weights(), []int{r, t, c, k}),
			denseAt(s.Result(), []int{n, p, q, k}),
		}
		out.real[at[slots[2]]] += in[0].real[at[slots[0]]] * in[1].real[at[slots[1]]]
	})
}

// evalPool goes over all windows.
func evalPool(a device.PoolAttr, in []array, out array) {
	s := a.Shape
	each(s.Result(), func(idx []int) {
		result := denseAt(s.Result(), idx)
		var pixels []int // their places
		each([]int{s.R, s.S}, func(tap []int) {
			h, w := idx[1]*s.StrideH+tap[0]-s.Top, idx[2]*s.StrideW+tap[1]-s.Left
			if h >= 0 && h < s.H && w >= 0 && w < s.W {
				pixels = append(pixels, denseAt(s.Images(), []int{idx[0], h, w, idx[3]}))
			}
		})
		divisor := float64(len(pixels))
		if s.CountPadding {
			divisor = float64(s.R * s.S)
		}
		best, most := pixels[0], math.Inf(-1)
		for _, p := range pixels {
			switch a.Kind {
			case device.AveragePool:
				out.real[result] += in[0].real[p] / divisor
			case device.AveragePoolAdjoint:
				out.real[p] += in[0].real[result] / divisor
			default:
				if x := in[0].real[p]; x > most {
					best, most = p, x
				}
			}
		}
		switch a.Kind {
		case device.MaxPool:
			out.real[result] = in[0].real[best]
		case device.MaxPoolTangent:
			out.real[result] = in[1].real[best]
		case device.MaxPoolAdjoint:
			out.real[best] += in[1].real[result]
		}
	})
}
