package engine

import "bilevel/internal/outcome"

// Status says how a run ended.
type Status uint8

const (
	// Finished: all iterations were done, and no tolerance was asked for.
	Finished Status = iota
	// Converged: the mean direction of x fell to Limits.Tolerance.
	Converged
	// OutOfIterations: all iterations were done, and the tolerance was not met.
	OutOfIterations
	// NoProgress: Limits.Monitor did not fall for Limits.Patience records.
	NoProgress
	// OutOfTime: Limits.Time was used up.
	OutOfTime
	// OutOfCalls: Limits.Calls were used up.
	OutOfCalls
	// Cancelled: the caller's context ended. What is left is a completed iteration.
	Cancelled
	// NotFinite: a NaN or an infinity came up in the state; Outcome.Iterations names the iteration.
	NotFinite
)

var statusTexts = outcome.Texts{
	Finished:        {"finished", "judge the end point by its gradient or its certificate, since no tolerance was set"},
	Converged:       {"converged", ""},
	OutOfIterations: {"out of iterations", "allow more iterations, loosen the tolerance, or set larger step sizes"},
	NoProgress: {"no more progress",
		"judge the best iterate by its gradient or its certificate, and allow more patience if it is not good enough"},
	OutOfTime:  {"out of time", "allow more time, or go on from the snapshot of the last iteration"},
	OutOfCalls: {"out of oracle calls", "allow more calls, or go on from the snapshot of the last iteration"},
	Cancelled:  {"cancelled", "run again, or go on from the snapshot of the last iteration"},
	NotFinite: {"not finite",
		"use smaller step sizes, or look in the data for NaN, very large values and labels outside the classes"},
}

func (s Status) String() string { return statusTexts.Name(uint8(s)) }

// Advice says what to try; it is empty for Converged.
func (s Status) Advice() string { return statusTexts.Advice(uint8(s)) }
