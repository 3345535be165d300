package engine

import "bilevel/internal/outcome"

// Status says how a run ended.
type Status uint8

const (
	// Finished: all iterations were done.
	Finished Status = iota
	// Converged: the mean direction of x fell to Limits.Tolerance.
	Converged
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
	Finished:   {"finished", ""},
	Converged:  {"converged", ""},
	NoProgress: {"no more progress", ""},
	OutOfTime:  {"out of time", ""},
	OutOfCalls: {"out of oracle calls", ""},
	Cancelled:  {"cancelled", "run again with more time"},
	NotFinite: {"not finite",
		"use smaller step sizes, or look in the data for very large values and labels outside the classes"},
}

func (s Status) String() string { return statusTexts.Name(uint8(s)) }

// Advice says what to try; it is empty when there is nothing to say.
func (s Status) Advice() string { return statusTexts.Advice(uint8(s)) }
