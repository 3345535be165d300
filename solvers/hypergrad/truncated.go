package hypergrad

import (
	"fmt"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Truncated is Unrolled stopped after the last K steps (K-RMD; Shaban, Cheng, Hatch, Boots, AISTATS 2019):
//
//	g_K = ∇xF + Σ_{t=T-K}^{T-1} (∂xΦ_t)ᵀ (∂yΦ_{t+1})ᵀ ⋯ (∂yΦ_{T-1})ᵀ ∇yF
//
// The state after T-K steps counts as constant. At most 2⌈√K⌉ states are kept, and the recursion costs K products with
// H and with C. Beside the bias of unrolling, what is left out shrinks, for gradient steps on a level of modulus μ,
// like (1-ημ)^K/(ημ).
type Truncated struct {
	Inner Inner
	Steps int // T
	Last  int // K, from 1 to T
	Rows  int // of a piece, see Implicit; 0: all together
}

func (Truncated) Name() string { return "truncated" }
func (Truncated) Needs() Needs { return pathNeeds() }

// Prepare compiles one step, one adjoint step and takes the memory for the states.
func (m Truncated) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	if m.Last < 1 || m.Last > m.Steps {
		return nil, fmt.Errorf("hypergrad: Truncated.Last is %d of %d steps: wants the number of steps that are "+
			"differentiated, from 1 to Steps", m.Last, m.Steps)
	}
	return prepareUnrolled(b, x, y, m, unrolling{
		field: "Truncated", inner: m.Inner, steps: m.Steps, last: m.Last, rows: m.Rows,
		bias: func(p *problem.Problem) string {
			return fmt.Sprintf("the derivative of F(x, y_T(x)) through the last %d of %d %s steps, exact to rounding; "+
				"the state before them counts as constant%s", m.Last, m.Steps, m.Inner.Name(),
				contraction(p, m.Inner, m.Last))
		},
	})
}

// OneStep is the derivative through a single step from the given y, which counts as constant (Luketina, Berglund,
// Greff, Raiko, ICML 2016; Bolte, Pauwels, Vaiter, NeurIPS 2023):
//
//	y₊ = Φ(x, y),   g = ∇xF(x,y₊) + (∂xΦ(x,y))ᵀ ∇yF(x,y₊)
//
// For gradient steps of length η this is ∇xF - η C ∇yF: the implicit hypergradient with H replaced by I/η. It costs one
// product with C. Φ's own derivative in y is left out: at y*, the error is (∂yΦ J*)ᵀ∇yF with the true Jacobian J* of
// y*(x), and its norm at most ρ |J*||∇yF| where ρ = |∂yΦ| is the factor by which a step contracts.
type OneStep struct {
	Inner Inner
	Rows  int // of a piece, see Implicit; 0: all together
}

func (OneStep) Name() string { return "one-step" }
func (OneStep) Needs() Needs { return pathNeeds() }

// Prepare compiles the step and its adjoint.
func (m OneStep) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	return prepareUnrolled(b, x, y, m, unrolling{
		field: "OneStep", inner: m.Inner, steps: 1, last: 1, rows: m.Rows,
		bias: func(p *problem.Problem) string {
			return fmt.Sprintf("the derivative through a single %s step; of the Jacobian of y*(x) it leaves out ∂yΦ "+
				"J*, the share of ρ = |∂yΦ|, the factor by which a step contracts%s", m.Inner.Name(),
				contraction(p, m.Inner, 1))
		},
	})
}
