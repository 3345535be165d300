package linear

import (
	"cmp"
	"context"

	"bilevel/tensor"
)

// columns computes columns of a symmetric matrix as products with unit vectors.
type columns struct {
	rows     *tensor.Variable // [k, n]: row j is A e_i with i = number j of which
	which    *tensor.Variable // Int [k]
	in       *tensor.Variable // the unit vector
	product  *Product
	loop     *tensor.Loop // bodies: one column, begin
	products int
}

func newColumns(sc *tensor.Scope, m Matrix, name string, k int) (*columns, error) {
	c := &columns{
		rows: sc.Variable(name+" columns", tensor.Real, k, m.N), which: sc.Variable(name+" which", tensor.Int, k),
		in: sc.Variable(name+" unit", tensor.Real, m.N), product: m.Product, products: k,
	}
	place := sc.Variable(name+" place", tensor.Int)
	apply := m.graph()
	unit := func(j *tensor.Node) *tensor.Node {
		at := tensor.Gather(c.which.Node(), j.Reshape(1)).Reshape()
		return tensor.Iota(0, m.N).Eq(at)
	}
	c.loop = sc.Loop(name+" columns",
		func() []tensor.Update {
			j := place.Node()
			next := j.Add(tensor.IntConst(1))
			inside := next.Lt(tensor.IntConst(int32(k))).ToInt() // after the last column the first is prepared again
			return []tensor.Update{
				{Var: c.rows, Value: tensor.ScatterAdd(c.rows.Node(), j.Reshape(1),
					apply(c.in.Node()).Reshape(1, m.N))},
				{Var: c.in, Value: unit(next.Mul(inside))}, {Var: place, Value: next},
			}
		},
		func() []tensor.Update {
			return append(c.product.clear(),
				tensor.Update{Var: c.rows, Value: tensor.Zeros(k, m.N)},
				tensor.Update{Var: c.in, Value: unit(tensor.IntConst(0))},
				tensor.Update{Var: place, Value: tensor.IntConst(0)})
		})
	return c, sc.Err()
}

// compute fills rows with the columns of the given numbers.
func (c *columns) compute(ctx context.Context, which []int32) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := cmp.Or(c.which.WriteInts(which), c.loop.Setup(), c.loop.Body(1).Run(1)); err != nil {
		return err
	}
	return repeat(ctx, c.loop, c.product, c.in, c.products)
}
