package linear

import (
	"context"
	"fmt"
	"math"

	"bilevel/internal/philox"
	"bilevel/tensor"
)

// RandomNeumann is the Neumann series with a random number of products (Ghadimi, Wang, arXiv:1802.02246, algorithm 3):
//
//	k uniform in {0, …, Q-1};  v = Qη (I - ηA)^k b,     E[v] = η Σ_{k=0}^{Q-1} (I - ηA)^k b
//
// with Q = Terms and η = Step. The expected value is that of Neumann with Q - 1 terms, whose bias has norm at most
// (1 - ημ)^Q/μ |b|; the mean number of products is (Q - 1)/2, and one more gives the residual. The variance grows like
// Q²η². k is a function of Seed and of the number of the solve, see Randomized.
type RandomNeumann struct {
	Step       float64
	Terms      int // Q, the number of values that k can take
	Seed       uint64
	RTol, ATol float64
}

// Class is Definite, as for Neumann.
func (RandomNeumann) Class() Class { return Definite }

func (m RandomNeumann) String() string {
	return fmt.Sprintf("RandomNeumann(step %g, fewer than %d products)", m.Step, m.Terms)
}

type randomNeumann struct {
	*direct
	RandomNeumann
	u *tensor.Variable
}

// Prepare compiles the recurrence u ← u - ηAu.
func (m RandomNeumann) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	if !(m.Step > 0) || math.IsInf(m.Step, 0) || m.Terms < 1 || m.Terms > math.MaxInt32 {
		return nil,
			fmt.Errorf("linear: RandomNeumann: step %g with %d terms: wants a positive step and at least one term",
				m.Step, m.Terms)
	}
	d, err := newDirect(ex, a, "RandomNeumann", m.RTol, m.ATol)
	if err != nil {
		return nil, err
	}
	s := &randomNeumann{direct: d, RandomNeumann: m, u: d.vector("u", a.N)}
	u, apply := s.u.Node(), a.graph()
	return s, s.compile(a,
		func() []tensor.Update { return []tensor.Update{{Var: s.u, Value: u.Sub(apply(u).Scale(m.Step))}} },
		func() []tensor.Update { return []tensor.Update{{Var: s.u, Value: s.b.Node()}} },
		func() []tensor.Update {
			return []tensor.Update{{Var: s.v, Value: u.Scale(float64(m.Terms) * m.Step)}}
		})
}

// Length is the number of products k of the solve at a position.
func (m RandomNeumann) Length(position uint32) int {
	var k [1]int32
	philox.Integers(k[:], uint32(m.Terms), m.Seed, position, philox.StreamInner, 0)
	return int(k[0])
}

// Solve draws k and moves the position on by one.
func (s *randomNeumann) Solve(ctx context.Context) (Stats, error) {
	k := s.Length(s.position)
	if err := s.begin(ctx); err != nil {
		return Stats{}, err
	}
	if err := s.loop.Body(1).Run(1); err != nil {
		return Stats{}, err
	}
	if err := repeat(ctx, s.loop, s.product, s.u, k); err != nil {
		return Stats{}, err
	}
	if err := s.loop.Body(2).Run(1); err != nil {
		return Stats{}, err
	}
	s.position++
	return s.end(ctx, k, k)
}
