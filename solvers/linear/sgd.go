package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/internal/philox"
	"bilevel/tensor"
)

// SGD takes stochastic gradient steps on the quadratic ½v'Av - b'v from the value of Solution (Arbel, Mairal, ICLR
// 2022; Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022):
//
//	v ← v - ρ (A_ξ v - b)              one product a step; A_ξ is the mean over a minibatch ξ
//	v ← v - ρ A_ζ (A_ξ v - b)          with Normal, on ½|Av - b|²: two products with independent ξ and ζ
//
// It needs ρ < 2/L, with Normal ρ < 2/L². Given v a step is unbiased, and its error is (I - ρA) times the one before
// plus noise. Normal also goes to a least-squares solution where A is singular or indefinite. Without a Batch the
// products are those of A: then the v of K steps from zero is that of Neumann with K - 1 terms. Minibatches are drawn
// with replacement; what step number t draws is a function of Seed and t, see Randomized.
type SGD struct {
	Step       float64 // ρ
	Steps      int
	Batch      int // rows of a minibatch; 0: all of A
	Normal     bool
	Seed       uint64
	FromZero   bool // start at v = 0 instead of at the value of Solution
	RTol, ATol float64
}

// Class is Symmetric with Normal, else Definite.
func (m SGD) Class() Class {
	if m.Normal {
		return Symmetric
	}
	return Definite
}

func (m SGD) String() string {
	form := ""
	if m.Normal {
		form = ", normal equations"
	}
	return fmt.Sprintf("SGD(step %g, %d steps, minibatches of %d%s)", m.Step, m.Steps, m.Batch, form)
}

type sgd struct {
	*direct
	SGD
	d, second *tensor.Variable // what A is applied to next; 1 in the second half of a step
	draw      *tensor.Variable
}

// Prepare compiles one body: a step, or with Normal the half of a step that is due.
func (m SGD) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	switch {
	case !(m.Step > 0) || math.IsInf(m.Step, 0) || m.Steps < 1 || m.Batch < 0:
		return nil,
			fmt.Errorf("linear: SGD: step %g, %d steps, batch %d: wants a positive step, at least one step, and "+
				"a batch from 0 on", m.Step, m.Steps, m.Batch)
	case m.Batch > 0 && (a.Sampled == nil || a.Sampled.Apply == nil || a.Sampled.Rows < 1):
		return nil, errors.New("linear: SGD: minibatches want Matrix.Sampled, which is not set: give the lower level " +
			"rows of data, or set Batch to 0 for products with all of A")
	}
	full := a
	if m.Batch > 0 {
		full.Product = nil
	}
	d, err := newDirect(ex, a, "SGD", m.RTol, m.ATol)
	if err != nil {
		return nil, err
	}
	d.short = MaxSteps
	s := &sgd{direct: d, SGD: m, d: d.vector("d", a.N), second: d.number("second"), draw: d.integer("draw")}
	apply := full.graph()
	if m.Batch > 0 {
		seed := d.integer("seed", 2)
		if err := seed.WriteInts([]int32{int32(uint32(m.Seed)), int32(uint32(m.Seed >> 32))}); err != nil {
			return nil, errors.Join(err, d.scope.Close())
		}
		apply = func(v *tensor.Node) *tensor.Node {
			rows := tensor.RandomInts(uint32(a.Sampled.Rows), seed.Node(), s.draw.Node(), philox.StreamInner, m.Batch)
			return a.Sampled.Apply(v, rows)
		}
	}
	return s, s.compile(a,
		func() []tensor.Update {
			v, ad, second := s.v.Node(), apply(s.d.Node()), s.second.Node()
			next := tensor.Update{Var: s.draw, Value: s.draw.Node().Add(tensor.IntConst(1))}
			if !m.Normal {
				v = v.Sub(ad.Sub(s.b.Node()).Scale(m.Step))
				return []tensor.Update{next, {Var: s.v, Value: v}, {Var: s.d, Value: v}}
			}
			stepped := v.Sub(ad.Scale(m.Step))
			return []tensor.Update{
				next, {Var: s.v, Value: tensor.Where(second, stepped, v)},
				{Var: s.d, Value: tensor.Where(second, stepped, ad.Sub(s.b.Node()))},
				{Var: s.second, Value: tensor.Const(1).Sub(second)},
			}
		},
		func() []tensor.Update {
			v := s.v.Node()
			if m.FromZero {
				v = tensor.Zeros(a.N)
			}
			return []tensor.Update{{Var: s.v, Value: v}, {Var: s.d, Value: v}, {Var: s.second, Value: tensor.Const(0)}}
		})
}

// Solve takes the steps and moves the position on by the number of products.
func (s *sgd) Solve(ctx context.Context) (Stats, error) {
	products := s.Steps
	if s.Normal {
		products *= 2
	}
	if err := s.begin(ctx); err != nil {
		return Stats{}, err
	}
	if err := cmp.Or(s.draw.WriteInts([]int32{int32(s.position)}), s.loop.Body(1).Run(1)); err != nil {
		return Stats{}, err
	}
	own := s.product
	if s.Batch > 0 {
		own = nil
	}
	if err := repeat(ctx, s.loop, own, s.d, products); err != nil {
		return Stats{}, err
	}
	s.position += uint32(products)
	st, err := s.end(ctx, s.Steps, products)
	st.Samples = s.Batch * products
	return st, err
}
