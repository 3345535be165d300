package hypergrad

import (
	"context"
	"errors"
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// The optimality conditions as a residual of z = (y, λ), with M the mask of free coordinates and A that of active
// functions:
//
//	R = (M ∇yL + (I-M)(y - bound);  A c + (I-A) λ)
//
// whose Jacobian in z is [M H + (I-M), M Eᵀ; A E, I-A].

// kktEquations are this residual at the point.
type kktEquations struct {
	k     *kkt
	p     *problem.Point
	c     *tensor.Node // nil where there are no functions
	free  *tensor.Node
	fixed *tensor.Node // 1 - free
	on    *tensor.Node // active functions
	off   *tensor.Node
}

func (k *kkt) equations() linearized {
	_, c := k.at()
	q := kktEquations{k: k, p: k.lower(), c: c, free: k.free.Node(), fixed: ones(k.q).Sub(k.free.Node())}
	if c != nil {
		q.on = k.active.Node()
		q.off = ones(k.m).Sub(q.on)
	}
	return q
}

// split takes a vector apart into its parts for y and λ.
func (k *kkt) split(w *tensor.Node) (v, omega *tensor.Node) {
	if k.m == 0 {
		return w, nil
	}
	return w.Slice(0, 0, k.q), w.Slice(0, k.q, k.q+k.m)
}

func (k *kkt) join(v, omega *tensor.Node) *tensor.Node {
	if k.m == 0 {
		return v
	}
	return tensor.Concat(0, v, omega)
}

func (q kktEquations) Value() *tensor.Node {
	slope := q.p.GradY()
	held := q.fixed.Mul(q.k.y.Node().Sub(q.k.target.Node()))
	if q.c == nil {
		return q.free.Mul(slope).Add(held)
	}
	lambda := q.k.lambda.Node()
	slope = slope.Add(q.k.across(q.c, lambda))
	return tensor.Concat(0, q.free.Mul(slope).Add(held), q.on.Mul(q.c).Add(q.off.Mul(lambda)))
}

// Transposed differentiates ⟨R, w⟩ with w held fixed.
func (q kktEquations) Transposed(w *tensor.Node) (gx, gz *tensor.Node) {
	v, omega := q.k.split(w)
	s := q.free.Mul(v)
	gx, gy := q.p.Cross(s), q.p.HVP(s).Add(q.fixed.Mul(v))
	if q.c == nil {
		return gx, gy
	}
	lambda := q.k.lambda.Node()
	along := q.k.along(q.c, s) // E s
	scalar := tensor.Dot(lambda, along).Add(tensor.Dot(q.c, q.on.Mul(omega)))
	g := tensor.Grad(scalar, q.k.x.Node(), q.k.y.Node())
	return gx.Add(g[0]), tensor.Concat(0, gy.Add(g[1]), along.Add(q.off.Mul(omega)))
}

// curve is H s, with the Hessian of the Lagrangian.
func (q kktEquations) curve(s *tensor.Node) *tensor.Node {
	hv := q.p.HVP(s)
	if q.c == nil {
		return hv
	}
	y := q.k.y.Node()
	along := tensor.Dot(q.k.lambda.Node(), q.k.along(q.c, s.StopGradient()))
	return hv.Add(tensor.Grad(along, y)[0])
}

// project is the projection on directions that stay on the face.
func (q kktEquations) project(s *tensor.Node) *tensor.Node {
	s = q.free.Mul(s)
	if q.c == nil {
		return s
	}
	b := q.k.basis.Node()
	inside := b.MatMul(s.Reshape(q.k.q, 1))
	return s.Sub(b.T().MatMul(inside).Reshape(q.k.q))
}

// kktSystem solves with the Jacobian of R, or its transpose, by a solver for the projected H:
//
//	s = s_r + n,   E s_r = β,   n = Z(ZᵀHZ)⁻¹Zᵀ(ρ - H s_r),   Eᵀω = ρ - H s on the free coordinates
//
// where s_r and ω come from the decomposition of the active rows on the host. With the Jacobian itself the right-hand
// side must be 0 for functions that are not active, as R is.
type kktSystem struct {
	k            *kkt
	scope        *tensor.Scope
	b, v         *tensor.Variable // [q+m]
	held         *tensor.Variable // moves of coordinates at bounds, [q]
	beta, omega  *tensor.Variable // [m]
	reach, left  *tensor.Variable // s_r; ρ - H s, [q]
	inner        linear.System
	begin, start *tensor.Function
	middle, end  *tensor.Function
}

func (k *kkt) system(solver linear.Solver, transposed bool) (linear.System, error) {
	sc := k.e.scope.Executor().Scope()
	before := k.o.Counts
	defer func() { k.o.Counts = before }() // the products are counted with those of the inner solver
	vector := func(name string, n int) *tensor.Variable { return sc.Variable("kkt "+name, tensor.Real, n) }
	s := &kktSystem{k: k, scope: sc, b: vector("b", k.q+k.m), v: vector("v", k.q+k.m), held: vector("held", k.q),
		reach: vector("reach", k.q), left: vector("left", k.q)}
	if k.m > 0 {
		s.beta, s.omega = vector("beta", k.m), vector("omega", k.m)
	}
	var err error
	s.inner, err = solver.Prepare(k.e.scope.Executor(), linear.Matrix{N: k.q, Apply: func(v *tensor.Node) *tensor.Node {
		q := k.equations().(kktEquations)
		return q.project(q.curve(q.project(v)))
	}})
	if err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	sc.Own(s.inner.Close)
	k.e.scope.Own(sc.Close)
	s.compile(transposed)
	return s, sc.Err()
}

func (s *kktSystem) compile(transposed bool) {
	k, sc := s.k, s.scope
	rho, beta := k.split(s.b.Node())
	held, reach, left := s.held.Node(), s.reach.Node(), s.left.Node()
	info := k.b.Executor.Info()
	unit := info.SumError(k.q) * info.UnitRoundoff()
	at := func() kktEquations { return k.equations().(kktEquations) }
	// remaining is ρ less what is known already, for a move s of the free coordinates.
	remaining := func(q kktEquations, move *tensor.Node) *tensor.Node { return rho.Sub(q.curve(held.Add(move))) }
	s.begin = sc.Compile("kkt begin", func() []tensor.Update {
		q := at()
		stay := tensor.Zeros(k.q)
		if !transposed {
			stay = q.fixed.Mul(rho)
		}
		updates := []tensor.Update{{Var: s.held, Value: stay}, {Var: s.reach, Value: tensor.Zeros(k.q)}}
		if q.c != nil {
			to := beta
			if !transposed {
				to = beta.Sub(k.along(q.c, stay))
			}
			updates = append(updates, tensor.Update{Var: s.beta, Value: q.on.Mul(to)},
				tensor.Update{Var: s.omega, Value: tensor.Zeros(k.m)})
		}
		return updates
	})
	s.start = sc.Compile("kkt start", func() []tensor.Update {
		q := at()
		// Twice, because rounding is relative to what is projected, which may be far larger than what is left of it.
		// What is then no larger than rounding may lie outside the face, where the projected H is 0, and is left out.
		whole := remaining(q, reach)
		inside := q.project(q.project(whole))
		counts := linear.Norm(whole).Scale(2 * unit).Lt(linear.Norm(inside))
		return []tensor.Update{{Var: s.inner.RHS(), Value: tensor.Where(counts, inside, tensor.Zeros(k.q))},
			{Var: s.inner.Solution(), Value: tensor.Zeros(k.q)}}
	})
	s.middle = sc.Compile("kkt middle", func() []tensor.Update {
		q := at()
		move := reach.Add(q.project(s.inner.Solution().Node()))
		return []tensor.Update{{Var: s.reach, Value: move}, {Var: s.left, Value: remaining(q, move)}}
	})
	s.end = sc.Compile("kkt end", func() []tensor.Update {
		q := at()
		v := reach.Add(held)
		if q.c == nil {
			if transposed {
				v = v.Add(q.fixed.Mul(left))
			}
			return []tensor.Update{{Var: s.v, Value: v}}
		}
		omega := q.on.Mul(s.omega.Node())
		if transposed {
			v = v.Add(q.fixed.Mul(left.Sub(k.across(q.c, omega))))
			omega = omega.Add(q.off.Mul(beta.Sub(k.along(q.c, reach))))
		}
		return []tensor.Update{{Var: s.v, Value: k.join(v, omega)}}
	})
}

func (s *kktSystem) RHS() *tensor.Variable      { return s.b }
func (s *kktSystem) Solution() *tensor.Variable { return s.v }

// Solve takes two products beside those of the inner solver.
func (s *kktSystem) Solve(ctx context.Context) (st linear.Stats, err error) {
	f := s.k.face
	if err = s.begin.Run(1); err != nil {
		return st, err
	}
	if len(f.index) > 0 {
		beta, err := s.beta.Read()
		if err == nil {
			err = s.reach.Write(f.reach(beta))
		}
		if err != nil {
			return st, err
		}
	}
	if err = s.start.Run(1); err != nil {
		return st, err
	}
	if f.room() > 0 {
		if st, err = s.inner.Solve(ctx); err != nil {
			return st, err
		}
	} else { // a vertex: the matrix is 0
		st.SmallestEigenvalue = math.NaN()
	}
	st.Products += 2
	if err = s.middle.Run(1); err != nil {
		return st, err
	}
	if len(f.index) > 0 {
		left, err := s.left.Read()
		if err != nil {
			return st, err
		}
		omega := make([]float64, s.k.m)
		for k, w := range f.multipliers(left) {
			omega[f.index[k]] = w
		}
		if err := s.omega.Write(omega); err != nil {
			return st, err
		}
	}
	return st, s.end.Run(1)
}

func (s *kktSystem) Close() error { return s.scope.Close() }
