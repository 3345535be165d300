package problem

import (
	"context"

	"bilevel/tensor"
)

// Sweep computes sums over all rows of a level in pieces that fit into memory: for an objective that is a mean over
// rows its value, gradients and products with its second derivatives are the means of those of the pieces, weighted
// with their numbers of rows.
type Sweep struct {
	zero, whole, rest *tensor.Function // rest has the last rows where the pieces do not divide them; nil elsewhere
	pieces            int
	all               *tensor.Function // instead of the three, where one piece holds all rows
}

// Sum is a variable that takes Σ (rows of the piece / rows) · Value over the pieces.
type Sum struct {
	Var   *tensor.Variable
	Value *tensor.Node
}

// NewSweep compiles a sweep in pieces of at most so many rows; 0 or less puts all rows into one. build makes the sums
// of a piece. What it compiles belongs to the scope, which also keeps the error.
func (b *Bound) NewSweep(sc *tensor.Scope, name string, side Side, rows int, build func(Batch) []Sum) *Sweep {
	n := b.All(side).Rows
	if rows <= 0 || n <= rows {
		return &Sweep{all: sc.Compile(name, func() []tensor.Update {
			var updates []tensor.Update
			for _, s := range build(b.All(side)) {
				updates = append(updates, tensor.Update{Var: s.Var, Value: s.Value})
			}
			return updates
		})}
	}
	s := &Sweep{pieces: n / rows}
	base := sc.Variable(name+" base", tensor.Int)
	piece := func(size int) func() []tensor.Update {
		return func() []tensor.Update {
			index := tensor.Iota(0, size).Add(base.Node())
			updates := []tensor.Update{{Var: base, Value: base.Node().Add(tensor.IntConst(int32(size)))}}
			for _, sum := range build(b.Batch(side, index)) {
				part := sum.Value.Scale(float64(size) / float64(n))
				updates = append(updates, tensor.Update{Var: sum.Var, Value: sum.Var.Node().Add(part)})
			}
			return updates
		}
	}
	s.whole = sc.Compile(name, piece(rows))
	if left := n % rows; left > 0 {
		s.rest = sc.Compile(name+" rest", piece(left))
	}
	s.zero = sc.Compile(name+" zero", func() []tensor.Update {
		updates := []tensor.Update{{Var: base, Value: tensor.IntConst(0)}}
		for _, sum := range build(b.All(side)) { // only the variables matter here
			updates = append(updates, tensor.Update{Var: sum.Var, Value: tensor.Zeros(sum.Var.Shape()...)})
		}
		return updates
	})
	return s
}

// Run computes the sums anew, and returns between two pieces when ctx ends.
func (s *Sweep) Run(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if s.all != nil {
		return s.all.Run(1)
	}
	if err := s.zero.Run(1); err != nil {
		return err
	}
	for range s.pieces {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := s.whole.Run(1); err != nil {
			return err
		}
	}
	if s.rest != nil {
		return s.rest.Run(1)
	}
	return nil
}
