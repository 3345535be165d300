package ref

import (
	"bilevel/device"
	"bilevel/internal/philox"
)

// random is Random: element i is made of word i mod 4 of Philox block i/4. Uniform and Normal are float32 numbers,
// widened: the same on every device.
func random(m memory, in *device.Instr) error {
	a := in.Attr.(device.RandomAttr)
	seed, step, out := in.In[0], in.In[1], in.Out[0]
	word := func(v device.View, i int) uint32 { return uint32(m[v.Buf].ints[at(v, i)]) }
	key := uint64(word(seed, 0)) | uint64(word(seed, 1))<<32
	count := word(step, 0)
	for i := range out.Shape[0] {
		bits := philox.Block(key, count, a.Stream, uint64(i/4))[i%4]
		var x value
		switch a.Kind {
		case device.Bits:
			x.int = int32(bits)
		case device.Integers:
			x.int = philox.Integer(bits, a.N)
		case device.Uniform:
			x.real = float64(philox.Uniform(bits))
		case device.Normal:
			x.real = float64(philox.Normal(bits))
		}
		m.store(out, at(out, i), x)
	}
	return nil
}
