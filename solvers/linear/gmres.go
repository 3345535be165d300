package linear

import (
	"fmt"

	"bilevel/tensor"
)

// GMRES is the generalized minimal residual method (Saad, Schultz, SIAM J. Sci. Stat. Comput. 7, 1986) for
// (A + Damping·I) v = b with any square A that is not singular, restarted after Restart steps: v makes |b - A v| least
// over the start value plus the Krylov space span{r, A r, …, A^{k-1} r}.
//
//	h = V'(A d); w = A d - V h, twice (classical Gram-Schmidt with reorthogonalization)
//	h_{j+1} = |w|; d = w / h_{j+1}, the next row of V
//	the new column of the Hessenberg matrix is rotated by Givens' rotations, which give |r|
//
// One step is one product; one more product per cycle computes the residual anew. It keeps Restart + 1 vectors of the
// size of b. Where A is symmetric MINRES does the same with six vectors. Without restarts it ends within n steps;
// with them it can stand still, and says Stagnated.
type GMRES struct {
	RTol, ATol float64
	Damping    float64
	Restart    int  // steps before a restart; 0: 30, at most the dimension
	MaxSteps   int  // of all cycles together; 0: twice the dimension, at most 1000
	Chunk      int  // as in CG
	FromZero   bool // start at v = 0 instead of at the value of Solution
}

// Class is General.
func (GMRES) Class() Class { return General }

func (g GMRES) String() string {
	return fmt.Sprintf("GMRES(rtol %g, atol %g, damping %g, restart %d, at most %d steps)", g.RTol, g.ATol, g.Damping,
		g.Restart, g.MaxSteps)
}

// Prepare compiles the iteration.
func (g GMRES) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	if g.Restart < 0 {
		return nil, fmt.Errorf("linear: GMRES: restart %d: wants at least one step between restarts, or 0 for 30",
			g.Restart)
	}
	if g.Restart == 0 {
		g.Restart = 30
	}
	m := max(1, min(g.Restart, a.N))
	s, err := newIteration(ex, a, limits{"GMRES", g.RTol, g.ATol, g.Damping, g.MaxSteps, g.Chunk, g.FromZero, m})
	if err != nil {
		return nil, err
	}
	basis := s.vector("basis", m+1, a.N)
	rotations := s.vector("rotations", m+1, m+1) // the product of the rotations so far
	inverse := s.vector("inverse", m, m)         // of the triangular factor, column by column
	g1 := s.vector("rotated", m+1)               // the rotated right-hand side of the small system
	column := func(v *tensor.Node) *tensor.Node { return v.Reshape(v.Size(), 1) }
	outer := func(a, b *tensor.Node) *tensor.Node { return column(a).Mul(b.Reshape(1, b.Size())) }
	first := func() *tensor.Node { return tensor.Iota(0, m+1).Eq(tensor.IntConst(0)) }
	bound := s.bound()
	return s.compile(a, rule{
		begin: func(r, beta *tensor.Node) ([]tensor.Update, *tensor.Node) {
			d := r.Div(tensor.Where(tensor.Const(0).Lt(beta), beta, tensor.Const(1)))
			identity := tensor.Iota(0, m+1, m+1).Eq(tensor.Iota(1, m+1, m+1))
			return []tensor.Update{
				{Var: basis, Value: d.Reshape(1, a.N).Pad(0, 0, m)}, {Var: rotations, Value: identity},
				{Var: inverse, Value: tensor.Zeros(m, m)}, {Var: g1, Value: first().Mul(beta)},
			}, d
		},
		step: func(ad *tensor.Node) advance {
			v, j := basis.Node(), s.place.Node()
			h := v.MatMul(column(ad))
			w := column(ad).Sub(v.T().MatMul(h))
			again := v.MatMul(w)
			w = w.Sub(v.T().MatMul(again)).Reshape(a.N)
			h = h.Add(again)
			next, size := Norm(w), Norm(ad)
			index := tensor.Iota(0, m+1)
			at, after := index.Eq(j), index.Eq(j.Add(tensor.IntConst(1)))
			t := rotations.Node().MatMul(h).Reshape(m + 1)
			top := tensor.Dot(at, t)
			rho := Norm(tensor.Concat(0, top.Reshape(1), next.Reshape(1)))
			one, zero := tensor.Const(1), tensor.Const(0)
			usable := size.Scale(bound).Lt(rho)
			safe := tensor.Where(usable, rho, one)
			c, sn := top.Div(safe), next.Div(safe)
			row := func(e *tensor.Node) *tensor.Node {
				return e.Reshape(1, m+1).MatMul(rotations.Node()).Reshape(m + 1)
			}
			rowAt, rowAfter := row(at), row(after)
			turned := rotations.Node().
				Add(outer(at, rowAt.Mul(c.Sub(one)).Add(rowAfter.Mul(sn)))).
				Add(outer(after, rowAfter.Mul(c.Sub(one)).Sub(rowAt.Mul(sn))))
			above := tensor.Where(index.Lt(j), t, zero).Slice(0, 0, m)
			unit := at.Slice(0, 0, m)
			entries := unit.Sub(inverse.Node().MatMul(column(above)).Reshape(m)).Div(safe)
			g := tensor.Dot(at, g1.Node())
			left := g.Mul(sn).Neg()
			// A part of w below round-off has no direction: then the Krylov space is exhausted.
			d := tensor.Where(size.Scale(bound).Lt(next), w.Div(next), tensor.Zeros(a.N))
			return advance{
				usable: usable, size: left.Abs(), d: d,
				state: []tensor.Update{
					{Var: rotations, Value: turned}, {Var: inverse, Value: inverse.Node().Add(outer(entries, unit))},
					{Var: g1, Value: g1.Node().Add(at.Mul(g.Mul(c.Sub(one)))).Add(after.Mul(left))},
				},
				add: []addition{{basis, j.Add(tensor.IntConst(1)), d}},
			}
		},
		end: func() *tensor.Node {
			y := inverse.Node().MatMul(column(g1.Node().Slice(0, 0, m)))
			return s.v.Node().Add(basis.Node().Slice(0, 0, m).T().MatMul(y).Reshape(a.N))
		},
	})
}
