package ref

import "bilevel/device"

// gemm is Gemm: Out[b,i,j] = φ(Σ_p A'[b,i,p] B'[b,p,j], extras). For each b it lays the rows of A' and the columns of
// B' out one after the other, masks applied, so that every element of the product is one dot product of two slices.
func gemm(m memory, in *device.Instr) error {
	a := in.Attr.(device.GemmAttr)
	A, B, out := in.In[0], in.In[1], in.Out[0]
	extras := in.In[2:]
	if out.Size() == 0 {
		return nil // nor is there a use for scratch space, whose size an empty view does not bound
	}
	mask := func(on bool) *device.View {
		if !on {
			return nil
		}
		v := extras[0]
		extras = extras[1:]
		return &v
	}
	maskA := mask(a.MaskA)
	maskB := mask(a.MaskB)

	rows, inner, cols := A.Shape[1], A.Shape[2], B.Shape[2]
	left := make([]float64, rows*inner)  // A'[b,:,:], row by row
	right := make([]float64, inner*cols) // B'[b,:,:], column by column
	vals := make([]value, 0)
	if a.Epilogue != nil {
		vals = make([]value, len(a.Epilogue.Steps))
	}
	for b := range A.Shape[0] {
		m.layOut(left, A, maskA, b, 1, 2)
		m.layOut(right, B, maskB, b, 2, 1)
		for i := range rows {
			for j := range cols {
				y := value{real: dot(left[i*inner:(i+1)*inner], right[j*inner:(j+1)*inner])}
				if a.Epilogue != nil {
					evaluate(a.Epilogue, vals, []int{b, i, j}, func(k int) value {
						if k == 0 {
							return y
						}
						return m.load(extras[k-1], at(extras[k-1], b, i, j))
					})
					y = vals[a.Epilogue.Outs[0]]
				}
				m.store(out, at(out, b, i, j), y)
			}
		}
	}
	return nil
}

// layOut writes matrix b of a Real view, times its mask where there is one, in one piece: the lines along its axis
// inner one after the other, in the order of the axis outer.
func (m memory) layOut(to []float64, v device.View, mask *device.View, b, outer, inner int) {
	views := []device.View{v}
	if mask != nil {
		views = append(views, *mask)
	}
	for factor, v := range views {
		from, k := m[v.Buf].real, 0
		for i := range v.Shape[outer] {
			place := v.Off + b*v.Strides[0] + i*v.Strides[outer]
			for range v.Shape[inner] {
				if factor == 0 {
					to[k] = from[place]
				} else {
					to[k] *= from[place]
				}
				k, place = k+1, place+v.Strides[inner]
			}
		}
	}
}
