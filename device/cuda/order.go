package cuda

import (
	"bilevel/device"
	"bilevel/kernels"
)

func planOrder(b *bound) step {
	if b.Attr.(device.OrderAttr).Kind == device.KthLargest {
		return planKthLargest(b)
	}
	z := b.In[0].Shape
	return b.compiled(kernels.ArgMax{Rows: z[0], Cols: z[1], In: b.in(0), Out: b.out()}.Plan())
}

func planKthLargest(b *bound) step {
	s := kernels.KthLargest{K: b.in(0), Out: b.out(), Fault: b.faulty()}
	for i, v := range b.In[1:] {
		s.Parts = append(s.Parts, kernels.Part{Strided: b.in(i + 1), Size: v.Shape[0]})
	}
	return b.compiled(s.Plan())
}

// watched says whether an instruction has a fault word: those that fail with ErrIndex.
func watched(in *device.Instr) bool {
	switch in.Op {
	case device.Gather, device.ScatterAdd:
		return true
	case device.Order:
		return in.Attr.(device.OrderAttr).Kind == device.KthLargest
	}
	return false
}

// elements counts what a KthLargest chooses from.
func elements(in *device.Instr) (n int) {
	for _, v := range in.In[1:] {
		n += v.Shape[0]
	}
	return n
}
