package cpu

import (
	"testing"

	"bilevel/internal/kind"
)

// Convolutions and pooling touch nothing past the last element of their operands.
func TestConvStaysInside(t *testing.T) {
	r := rng(6)
	guarded := func(a Array) Array {
		end := rowMajor(atPageEnd(t, size(a.Shape)), a.Shape...)
		copy(end.Real, a.Real[a.Off:])
		return end
	}
	forLevels(t, 2, func(t *testing.T, p *Pool) {
		for i := range 60 {
			s := randomConvShape(r)
			s.N = max(s.N, 1)
			if i < len(convShapes) && convShapes[i].N > 0 {
				s = convShapes[i]
			}
			for _, k := range convKinds {
				c := newConvCase(p, s, k, 0, uint64(i))
				c.in = [2]Array{guarded(c.in[0]), guarded(c.in[1])}
				c.out = guarded(c.out)
				c.before = append(c.before[:0], c.out.Real...)
				c.conv = NewConv(p, k, s, c.out, c.in[0], c.in[1], nil, nil)
				c.check(t, p)
			}
			w := randomPoolShape(r)
			w.N = max(w.N, 1)
			a, b := w.Out()
			x, y := guarded(inMemory(r, w.N, w.H, w.W, w.C)), guarded(inMemory(r, w.N, a, b, w.C))
			for _, k := range poolKinds {
				in, out := []Array{x, x}, y
				if k == kind.AveragePoolAdjoint || k == kind.MaxPoolAdjoint {
					out = guarded(x)
					in[1] = y
					if k == kind.AveragePoolAdjoint {
						in[0] = y
					}
				}
				if err := hold(p, NewPool2D(p, k, w, out, in)); err != nil {
					t.Fatal(err)
				}
			}
		}
	})
}
