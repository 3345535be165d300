package linear

import (
	"cmp"
	"context"
	"errors"
	"math"

	"bilevel/tensor"
)

// direct is what methods have in common that compute v without looking at the residual on their way: right-hand side,
// solution, and a last program that measures |b - A v|.
type direct struct {
	solver     string
	rtol, atol float64
	ex         *tensor.Executor
	scope      *tensor.Scope
	product    *Product
	b, v       *tensor.Variable
	left, norm *tensor.Variable // |b - A v|, |b|
	loop       *tensor.Loop     // the method's own bodies, and the measuring one last
	measure    int
	position   uint32
	short      Status // how a solve ends whose residual is above the tolerance
}

func newDirect(ex *tensor.Executor, m Matrix, solver string, rtol, atol float64) (*direct, error) {
	if err := cmp.Or(m.check(solver), checkTolerance(ex, solver, rtol, atol, 1)); err != nil {
		return nil, err
	}
	s := &direct{
		solver: solver, rtol: rtol, atol: atol, ex: ex, scope: ex.Scope(), product: m.Product,
		short: Approximate,
	}
	s.b, s.v = s.vector("b", m.N), s.vector("v", m.N)
	s.left, s.norm = s.number("residual"), s.number("norm")
	return s, nil
}

func (s *direct) vector(name string, shape ...int) *tensor.Variable {
	return s.scope.Variable(s.solver+" "+name, tensor.Real, shape...)
}

func (s *direct) number(name string) *tensor.Variable { return s.scope.Number(s.solver + " " + name) }

func (s *direct) integer(name string, shape ...int) *tensor.Variable {
	return s.scope.Variable(s.solver+" "+name, tensor.Int, shape...)
}

// compile compiles the method's bodies and the measuring one.
func (s *direct) compile(m Matrix, bodies ...func() []tensor.Update) error {
	s.measure = len(bodies)
	s.loop = s.scope.Loop(s.solver, append(bodies, func() []tensor.Update {
		b := s.b.Node()
		return append(s.product.clear(), tensor.Update{Var: s.left, Value: Norm(b.Sub(m.graph()(s.v.Node())))},
			tensor.Update{Var: s.norm, Value: Norm(b)}, varying(s.v))
	})...)
	if err := s.scope.Err(); err != nil {
		return errors.Join(err, s.scope.Close())
	}
	return nil
}

// varying is an update that changes nothing. It tells CompileLoop that a variable changes while the loop is in use,
// by the host or by another program, so that what is computed from it is not computed once by Setup.
func varying(v *tensor.Variable) tensor.Update { return tensor.Update{Var: v, Value: v.Node()} }

// begin starts a solve.
func (s *direct) begin(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.loop.Setup()
}

// end measures the residual and says how the solve went.
func (s *direct) end(ctx context.Context, steps, products int) (Stats, error) {
	st := Stats{Steps: steps, Products: products + 1, SmallestEigenvalue: math.NaN()}
	if err := s.product.then(ctx, s.v, s.loop.Body(s.measure)); err != nil {
		return st, err
	}
	var err1, err2 error
	st.Residual, err1 = s.left.Number()
	st.RHSNorm, err2 = s.norm.Number()
	switch {
	case math.IsNaN(st.Residual) || math.IsInf(st.Residual, 0):
		st.Status = NotFinite
	case st.Residual <= max(s.rtol*st.RHSNorm, s.atol):
		st.Status = Converged
	default:
		st.Status = s.short
	}
	return st, cmp.Or(err1, err2)
}

func (s *direct) RHS() *tensor.Variable      { return s.b }
func (s *direct) Solution() *tensor.Variable { return s.v }

// Position is the number of draws so far, see Randomized.
func (s *direct) Position() uint32 { return s.position }

// Seek sets the number of draws so far.
func (s *direct) Seek(position uint32) { s.position = position }

// Close frees the programs and vectors.
func (s *direct) Close() error { return s.scope.Close() }
