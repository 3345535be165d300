package ref

import "bilevel/device"

// elementwise is Map: Out_i = expression(In…) at every point. All inputs of a point are read before its outputs are
// written, so an output may be exactly an input.
func elementwise(m memory, in *device.Instr) error {
	a := in.Attr.(device.MapAttr)
	vals := make([]value, len(a.Expr.Steps))
	outs := len(in.In) // where the positions of the outputs begin
	walk(a.Shape, in.In, in.Out, func(idx, at []int) {
		evaluate(a.Expr, vals, idx, func(k int) value { return m.load(in.In[k], in.In[k].Off+at[k]) })
		for i, o := range in.Out {
			m.store(o, o.Off+at[outs+i], vals[a.Expr.Outs[i]])
		}
	})
	return nil
}

// copyView is Copy: Out = In0 element by element, cast where the types differ.
func copyView(m memory, in *device.Instr) error {
	src, dst := in.In[0], in.Out[0]
	from, to := m[src.Buf].Type(), m[dst.Buf].Type()
	walk(src.Shape, in.In, in.Out, func(_, at []int) {
		x := m.load(src, src.Off+at[0])
		switch {
		case from == device.Int && to == device.Real:
			x = value{real: float64(x.int)}
		case from == device.Real && to == device.Int:
			x = value{int: toInt(x.real)}
		}
		m.store(dst, dst.Off+at[1], x)
	})
	return nil
}
