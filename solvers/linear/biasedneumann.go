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

// NeumannToBias is the Neumann series, see Neumann, with the fewest products Q for which its error is known to be at
// most Bias:
//
//	|v - A⁻¹b| <= (1 - ημ)^{Q+1}/μ |b| <= Bias
//
// for A with eigenvalues between μ and L and η = 1/L. A smallest eigenvalue μ must be known. Where L is not given it is
// measured at each solve by the power method from a random vector that Seed draws, which finds it from below, and η is
// 1/(1.1 L). The status is Converged where the residual is at most μ·Bias, as it must be if μ and L are right, and
// Diverged where it has grown.
type NeumannToBias struct {
	Bias     float64 // of |v - A⁻¹b|, absolute
	Mu       float64 // 0: Matrix.Modulus
	Largest  float64 // L; 0: measured
	Power    int     // products of the measurement; 0: 20
	MaxTerms int     // most products of the series; 0: 10000
	Seed     uint64
}

// Class is Definite.
func (NeumannToBias) Class() Class { return Definite }

func (m NeumannToBias) String() string { return fmt.Sprintf("NeumannToBias(bias %g)", m.Bias) }

type neumannToBias struct {
	*direct
	NeumannToBias
	u, step *tensor.Variable
	largest *Power
}

// Prepare compiles the recurrence of Neumann with the step as a variable.
func (m NeumannToBias) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	m.Mu, m.Power = cmp.Or(m.Mu, a.Modulus), cmp.Or(m.Power, 20)
	m.MaxTerms = cmp.Or(m.MaxTerms, 10000)
	positive := func(x float64) bool { return x > 0 && !math.IsInf(x, 0) }
	switch {
	case m.Mu == 0:
		return nil, errors.New("linear: NeumannToBias: the length of the series follows from the smallest eigenvalue " +
			"of the matrix, which is not known: set Mu, here or as the modulus of convexity of the problem, or use " +
			"Neumann")
	case !positive(m.Bias) || !positive(m.Mu):
		return nil, fmt.Errorf("linear: NeumannToBias: bias %g, mu %g: wants positive, finite numbers", m.Bias, m.Mu)
	case m.Largest != 0 && !(m.Largest >= m.Mu && positive(m.Largest)):
		return nil, fmt.Errorf("linear: NeumannToBias: the largest eigenvalue is given as %g and the smallest as %g: "+
			"wants a finite number from the smallest on, or 0 to measure it", m.Largest, m.Mu)
	case m.Power < 1 || m.MaxTerms < 1:
		return nil,
			fmt.Errorf("linear: NeumannToBias: power %d, max terms %d: wants at least one, or 0 for 20 and 10000",
				m.Power, m.MaxTerms)
	}
	d, err := newDirect(ex, a, "NeumannToBias", 0, 0)
	if err != nil {
		return nil, err
	}
	s := &neumannToBias{direct: d, NeumannToBias: m, u: d.vector("u", a.N), step: d.number("step")}
	if m.Largest == 0 {
		draws := make([]float32, a.N)
		philox.Normals(draws, m.Seed, 0, philox.StreamProbe, 0)
		start := d.vector("start", a.N)
		err := start.Write32(draws)
		if err == nil {
			s.largest, err = NewPower(d.scope, a, start.Node())
		}
		if err != nil {
			return nil, errors.Join(err, d.scope.Close())
		}
	}
	u, v, apply, step := s.u.Node(), s.v.Node(), a.graph(), s.step.Node()
	return s, s.compile(a,
		func() []tensor.Update {
			next := u.Sub(apply(u).Mul(step))
			return []tensor.Update{{Var: s.u, Value: next}, {Var: s.v, Value: v.Add(next.Mul(step))}}
		},
		func() []tensor.Update {
			b := s.b.Node()
			return []tensor.Update{{Var: s.u, Value: b}, {Var: s.v, Value: b.Mul(step)}, {Var: s.norm, Value: Norm(b)}}
		})
}

// Terms is the smallest Q with (1 - ημ)^{Q+1}/μ |b| <= Bias.
func (m NeumannToBias) terms(step, mu, norm float64) int {
	shrink := 1 - step*mu
	if norm == 0 || shrink <= 0 || norm/mu <= m.Bias {
		return 0
	}
	return max(0, int(math.Ceil(math.Log(m.Bias*mu/norm)/math.Log(shrink)))-1)
}

// Solve measures L where it is not given, and sums the series.
func (s *neumannToBias) Solve(ctx context.Context) (Stats, error) {
	largest, products := s.Largest, 0
	if s.largest != nil {
		found, err := s.largest.Measure(ctx, s.Power)
		if err != nil {
			return Stats{}, err
		}
		largest, products = max(1.1*found, s.Mu), s.Power
	}
	step := 1 / largest
	if err := cmp.Or(s.step.Write([]float64{step}), s.begin(ctx)); err != nil { // begin reads the step
		return Stats{}, err
	}
	if err := s.loop.Body(1).Run(1); err != nil {
		return Stats{}, err
	}
	norm, err := s.norm.Number()
	if err != nil {
		return Stats{}, err
	}
	wanted := s.terms(step, s.Mu, norm)
	terms := min(wanted, s.MaxTerms)
	if err := repeat(ctx, s.loop, s.product, s.u, terms); err != nil {
		return Stats{}, err
	}
	st, err := s.end(ctx, terms, products+terms)
	if st.Status != NotFinite {
		// Rounding of the last product; a residual below it is as good as zero.
		info := s.ex.Info()
		round := info.SumError(s.b.Size()) * info.UnitRoundoff() * (largest*norm/s.Mu + norm)
		switch {
		case wanted <= s.MaxTerms && st.Residual <= s.Mu*s.Bias*(1+1e-3)+round:
			st.Status = Converged
		case st.Residual > 1.001*st.RHSNorm:
			st.Status = Diverged
		default:
			st.Status = MaxSteps
		}
	}
	return st, err
}
