package ref

import "bilevel/device"

// conv is Conv: for each element of the output it collects the products that belong to it, adds them in the order of
// sum, and applies φ.
func conv(m memory, in *device.Instr) error {
	a := in.Attr.(device.ConvAttr)
	out, extras := in.Out[0], in.In[2:]
	left, right := m[in.In[0].Buf].real[in.In[0].Off:], m[in.In[1].Buf].real[in.In[1].Off:]
	products := convProducts[a.Kind]
	g := newGeometry(a.Shape)
	var vals []value
	if a.Epilogue != nil {
		vals = make([]value, len(a.Epilogue.Steps))
	}
	var terms []float64
	walk(out.Shape, nil, in.Out, func(idx, place []int) {
		terms = products(g, terms[:0], left, right, idx)
		y := value{real: sum(terms)}
		if a.Epilogue != nil {
			evaluate(a.Epilogue, vals, idx, func(k int) value {
				if k == 0 {
					return y
				}
				return m.load(extras[k-1], at(extras[k-1], idx...))
			})
			y = vals[a.Epilogue.Outs[0]]
		}
		m.store(out, out.Off+place[0], y)
	})
	return nil
}

// geometry is a convolution's shape and what follows from it.
type geometry struct {
	device.ConvShape
	p, q            int   // rows and columns of a result
	inputs, outputs int   // channels of a group
	x, w, y         []int // strides of the dense arrays
}

func newGeometry(s device.ConvShape) geometry {
	g := geometry{ConvShape: s, inputs: s.C / s.Groups, outputs: s.K / s.Groups}
	g.p, g.q = s.Out()
	g.x, g.w, g.y = device.RowMajor(s.Images()), device.RowMajor(s.Weights()), device.RowMajor(s.Result())
	return g
}

// pixel is the row or column of an image that a tap of a kernel at one place of the result sees. ok is false where it
// lies outside the image.
func pixel(place, stride, tap, dilation, before, length int) (i int, ok bool) {
	i = place*stride + tap*dilation - before
	return i, i >= 0 && i < length
}

// resultAt is the place of the result from which a tap of the kernel sees a row or column of an image: the inverse of
// pixel. ok is false where there is none.
func resultAt(pixel, stride, tap, dilation, before, places int) (place int, ok bool) {
	distance := pixel + before - tap*dilation
	return distance / stride, distance >= 0 && distance%stride == 0 && distance/stride < places
}

// convProducts lists, by kind, the products of the trilinear form Σ y·x·w that belong to one element of the output.
var convProducts = [...]func(g geometry, terms, left, right []float64, idx []int) []float64{
	device.ConvForward: func(g geometry, terms, x, w []float64, idx []int) []float64 {
		n, p, q, k := idx[0], idx[1], idx[2], idx[3]
		first := k / g.outputs * g.inputs // of the group's input channels
		for r := range g.R {
			h, inRows := pixel(p, g.StrideH, r, g.DilationH, g.Top, g.H)
			for s := range g.S {
				v, inColumns := pixel(q, g.StrideW, s, g.DilationW, g.Left, g.W)
				for c := 0; c < g.inputs && inRows && inColumns; c++ {
					terms = append(terms, x[offset(g.x, n, h, v, first+c)]*w[offset(g.w, r, s, c, k)])
				}
			}
		}
		return terms
	},
	device.ConvInputGradient: func(g geometry, terms, y, w []float64, idx []int) []float64 {
		n, c := idx[0], idx[3]
		first := c / g.inputs * g.outputs // of the group's output channels
		for r := range g.R {
			p, inRows := resultAt(idx[1], g.StrideH, r, g.DilationH, g.Top, g.p)
			for s := range g.S {
				q, inColumns := resultAt(idx[2], g.StrideW, s, g.DilationW, g.Left, g.q)
				for k := first; k < first+g.outputs && inRows && inColumns; k++ {
					terms = append(terms, y[offset(g.y, n, p, q, k)]*w[offset(g.w, r, s, c%g.inputs, k)])
				}
			}
		}
		return terms
	},
	device.ConvWeightGradient: func(g geometry, terms, x, y []float64, idx []int) []float64 {
		r, s, k := idx[0], idx[1], idx[3]
		c := k/g.outputs*g.inputs + idx[2]
		for n := range g.N {
			for p := range g.p {
				h, inRows := pixel(p, g.StrideH, r, g.DilationH, g.Top, g.H)
				for q := range g.q {
					v, inColumns := pixel(q, g.StrideW, s, g.DilationW, g.Left, g.W)
					if inRows && inColumns {
						terms = append(terms, x[offset(g.x, n, h, v, c)]*y[offset(g.y, n, p, q, k)])
					}
				}
			}
		}
		return terms
	},
}

// offset is the place of an index in an array with these strides.
func offset(strides []int, idx ...int) int {
	place := 0
	for a, i := range idx {
		place += i * strides[a]
	}
	return place
}
