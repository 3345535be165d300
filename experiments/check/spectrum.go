package check

import (
	"context"
	"errors"
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/mat"
)

// Spectrum is what is known about the eigenvalues of H at y*, from which settings of estimators are taken. Both are NaN
// where H was not computed.
type Spectrum struct{ least, largest float64 }

// known tells whether H was computed and is positive definite beyond rounding.
func (s Spectrum) definite() bool { return s.least > 1e-12*s.largest }

// maxDense bounds the lower levels whose Hessian is computed as a whole.
const maxDense = 400

// spectrum computes H at y* column by column.
func (c *checker) spectrum(ctx context.Context) (Spectrum, error) {
	n := c.b.Lower.Start.Size()
	s := Spectrum{math.NaN(), math.NaN()}
	if c.b.Lower.Residual != nil || n > maxDense {
		return s, nil
	}
	columns, err := c.columns(ctx, n, func(p *problem.Point, e *tensor.Node) *tensor.Node { return p.HVP(e) })
	if err != nil {
		return s, err
	}
	h := mat.NewSymDense(n, nil)
	for i := range n {
		for j := range i + 1 {
			h.SetSym(i, j, (columns[i][j]+columns[j][i])/2)
		}
	}
	for _, col := range columns {
		for _, v := range col {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return s, nil
			}
		}
	}
	values := linear.Eigenvalues(h)
	if values == nil {
		return s, nil
	}
	return Spectrum{values[0], values[n-1]}, nil
}

// columns applies a product of the lower objective at (x, y*) to each of the n unit vectors.
func (c *checker) columns(ctx context.Context, n int, of func(p *problem.Point, e *tensor.Node) *tensor.Node) (
	[][]float64, error) {
	sc := c.sc
	y, e := sc.Variable("check y*", tensor.Real, c.b.Lower.Start.Size()), sc.Variable("check unit", tensor.Real, n)
	var out *tensor.Variable
	fn := sc.Compile("columns", func() []tensor.Update {
		v := of(c.lower.point(y.Node()), e.Node())
		out = sc.Variable("check column", tensor.Real, v.Shape()...)
		return []tensor.Update{{Var: out, Value: v}}
	})
	if err := errors.Join(sc.Err(), c.x.Write(c.point), y.Write(c.truth.y)); err != nil {
		return nil, err
	}
	columns, unit := make([][]float64, n), make([]float64, n)
	for i := range columns {
		unit[i] = 1
		err := errors.Join(ctx.Err(), e.Write(unit))
		if err == nil {
			err = fn.Run(1)
		}
		if err == nil {
			columns[i], err = out.Read()
		}
		if err != nil {
			return nil, err
		}
		unit[i] = 0
	}
	return columns, nil
}
