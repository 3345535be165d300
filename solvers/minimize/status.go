package minimize

import "bilevel/internal/outcome"

// Status says how a minimization ended.
type Status uint8

const (
	// Converged: the gradient is within the tolerance.
	Converged Status = iota
	// MaxSteps: the steps were used up first.
	MaxSteps
	// Stagnated: round-off keeps value and gradient from falling further, which is convergence as far as the arithmetic
	// allows.
	Stagnated
	// NegativeCurvature: the first direction already had none that is positive, so the function is not convex here.
	NegativeCurvature
	// NotFinite: a NaN or an infinity came up.
	NotFinite
)

var statusTexts = outcome.Texts{
	Converged: {"converged", ""},
	MaxSteps:  {"max steps", "allow more steps, or loosen the tolerance"},
	Stagnated: {"stagnated", "loosen the tolerance, or compute in float64 (device ref)"},
	NegativeCurvature: {"negative curvature",
		"the function is not convex here: use gradient descent, or add a squared norm"},
	NotFinite: {"not finite",
		"use smaller steps, or look in the data for NaN, very large values and labels outside the classes"},
}

func (s Status) String() string { return statusTexts.Name(uint8(s)) }

// Advice says what to try; it is empty for Converged.
func (s Status) Advice() string { return statusTexts.Advice(uint8(s)) }

// Good tells whether the point reached is a minimizer as far as tolerance and arithmetic allow.
func (s Status) Good() bool { return s == Converged || s == Stagnated }
