package solvers

import (
	"cmp"
	"errors"
	"fmt"
	"math"

	"bilevel/internal/philox"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/mat"
)

// equations are those of a lower level, r(x,y) = A y + h(x) - c = 0, with one matrix A [m,q] of full row rank and its
// pseudo-inverse A⁺ = Aᵀ(AAᵀ)⁻¹ on the device. Without equations all projections are the identity.
type equations struct {
	scope      *tensor.Scope
	rows, pinv *tensor.Node // A [m,q], A⁺ [q,m]; nil where there are none
}

// mostEquations bounds the equations whose m × m matrix is decomposed on the host.
const mostEquations = 1024

// lowerEquations reads the matrix off the problem at its start values and at other ones. Its error is a lower level
// with inequalities, or with equations that are not linear in y with one matrix, or that depend on each other. The
// caller closes what it gets.
func lowerEquations(algorithm string, b *problem.Bound) (_ *equations, err error) {
	e := &equations{scope: b.Executor.Scope()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", algorithm, err), e.scope.Close())
		}
	}()
	if b.Lower.Inequality != nil {
		return nil, fmt.Errorf("the lower level of %s has Lower.Inequality, and its projections are for equations: "+
			"take sigd, which keeps linear inequalities", b.Name)
	}
	if b.Lower.Equality == nil {
		return e, nil
	}
	p, q := b.Upper.Start.Size(), b.Lower.Start.Size()
	x, y := e.scope.Variable("equations x", tensor.Real, p), e.scope.Variable("equations y", tensor.Real, q)
	m := 0
	if err := tensor.Catch(func() { m = equationsAt(b.Oracle(), b, x.Node(), y.Node()).Size() }); err != nil {
		return nil, err
	}
	if m > mostEquations || m > q {
		return nil, fmt.Errorf("Lower.Equality gives %d equations for %d lower variables: wants at most as many, and "+
			"at most %d", m, q, mostEquations)
	}
	unit := e.scope.Variable("equations unit", tensor.Real, m)
	row := e.scope.Variable("equations row", tensor.Real, q)
	look := e.scope.Compile("equations", func() []tensor.Update {
		r := equationsAt(b.Oracle(), b, x.Node(), y.Node())
		return []tensor.Update{{Var: row, Value: tensor.Grad(tensor.Dot(r, unit.Node()), y.Node())[0]}}
	})
	if err := e.scope.Err(); err != nil {
		return nil, err
	}
	moved := func(v []float64, stream uint32) []float64 {
		draws, out := make([]float32, len(v)), make([]float64, len(v))
		philox.Normals(draws, 1, stream, philox.StreamProbe, 0)
		for i := range v {
			out[i] = v[i] + (1+math.Abs(v[i]))*float64(draws[i])
		}
		return out
	}
	matrix := func(atX, atY []float64) (*mat.Dense, error) {
		a := mat.NewDense(m, q, nil)
		if err := cmp.Or(x.Write(atX), y.Write(atY)); err != nil {
			return nil, err
		}
		for i := range m {
			one := make([]float64, m)
			one[i] = 1
			if err := unit.Write(one); err != nil {
				return nil, err
			}
			if err := look.Run(1); err != nil {
				return nil, err
			}
			values, err := row.Read()
			if err != nil {
				return nil, err
			}
			a.SetRow(i, values)
		}
		return a, nil
	}
	a, err1 := matrix(b.Upper.Start.Flat, b.Lower.Start.Flat)
	there, err2 := matrix(moved(b.Upper.Start.Flat, 0), moved(b.Lower.Start.Flat, 1))
	if err := cmp.Or(err1, err2); err != nil {
		return nil, err
	}
	var difference mat.Dense
	difference.Sub(a, there)
	if !(mat.Norm(&difference, 2) <= math.Sqrt(b.Executor.Info().UnitRoundoff())*mat.Norm(a, 2)) {
		return nil, fmt.Errorf("Lower.Equality of %s is not linear in y with a matrix that is the same everywhere: "+
			"write its equations as A y + h(x) - c, or take v-pbgd with a set of y", b.Name)
	}
	return e, e.upload(a)
}

// upload brings A and A⁺ to the device.
func (e *equations) upload(a *mat.Dense) error {
	m, q := a.Dims()
	pinv, ok := problem.RightInverse(a)
	if !ok {
		return fmt.Errorf("the %d equations of Lower.Equality depend on each other: leave out those that follow from "+
			"others", m)
	}
	rows, inverse := e.scope.Variable("A", tensor.Real, m, q), e.scope.Variable("A⁺", tensor.Real, q, m)
	e.rows, e.pinv = rows.Node(), inverse.Node()
	return cmp.Or(rows.Write(a.RawMatrix().Data), inverse.Write(pinv.RawMatrix().Data))
}

func (e *equations) close() error { return e.scope.Close() }

// equationsAt is r(x,y) [m].
func equationsAt(o *problem.Oracle, b *problem.Bound, x, y *tensor.Node) *tensor.Node {
	return o.Constraints(problem.Lower, x, y, b.All(problem.Lower)).Equality
}

// onto is the nearest point to u [q] that keeps the equations at x, u - A⁺ r(x,u).
func (e *equations) onto(it *engine.Iteration, x, u *tensor.Node) *tensor.Node {
	if e.rows == nil {
		return u
	}
	r := it.Constraints(problem.Lower, x, u, it.All(problem.Lower)).Equality
	return u.Sub(product(e.pinv, r)).StopGradient()
}

// within is the part of w [q] along which the equations stay as they are, w - A⁺A w.
func (e *equations) within(w *tensor.Node) *tensor.Node {
	if e.rows == nil {
		return w
	}
	return w.Sub(product(e.pinv, product(e.rows, w)))
}

// pull is (∂h/∂x)ᵀ A⁺ᵀ w [p], what the moves of y that the equations force make of w [q].
func (e *equations) pull(it *engine.Iteration, x, y, w *tensor.Node) *tensor.Node {
	r := it.Constraints(problem.Lower, x, y, it.All(problem.Lower)).Equality
	s := product(e.pinv.T(), w).StopGradient()
	return tensor.Grad(tensor.Dot(r, s), x)[0]
}

// product is the product of a matrix and a vector.
func product(m, z *tensor.Node) *tensor.Node {
	return m.MatMul(z.Reshape(z.Size(), 1)).Reshape(m.Shape()[0])
}
