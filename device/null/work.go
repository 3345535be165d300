package null

import "bilevel/device"

// Work is what programs had to do.
type Work struct {
	FLOP         float64 // operations of products and convolutions, two for each multiply-add
	Bytes        float64 // that instructions read and wrote, where each meets each of its elements once
	Instructions float64
}

// Add adds n times as much as another.
func (w *Work) Add(of Work, n float64) {
	w.FLOP += n * of.FLOP
	w.Bytes += n * of.Bytes
	w.Instructions += n * of.Instructions
}

// workOf is the work of one run of a program.
func workOf(p *device.Program, info device.Info) (w Work) {
	for i := range p.Code {
		w.Add(WorkOf(p, &p.Code[i], info), 1)
	}
	return w
}

// WorkOf is the work of one instruction of a program on a device with elements as info says.
func WorkOf(p *device.Program, in *device.Instr, info device.Info) Work {
	bytes := func(v device.View) float64 {
		n := info.ElementBytes(p.Type(v))
		for a, size := range v.Shape {
			if v.Strides[a] > 0 || size == 0 {
				n *= int64(size)
			}
		}
		return float64(n)
	}
	w := Work{Instructions: 1}
	for _, v := range in.Out {
		w.Bytes += bytes(v)
	}
	read := in.In
	switch in.Op {
	case device.Gemm:
		w.FLOP = 2 * float64(in.Out[0].Size()) * float64(in.In[0].Shape[2])
	case device.Conv:
		w.FLOP = 2 * float64(in.Attr.(device.ConvAttr).Shape.MultiplyAdds())
	case device.Gather: // of the table, the rows that it takes
		w.Bytes += bytes(in.Out[0])
		read = in.In[1:]
	}
	for _, v := range read {
		w.Bytes += bytes(v)
	}
	return w
}
