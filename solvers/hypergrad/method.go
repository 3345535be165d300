package hypergrad

import (
	"context"
	"fmt"
	"strings"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
)

// Method is a way to differentiate h(x) = F(x, y*(x)): a plain struct, given by value, whose fields are its settings.
type Method interface {
	// Name is the method's, the same for all settings.
	Name() string
	// Needs says what the method can use and what it assumes.
	Needs() Needs
	// Prepare compiles the method for a problem at variables x [p] and y [q]. Its error is a problem that the method
	// cannot mean, or a setting that can never work, and says what to do.
	Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error)
}

// Needs are what a method can use and what it assumes.
type Needs struct {
	Usable problem.Features // beyond two smooth objectives; all other features are refused
	Why    string           // what its formula needs, for the reason of a refusal
}

// Estimator is a method prepared for a problem. Methods that differentiate at a point take y as the lower minimizer's
// neighbour; those that differentiate through a path of steps begin it at y. Neither writes to x or y.
type Estimator interface {
	// Compute gives the hypergradient where x and y stand. The status inside tells the numerical outcome; the error is
	// the device's, or that of a ctx that ended.
	Compute(ctx context.Context) (*Hypergradient, error)
	// Close frees the programs and vectors.
	Close() error
}

// Hypergradient is a hypergradient with what is known about its error.
type Hypergradient struct {
	Method   string
	Gradient []float64
	// Stationarity tells how far the lower level is from being solved where the method ended, and is usually the larger
	// error. Measure names the quantity: MeasureGradient, or what fits a lower level that is no free minimization.
	Stationarity float64
	Measure      string
	// Residual is |∇yF - H v| of the method's linear system, computed anew at the end; 0 where there is none.
	Residual float64
	// SmallestEigenvalue of H: the declared modulus, or the smallest Ritz value met (an upper bound); NaN where the
	// method learns nothing about it.
	SmallestEigenvalue float64
	// Error is an estimate or a bound, as Kind says, of |g - ∇h|. Where Kind is Stated it is +Inf, and Bias says in
	// words what the method leaves out.
	Error float64
	Kind  Kind
	Bias  string
	// Implicit is |C v|: the size of the term that a method without implicit differentiation leaves out. Cosine is that
	// of the angle between this term, -C v, and the whole g; 0 where one of them vanishes.
	Implicit, Cosine float64
	// Status is that of the linear solve; NegativeCurvature means that H is not positive definite at y. Methods without
	// a linear system say Converged, or NotFinite.
	Status linear.Status
	// Counts are the oracle calls of this Compute, where a call for all rows counts once. ForError is how many of them
	// served the error figure alone.
	Counts, ForError problem.Counts
	// States is the number of lower-level states kept at once, beside a fixed number of work vectors: what grows with
	// the length of a path.
	States int
	// Notes are sentences about what makes the result doubtful: a weakly active constraint, dependent constraints.
	Notes []string
	// Optimality tells how far x is from a stationary point by this hypergradient, and OptimalityMeasure names the
	// quantity: |g|, |x - P(x - g)| where x is in a set, or the KKT residual of the value-function form.
	Optimality        float64
	OptimalityMeasure string
}

// The names of how far a lower level is from being solved: of a free minimization, of one in a set, and of one with a
// proximal map, with a step of 1. Each vanishes at y* alone.
const (
	MeasureGradient  = "|∇yG|"
	MeasureProjected = "|y - P(y - ∇yG)|"
	MeasureProximal  = "|y - prox(y - ∇yG)|"
)

// Norm is |g|.
func (h *Hypergradient) Norm() float64 {
	return floats.Norm(h.Gradient, 2)
}

// Share is |C v| / |g|: how much of the hypergradient is the implicit term.
func (h *Hypergradient) Share() float64 { return ratio(h.Implicit, h.Norm()) }

// Kind says what an error figure is.
type Kind string

const (
	// Bound: every constant it needs was declared, and |g - ∇h| <= Error. Rounding is counted in all that is made of
	// gradients and products, but ∇yG(x,y) counts as what the device computed: where y solves the lower level to the
	// last bit, rounding in ∇yG is what the bound leaves out.
	Bound Kind = "bound"
	// Estimate: to first order in the distance from the lower minimizer, with quantities measured at the point.
	Estimate Kind = "estimate"
	// Stated: there is no figure; Bias says in words how far g may be from ∇h.
	Stated Kind = "stated"
)

// vanishing is an error, as a share of the implicit term, below which a hypergradient that is smaller than its error is
// no reason for advice: at a stationary x its two terms cancel.
const vanishing = 1e-3

// Advice says in one sentence what to do where the hypergradient cannot be trusted; it is empty where it can.
func (h *Hypergradient) Advice() string {
	switch {
	case h.Status != linear.Converged:
		return fmt.Sprintf("The linear system of the hypergradient ended with %q: %s.", h.Status, h.Status.Advice())
	case h.Kind != Stated && !(h.Error <= h.Norm()+vanishing*h.Implicit):
		return fmt.Sprintf("The error is larger than the hypergradient itself: solve the lower level further, its "+
			"gradient still has the norm %.3g.", h.Stationarity)
	}
	return ""
}

// String is the certificate in words, with the notes and the advice where there are some.
func (h *Hypergradient) String() string {
	figure := fmt.Sprintf("error about %.2g", h.Error)
	switch h.Kind {
	case Bound:
		figure = fmt.Sprintf("error at most %.2g", h.Error)
	case Stated:
		figure = h.Bias
	}
	lines := []string{fmt.Sprintf("hypergradient of norm %.4g, %s (linear residual %.2g, lower-level gradient %.2g, "+
		"implicit term %.0f %% of it)", h.Norm(), figure, h.Residual, h.Stationarity, 100*h.Share())}
	lines = append(lines, h.Notes...)
	if a := h.Advice(); a != "" {
		lines = append(lines, a)
	}
	return strings.Join(lines, "\n")
}
