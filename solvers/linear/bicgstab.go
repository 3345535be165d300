package linear

import (
	"fmt"

	"bilevel/tensor"
)

// BiCGSTAB is the stabilized method of bi-conjugate gradients (van der Vorst, SIAM J. Sci. Stat. Comput. 13, 1992) for
// (A + Damping·I) v = b with any square A, in seven vectors. With r̂ the first residual, it alternates two half steps
// of one product each:
//
//	a = A p;  α = ρ / r̂'a;      v += α p;  s = r - α a
//	t = A s;  ω = t's / t't;    v += ω s;  r = s - ω t;  β = r̂'r/ρ · α/ω;  p = r + β (p - ω a)
//
// Stats.Steps counts half steps, so that a step is a product as in the other methods. The residual need not fall from
// step to step, and a division by zero can end it (Breakdown, after a restart from where it stood did not help); then
// GMRES is the method that cannot fail but takes more memory.
type BiCGSTAB struct {
	RTol, ATol float64
	Damping    float64
	MaxSteps   int  // half steps; 0: twice the dimension, at most 1000
	Chunk      int  // as in CG
	FromZero   bool // start at v = 0 instead of at the value of Solution
}

// Class is General.
func (BiCGSTAB) Class() Class { return General }

func (m BiCGSTAB) String() string {
	return fmt.Sprintf("BiCGSTAB(rtol %g, atol %g, damping %g, at most %d half steps)", m.RTol, m.ATol, m.Damping,
		m.MaxSteps)
}

// Prepare compiles the iteration: one body that does the half step that is due.
func (m BiCGSTAB) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	s, err := newIteration(ex, a, limits{"BiCGSTAB", m.RTol, m.ATol, m.Damping, m.MaxSteps, m.Chunk, m.FromZero, 0})
	if err != nil {
		return nil, err
	}
	shadow, residual := s.vector("shadow", a.N), s.vector("r", a.N)
	direction, image := s.vector("p", a.N), s.vector("A p", a.N)
	rho, alpha, second := s.number("rho"), s.number("alpha"), s.number("second")
	bound := s.bound()
	return s.compile(a, rule{
		begin: func(r, beta *tensor.Node) ([]tensor.Update, *tensor.Node) {
			return []tensor.Update{
				{Var: shadow, Value: r}, {Var: residual, Value: r}, {Var: direction, Value: r},
				{Var: rho, Value: tensor.Dot(r, r)}, {Var: second, Value: tensor.Const(0)},
			}, r
		},
		step: func(ad *tensor.Node) advance {
			zero, one := tensor.Const(0), tensor.Const(1)
			r, p, due := residual.Node(), direction.Node(), second.Node()
			above := func(value, a, b *tensor.Node) *tensor.Node { // |value| is above the round-off of a'b
				return a.Norm().Mul(b.Norm()).Scale(bound).Lt(value.Abs())
			}
			divide := func(a, b, may *tensor.Node) *tensor.Node {
				return tensor.Where(may, a.Div(tensor.Where(may, b, one)), zero)
			}
			unit := scaleOf(ad)
			scaled := ad.Div(unit)
			// The first half step; its vector d is p.
			pivot := tensor.Dot(shadow.Node(), scaled)
			mayFirst := above(pivot, shadow.Node(), scaled)
			step := divide(rho.Node(), pivot, mayFirst).Div(unit)
			// The second half step; its vector d is s, which is also the residual.
			tt, ts := tensor.Dot(scaled, scaled), tensor.Dot(scaled, r)
			mayOmega := above(ts, scaled, r)
			omega := divide(ts, tt, mayOmega).Div(unit)
			factor := tensor.Where(due, omega, step)
			v := s.v.Node().Add(s.d.Node().Mul(factor))
			next := r.Sub(ad.Mul(factor))
			rho2 := tensor.Dot(shadow.Node(), next)
			mayRho := above(rho2, shadow.Node(), next)
			beta := divide(rho2, rho.Node(), mayOmega).Mul(divide(alpha.Node(), omega, mayOmega))
			turned := next.Add(p.Sub(image.Node().Mul(omega)).Mul(beta))
			size := next.Norm()
			// A ρ of zero only matters where there is a next step.
			usable := tensor.Where(due, mayOmega.Mul(mayRho.Max(size.Le(s.limit.Node()))), mayFirst)
			return advance{
				usable: usable, size: size, d: tensor.Where(due, turned, next),
				state: []tensor.Update{
					{Var: s.v, Value: v}, {Var: residual, Value: next},
					{Var: direction, Value: tensor.Where(due, turned, p)},
					{Var: image, Value: tensor.Where(due, image.Node(), ad)},
					{Var: rho, Value: tensor.Where(due, rho2, rho.Node())},
					{Var: alpha, Value: tensor.Where(due, alpha.Node(), step)},
					{Var: second, Value: one.Sub(due)},
				},
			}
		},
	})
}
