package ref

import (
	"math"

	"gonum.org/v1/gonum/floats"

	"bilevel/device"
)

// rowSoftmax is RowSoftmax, by rows: with μ = max z and s = Σ exp(z - μ), it is exp(z - μ)/s, or z - μ - log s, or
// μ + log s - z[label]. A row is read before it is written, so Out may be exactly In0.
func rowSoftmax(m memory, in *device.Instr) error {
	kind := in.Attr.(device.SoftmaxAttr).Kind
	src, dst := in.In[0], in.Out[0]
	if dst.Size() == 0 {
		return nil // nor is there a use for scratch space, whose size an empty view does not bound
	}
	z, e := make([]float64, src.Shape[1]), make([]float64, src.Shape[1])
	for r := range src.Shape[0] {
		top := math.Inf(-1) // not floats.Max, which passes over NaN
		for c := range z {
			z[c] = m[src.Buf].real[at(src, r, c)]
			top = max(top, z[c])
		}
		for c := range z {
			e[c] = math.Exp(z[c] - top)
		}
		s := sum(e)
		switch kind {
		case device.Softmax:
			for c := range e {
				e[c] /= s
			}
			m.storeRow(dst, r, e)
		case device.LogSoftmax:
			floats.AddConst(-top, z) // first the maximum: z - μ is small, and exact where it matters
			floats.AddConst(-math.Log(s), z)
			m.storeRow(dst, r, z)
		case device.CrossEntropy:
			label := int(m[in.In[1].Buf].ints[at(in.In[1], r)])
			loss := math.NaN()
			if label >= 0 && label < len(z) {
				loss = math.Log(s) - (z[label] - top)
			}
			m.store(dst, at(dst, r), value{real: loss})
		}
	}
	return nil
}

func (m memory) storeRow(v device.View, r int, row []float64) {
	for c, x := range row {
		m.store(v, at(v, r, c), value{real: x})
	}
}
