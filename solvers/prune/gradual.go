package prune

import (
	"cmp"
	"context"
	"fmt"
	"math"

	"bilevel/solvers/engine"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Gradual is gradual magnitude pruning (Zhu, Gupta 2017, arXiv 1710.01878, eq. 1): while a method trains the masked
// network, the number of kept elements falls from all to k by
//
//	n_t = k + (all - k) (1 - t/T)³,   t = 0, Δ, 2Δ, … up to T
//
// and the smallest |m ⊙ θ| are masked. What is masked stays so. T is Until of the run; after it the mask stays as it
// is. An iteration costs one gradient.
type Gradual struct {
	Method minimize.Method // that trains the weights
	Every  int             // Δ in iterations; 0: a hundredth of the run
	Until  float64         // T, as a part of the run; 0: all of it
}

func (Gradual) Name() string { return "gradual" }

func (m Gradual) Check() error {
	if m.Method == nil || m.Every < 0 || !(m.Until >= 0 && m.Until <= 1) {
		return fmt.Errorf("gradual: every %d iterations until %g of the run: wants a method that trains, and numbers "+
			"from 0 on, the part at most 1", m.Every, m.Until)
	}
	return nil
}

func (m Gradual) Spec(_ context.Context, t Task, b *problem.Bound, k Kept, n int) (spec engine.Spec, err error) {
	if err := m.Check(); err != nil {
		return spec, err
	}
	m.Every, m.Until = cmp.Or(m.Every, max(1, n/100)), cmp.Or(m.Until, 1)
	if t.Structure.Count() > 1<<24 {
		return spec, fmt.Errorf("gradual: %d elements: wants at most 2^24, which float32 counts exactly",
			t.Structure.Count())
	}
	if spec, err = (Masked{m.Method}).Spec(b, n); err != nil {
		return spec, fmt.Errorf("gradual: %w", err)
	}
	s := t.Structure
	sizes := []int{s.Count()}
	if len(k) > 1 {
		sizes = nil
		for _, a := range s.Ranked {
			sizes = append(sizes, a.Size())
		}
	}
	if s.ByUnit() {
		all := make([]float64, s.Scores.Size())
		for i := range all {
			all[i] = 1
		}
		spec.State = append(spec.State, engine.Array{Name: marksName, Values: all, Unwatched: true})
	}
	last := max(1, int(math.Round(m.Until*float64(n))))
	// The last masking is the one that leaves k; it must come in iteration last-1 at the latest.
	at := func(i int) bool { return i < last && (i%m.Every == 0 || i == last-1) }
	for j, size := range sizes {
		spec.Rates = append(spec.Rates, engine.Rate{Name: keptRate(j), At: func(i int) float64 {
			part := math.Pow(max(0, 1-float64(i)/float64(max(1, last-1))), 3)
			return math.Round(float64(k[j]) + float64(size-k[j])*part)
		}})
	}
	spec.Phases = append(spec.Phases, engine.Phase{
		Name: "mask",
		Repeat: func(i int) int {
			if at(i) {
				return 1
			}
			return 0
		},
		Build: func(it *engine.Iteration, st *engine.State) {
			var kept []*tensor.Node
			for j := range sizes {
				kept = append(kept, it.Rate(keptRate(j)).ToInt())
			}
			t.choose(st, s.Magnitudes(st.Get("x").Mul(st.Get("y"))), kept)
		},
	})
	return spec, nil
}

func keptRate(layer int) string { return fmt.Sprint("kept ", layer) }
