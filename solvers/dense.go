package solvers

import (
	"fmt"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// mostDense is the largest number of lower variables of which algorithms keep the whole lower Hessian.
const mostDense = 256

// tracked are estimates of H [q, q] and Cᵀ [q, p] that an algorithm keeps as the state's vectors "hessian" and
// "mixed", one row after the other.
type tracked struct{ p, q int }

func trackedOf(algorithm string, b *problem.Bound) (tracked, error) {
	t := tracked{b.Upper.Start.Size(), b.Lower.Start.Size()}
	if t.q > mostDense {
		return t, fmt.Errorf("%s: it keeps the lower Hessian as a matrix, and the lower level of %s has %d variables: "+
			"wants at most %d; take an algorithm that needs products with it only, such as sustain", algorithm, b.Name,
			t.q, mostDense)
	}
	return t, nil
}

// state is the two matrices, which start at zero.
func (t tracked) state() []engine.Array {
	return []engine.Array{{Name: "hessian", Zeros: t.q * t.q}, {Name: "mixed", Zeros: t.q * t.p}}
}

// at is both matrices at a point, as vectors: q products with unit vectors, which give a row of each.
func (t tracked) at(g *problem.Point) (hessian, mixed *tensor.Node) {
	var h, c []*tensor.Node
	for i := range t.q {
		unit := tensor.Iota(0, t.q).Eq(tensor.IntConst(int32(i)))
		h, c = append(h, g.HVP(unit)), append(c, g.Cross(unit))
	}
	return tensor.Concat(0, h...), tensor.Concat(0, c...)
}

// solve is Ĥ⁻¹b by as many conjugate gradients from 0 as Ĥ has rows, which is exact but for rounding. From the first
// direction without positive curvature on the solution stays.
func (t tracked) solve(hessian, b *tensor.Node) *tensor.Node {
	m := hessian.Reshape(t.q, t.q)
	return conjugateGradients(func(v *tensor.Node) *tensor.Node {
		return m.MatMul(v.Reshape(t.q, 1)).Reshape(t.q)
	}, b, nil, t.q)
}

// cross is Ĉ v, crossT is Ĉᵀu.
func (t tracked) cross(mixed, v *tensor.Node) *tensor.Node {
	return v.Reshape(1, t.q).MatMul(mixed.Reshape(t.q, t.p)).Reshape(t.p)
}

func (t tracked) crossT(mixed, u *tensor.Node) *tensor.Node {
	return mixed.Reshape(t.q, t.p).MatMul(u.Reshape(t.p, 1)).Reshape(t.q)
}
