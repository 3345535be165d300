package hypergrad

import (
	"context"
	"errors"
	"fmt"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// SignDescent is the derivative of F(x, y_T(x)) through T steps of sign descent (Sign-MAML; Fan, Ram, Liu, 2021),
//
//	y_{t+1} = y_t - η_t sign(∇yG(x,y_t)),   g = ∇xF(x,y_T) + (dy_0/dx)ᵀ ∇yF(x,y_T)
//
// The derivative of the sign is 0 almost everywhere, so that the Jacobian of y_T is that of y_0, and no second
// derivative is needed: T gradients of G and one of F. The given y counts as constant; then g = ∇xF. Where F does not
// depend on x directly either, g would be 0 for every x, and Prepare refuses that.
type SignDescent struct {
	Inner SignSteps
	Steps int // T
	// Start is y_0 as a function of x, such as the y_0 = x of MAML; nil: the given y.
	Start func(x *tensor.Node) *tensor.Node
	Rows  int // of a piece, see Implicit; 0: all together
}

func (SignDescent) Name() string { return "sign-descent" }
func (SignDescent) Needs() Needs { return pathNeeds() }

// signDescent is SignDescent prepared for a problem.
type signDescent struct {
	SignDescent
	*path
	atStart *tensor.Function
}

// Prepare compiles the step.
func (m SignDescent) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	rule, err := checkPath(b, m, x, y, unrolling{field: "SignDescent", inner: m.Inner, steps: m.Steps, rows: m.Rows})
	if err != nil {
		return nil, err
	}
	sc := b.Executor.Scope()
	e := &signDescent{SignDescent: m, path: newPath(b, sc, x, startAt(x, y, m.Start), rule, m.Steps, m.Rows)}
	e.refuseZero("SignDescent", m.Start != nil)
	fy := sc.Variable("sign descent ∇yF", tensor.Real, e.y.Size())
	e.a = []*tensor.Variable{fy}
	e.ending = prepareEnding(e.pieces, x, func(n *tensor.Node) []tensor.Update {
		return []tensor.Update{{Var: fy, Value: n}}
	})
	if m.Start != nil {
		e.atStart = e.prepareStart(x, m.Start)
	}
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e, nil
}

func (e *signDescent) Compute(ctx context.Context) (*Hypergradient, error) {
	var counts problem.Counts
	if err := e.walk(ctx, &counts); err != nil {
		return nil, err
	}
	if e.atStart != nil {
		if err := e.atStart.Run(1); err != nil {
			return nil, err
		}
	}
	return e.result("sign-descent", fmt.Sprintf("the derivative of F(x, y_T(x)) through %d sign steps, through which "+
		"no derivative of y*(x) passes: its distance from ∇h does not vanish as T grows", e.Steps), 0, counts)
}

// Close frees the programs and vectors.
func (e *signDescent) Close() error { return e.scope.Close() }
