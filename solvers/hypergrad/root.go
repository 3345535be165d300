package hypergrad

import (
	"errors"
	"fmt"

	"bilevel/models/params"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// frozen is how estimators look at objectives.
const frozen = params.TrainFrozen

// Root is the hypergradient of a problem whose lower level is the root of a residual, R(x, y) = 0, by the implicit
// function theorem (Bai, Kolter, Koltun, NeurIPS 2019, theorem 1; Blondel et al., NeurIPS 2022, eq. 2):
//
//	∇h ≈ g = ∇xF - (∂xR)ᵀ w,   (∂yR)ᵀ w = ∇yF
//
// on all rows of the data at a y near the root. A fixed point y = Φ(x, y) is the residual y - Φ(x, y)
// (problem.FixedPoint); then w = (I - ∂yΦ)⁻ᵀ∇yF. The matrix ∂yR is square and nothing more, so that Solver must be of
// the class linear.General: GMRES or BiCGSTAB. Conjugate gradients are wrong here and are refused.
//
// The error is an Estimate, to first order in the distance from the root, by two more solves: one with ∂yR and one with
// its transpose. Stationarity is |R(x, y)|.
type Root struct {
	Solver linear.Solver
}

// MeasureResidual is the name of |R(x, y)|, the stationarity of a root.
const MeasureResidual = "|R(x,y)|"

func (Root) Name() string { return "root" }

// Needs says that only a residual is meant.
func (Root) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.UpperConstraints | problem.LowerResidual,
		Why: "the implicit function theorem for roots needs one lower level given as a Residual, without " +
			"constraints, whose variable lasts",
	}
}

// Prepare compiles the estimator. It reads x and y where they stand at each Compute.
func (m Root) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	if err := refuse(b, m, x, y); err != nil {
		return nil, err
	}
	if b.Lower.Residual == nil {
		return nil, fmt.Errorf("hypergrad: root: the lower level of %s is an objective to be minimized, not a "+
			"residual: use Implicit, Prox or KKT, or give its gradient as Lower.Residual", b.Name)
	}
	if err := wantClass(m.Name(), m.Solver, linear.General, "the Jacobian ∂yR of a residual is a square matrix that "+
		"need not be symmetric"); err != nil {
		return nil, err
	}
	sc := b.Executor.Scope()
	o := b.Oracle()
	at := func() *problem.Root { return o.Root(x.Node(), y.Node(), b.All(problem.Lower)) }
	e := &adjoint{method: m.Name(), measure: MeasureResidual, bound: b, scope: sc, oracle: o, x: x,
		parts: []*tensor.Variable{y}, n: y.Size(), equations: func() linearized { return rootEquations{at()} }}
	if err := e.squareSystems(m.Solver, at); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e.prepare()
}

// rootEquations are those of a problem.Root.
type rootEquations struct{ *problem.Root }

func (r rootEquations) Transposed(w *tensor.Node) (x, z *tensor.Node) {
	return r.TransposedX(w), r.TransposedY(w)
}

// squareSystems prepares a solver for the Jacobian of a residual and for its transpose.
func (e *adjoint) squareSystems(s linear.Solver, at func() *problem.Root) (err error) {
	system := func(apply linear.Operator) (linear.System, error) {
		before := e.oracle.Counts
		defer func() { e.oracle.Counts = before }() // the solver counts its products
		got, err := s.Prepare(e.scope.Executor(), linear.Matrix{N: e.n, Apply: apply})
		if err == nil {
			e.scope.Own(got.Close)
		}
		return got, err
	}
	if e.across, err = system(func(v *tensor.Node) *tensor.Node { return at().TransposedY(v) }); err != nil {
		return err
	}
	e.down, err = system(func(v *tensor.Node) *tensor.Node { return at().Along(v) })
	return err
}

// wantClass refuses a solver that is not meant for a class of matrices.
func wantClass(method string, s linear.Solver, class linear.Class, matrix string) error {
	switch {
	case s == nil:
		return fmt.Errorf("hypergrad: %s without a solver for its linear system: set the field Solver", method)
	case s.Class() < class:
		remedy := "take one of the class linear.General, such as GMRES or BiCGSTAB"
		return fmt.Errorf("hypergrad: %s: the Solver %s is meant for matrices that are %s, but %s, for which it is "+
			"wrong: %s", method, s, s.Class(), matrix, remedy)
	}
	return nil
}
