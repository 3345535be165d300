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
		for i := range rows {
			for p := range inner {
				left[i*inner+p] = m.masked(A, maskA, b, i, p)
			}
		}
		for j := range cols {
			for p := range inner {
				right[j*inner+p] = m.masked(B, maskB, b, p, j)
			}
		}
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

// masked is element (b, i, j) of a Real view, times that of its mask where there is one.
func (m memory) masked(v device.View, mask *device.View, b, i, j int) float64 {
	x := m[v.Buf].real[at(v, b, i, j)]
	if mask != nil {
		x *= m[mask.Buf].real[at(*mask, b, i, j)]
	}
	return x
}
