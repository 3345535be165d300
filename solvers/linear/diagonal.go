package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"bilevel/internal/philox"
	"bilevel/tensor"
)

// Preconditioner says where an approximation M of the matrix comes from: Given, ExactDiagonal or Hutchinson, which are
// diagonal, or FromPairs.
type Preconditioner interface {
	prepare(sc *tensor.Scope, m Matrix) (preconditioner, error)
}

// preconditioner is one that is prepared for a matrix.
type preconditioner interface {
	// compute is run before each solve, and costs so many products.
	compute(ctx context.Context) (products int, err error)
	// inverse builds M⁻¹r, for the matrix with shift added to its diagonal.
	inverse(r, shift *tensor.Node) *tensor.Node
}

// FromPairs takes M⁻¹ to be the inverse that L-BFGS has built (Matrix.Pairs; Morales, Nocedal, SIAM J. Optim. 10,
// 2000). It does not see a damping.
type FromPairs struct{}

// fromPairs is FromPairs with its pairs.
type fromPairs struct{ pairs *Pairs }

func (FromPairs) prepare(_ *tensor.Scope, m Matrix) (preconditioner, error) {
	if err := m.checkPairs("CG: the preconditioner FromPairs"); err != nil {
		return nil, err
	}
	return fromPairs{m.Pairs}, nil
}

func (p fromPairs) compute(ctx context.Context) (int, error) { return 0, ctx.Err() }
func (p fromPairs) inverse(r, _ *tensor.Node) *tensor.Node   { return p.pairs.Apply(r) }

// Given is the diagonal that the matrix comes with (Matrix.Diagonal).
type Given struct{}

// ExactDiagonal is the diagonal of A by n products with unit vectors.
type ExactDiagonal struct{}

// Hutchinson is the estimate (1/k) Σ z ⊙ A z of A's diagonal from k = Probes vectors z of random signs (Bekas,
// Kokiopoulou, Saad, Appl. Numer. Math. 57, 2007), which are a function of Seed alone. It is exact for a diagonal A.
type Hutchinson struct {
	Probes int // 0: 10
	Seed   uint64
}

// diagonal is a diagonal that is computed on demand.
type diagonal struct {
	value   *tensor.Variable // [n]
	in      *tensor.Variable // the vector that A is applied to
	product *Product
	loop    *tensor.Loop // bodies: add a product, begin
	probes  int          // products of one computation
}

func (Given) prepare(sc *tensor.Scope, m Matrix) (preconditioner, error) {
	if m.Diagonal == nil {
		return nil, errors.New("linear: CG: the preconditioner Given wants Matrix.Diagonal, which is not set: " +
			"set it, or use Hutchinson or ExactDiagonal")
	}
	d := &diagonal{value: sc.Variable("diagonal", tensor.Real, m.N)}
	d.loop = sc.Loop("diagonal", func() []tensor.Update {
		return []tensor.Update{{Var: d.value, Value: m.Diagonal().Reshape(m.N)}}
	})
	return d, sc.Err()
}

func (ExactDiagonal) prepare(sc *tensor.Scope, m Matrix) (preconditioner, error) {
	return probed(sc, m, m.N, 1, func(k *tensor.Node) *tensor.Node { return tensor.Iota(0, m.N).Eq(k) })
}

func (h Hutchinson) prepare(sc *tensor.Scope, m Matrix) (preconditioner, error) {
	probes := cmp.Or(h.Probes, 10)
	if probes < 1 {
		return nil, fmt.Errorf("linear: CG: Hutchinson with %d probes: wants at least one, or 0 for 10", h.Probes)
	}
	seed := sc.Variable("diagonal seed", tensor.Int, 2)
	if err := seed.WriteInts([]int32{int32(uint32(h.Seed)), int32(uint32(h.Seed >> 32))}); err != nil {
		return nil, err
	}
	return probed(sc, m, probes, 1/float64(probes), func(k *tensor.Node) *tensor.Node {
		return tensor.RandomInts(2, seed.Node(), k, philox.StreamProbe, m.N).ToReal().Scale(2).AddConst(-1)
	})
}

// probed sums weight · z ⊙ A z over probes vectors z of 0 and ±1, which vector builds from their number.
func probed(sc *tensor.Scope, m Matrix, probes int, weight float64, vector func(k *tensor.Node) *tensor.Node) (
	preconditioner, error) {
	d := &diagonal{
		value: sc.Variable("diagonal", tensor.Real, m.N), in: sc.Variable("diagonal probe", tensor.Real, m.N),
		product: m.Product, probes: probes,
	}
	apply, count := m.graph(), sc.Variable("diagonal count", tensor.Int)
	d.loop = sc.Loop("diagonal",
		func() []tensor.Update {
			z, next := d.in.Node(), count.Node().Add(tensor.IntConst(1))
			return []tensor.Update{
				{Var: d.value, Value: d.value.Node().Add(z.Mul(apply(z)).Scale(weight))},
				{Var: d.in, Value: vector(next)}, {Var: count, Value: next},
			}
		},
		func() []tensor.Update {
			return append(d.product.clear(),
				tensor.Update{Var: d.value, Value: tensor.Zeros(m.N)},
				tensor.Update{Var: d.in, Value: vector(tensor.IntConst(0))},
				tensor.Update{Var: count, Value: tensor.IntConst(0)})
		})
	return d, sc.Err()
}

// compute fills value, with so many products.
func (d *diagonal) compute(ctx context.Context) (products int, err error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	if err := d.loop.Setup(); err != nil {
		return 0, err
	}
	if d.probes == 0 {
		return 0, d.loop.Run(1)
	}
	if err := d.loop.Body(1).Run(1); err != nil {
		return 0, err
	}
	return d.probes, repeat(ctx, d.loop, d.product, d.in, d.probes)
}

// repeat runs a loop's first body n times, each after the product of in where that is computed by programs of its own.
func repeat(ctx context.Context, l *tensor.Loop, p *Product, in *tensor.Variable, n int) error {
	if p == nil {
		if err := ctx.Err(); err != nil {
			return err
		}
		return l.Run(n)
	}
	for range n {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.then(ctx, in, l); err != nil {
			return err
		}
	}
	return nil
}

// inverse divides by absolute values of the diagonal, kept above a small part of the largest.
func (d *diagonal) inverse(r, shift *tensor.Node) *tensor.Node {
	const least = 1e-6
	size := d.value.Node().Add(shift).Abs()
	largest := size.MaxOver()
	nothing := tensor.Where(tensor.Const(0).Lt(largest), tensor.Const(0), tensor.Const(1))
	return r.Div(size.Max(largest.Scale(least)).Max(nothing))
}
