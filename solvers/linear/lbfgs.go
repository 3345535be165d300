package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/tensor"
)

// Pairs are the last steps s_i = y_{i+1} - y_i and changes d_i = g_{i+1} - g_i of the gradient that a quasi-Newton
// method has kept, newest last. They stand for an inverse B of the Hessian.
type Pairs struct {
	Steps, Changes *tensor.Variable // [memory, n]
	Weights        *tensor.Variable // [memory]: 1/(s_i'd_i), 0 at places without a pair
	Scale          *tensor.Variable // γ of the first estimate γI
}

// Apply builds B·b by the two-loop recursion (Nocedal, Wright, Numerical Optimization, 2nd ed., algorithm 7.4).
func (p *Pairs) Apply(b *tensor.Node) *tensor.Node {
	memory := p.Weights.Size()
	row := func(v *tensor.Variable, i int) *tensor.Node { return v.Node().Slice(0, i, i+1).Flatten() }
	weight := func(i int) *tensor.Node { return p.Weights.Node().Slice(0, i, i+1).Reshape() }
	q, alpha := b, make([]*tensor.Node, memory)
	for i := memory - 1; i >= 0; i-- {
		alpha[i] = weight(i).Mul(tensor.Dot(row(p.Steps, i), q))
		q = q.Sub(row(p.Changes, i).Mul(alpha[i]))
	}
	q = q.Mul(p.Scale.Node())
	for i := range memory {
		beta := weight(i).Mul(tensor.Dot(row(p.Changes, i), q))
		q = q.Add(row(p.Steps, i).Mul(alpha[i].Sub(beta)))
	}
	return q
}

// checkPairs refuses a matrix without pairs of its size.
func (m Matrix) checkPairs(who string) error {
	switch {
	case m.Pairs == nil:
		return fmt.Errorf("linear: %s wants Matrix.Pairs, which are not set: solve the lower level by "+
			"minimize.LBFGS and "+
			"give its Pairs, or use CG", who)
	case m.Pairs.Steps.Size() != m.N*m.Pairs.Weights.Size():
		return fmt.Errorf("linear: %s: pairs of shape %v for a matrix of size %d: wants those of the same variable",
			who,
			m.Pairs.Steps.Shape(), m.N)
	}
	return nil
}

// LBFGSInverse takes v = B b with the inverse B that L-BFGS has built while it solved the lower level: SHINE (Ramzi,
// Mannel, Bai, Starck, Ciuciu, Moreau, ICLR 2022). It costs no product but the one for the residual. Nothing makes B
// good in the direction b unless the inner solve adds pairs there (their OPA, minimize.LBFGS.PrepareTowards).
//
// With Refine > 0 so many steps of conjugate gradients start from B b. With Fallback > 0, B b is replaced by b where
// |B b| > Fallback·|b| (their 1.3): an inverse that blows b up is not trusted, and v = b is the Jacobian-free choice.
type LBFGSInverse struct {
	Refine     int
	Fallback   float64
	RTol, ATol float64
}

// Class is Definite.
func (LBFGSInverse) Class() Class { return Definite }

func (m LBFGSInverse) String() string {
	return fmt.Sprintf("LBFGSInverse(refine %d, fallback %g)", m.Refine, m.Fallback)
}

type lbfgsInverse struct {
	*direct
	refine System // nil: none
}

// Prepare compiles the recursion; the matrix must have Pairs.
func (m LBFGSInverse) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	if err := a.checkPairs("LBFGSInverse"); err != nil {
		return nil, err
	}
	p := a.Pairs
	if m.Refine < 0 || !(m.Fallback >= 0) || math.IsInf(m.Fallback, 0) {
		return nil, fmt.Errorf("linear: LBFGSInverse: refine %d, fallback %g: wants both from 0 on", m.Refine,
			m.Fallback)
	}
	d, err := newDirect(ex, a, "LBFGSInverse", m.RTol, m.ATol)
	if err != nil {
		return nil, err
	}
	s := &lbfgsInverse{direct: d}
	if err := s.compile(a, func() []tensor.Update {
		b := s.b.Node()
		v := p.Apply(b)
		if m.Fallback > 0 {
			v = tensor.Where(Norm(v).Le(Norm(b).Scale(m.Fallback)), v, b)
		}
		return []tensor.Update{{Var: s.v, Value: v}}
	}); err != nil {
		return nil, err
	}
	if m.Refine > 0 {
		s.refine, err = CG{RTol: m.RTol, ATol: m.ATol, MaxSteps: m.Refine}.Prepare(ex, a)
		if err != nil {
			return nil, errors.Join(err, s.scope.Close())
		}
		s.scope.Own(s.refine.Close)
	}
	return s, nil
}

// Solve applies the pairs as they stand, and refines.
func (s *lbfgsInverse) Solve(ctx context.Context) (Stats, error) {
	if err := s.begin(ctx); err != nil {
		return Stats{}, err
	}
	if err := s.loop.Run(1); err != nil {
		return Stats{}, err
	}
	if s.refine == nil {
		return s.end(ctx, 0, 0)
	}
	if err := cmp.Or(s.refine.RHS().CopyFrom(s.b), s.refine.Solution().CopyFrom(s.v)); err != nil {
		return Stats{}, err
	}
	st, err := s.refine.Solve(ctx)
	return st, cmp.Or(err, s.v.CopyFrom(s.refine.Solution()))
}
