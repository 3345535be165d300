package engine

import (
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"bilevel/solvers/problem"
)

// Snapshot is where a run stands after a completed iteration: written back, it goes on to the same bits.
//
// Whoever stores one to go on later stores all of it. In JSON are the numbers and texts; the vectors, which JSON would
// make large and slow, are to be stored beside: Arrays, Moved, and the Arrays of Best, where these are there.
type Snapshot struct {
	Algorithm string               `json:"algorithm"`
	Problem   string               `json:"problem"`
	Iteration int                  `json:"iteration"` // that comes next, counted from 0
	Seed      uint64               `json:"seed"`
	Counts    problem.Counts       `json:"counts"`
	Seconds   float64              `json:"seconds"`            // in the algorithm alone
	Attempts  int                  `json:"attempts,omitempty"` // earlier ones, which Counts and Seconds include
	Arrays    map[string][]float64 `json:"-"`                  // the state by name
	// Settings are those of the algorithm, also the ones that were chosen for it, as JSON; empty where it has none.
	Settings json.RawMessage `json:"settings,omitempty"`

	// What the loop's records and stopping rules remember.
	Recorded  int       `json:"recorded"` // iteration of the last record, -1 before the first
	Best      *Snapshot `json:"-"`        // by Limits.Monitor; nil without one
	BestValue float64   `json:"best_value"`
	Stale     int       `json:"stale"` // records since the best
	Moved     []float64 `json:"-"`     // x at the last record, for Limits.Tolerance
	MovedAt   int       `json:"moved_at"`
	Calm      int       `json:"calm"` // records in a row that met the tolerance
}

// copyState reads the state into the arrays of a snapshot, reusing their memory.
func (e *Engine) copyState(to *Snapshot) error {
	if to.Arrays == nil {
		to.Arrays = make(map[string][]float64)
	}
	to.Algorithm, to.Problem, to.Seed, to.Settings = e.spec.Name, e.b.Name, e.spec.Seed, e.spec.Settings
	for i, name := range e.names {
		if len(to.Arrays[name]) != e.vars[i].Size() {
			to.Arrays[name] = make([]float64, e.vars[i].Size())
		}
		if err := e.vars[i].ReadInto(to.Arrays[name]); err != nil {
			return err
		}
	}
	return nil
}

// clone is a snapshot that shares no memory with the original.
func (s *Snapshot) clone() *Snapshot {
	c := *s
	c.Arrays = make(map[string][]float64, len(s.Arrays))
	for name, a := range s.Arrays {
		c.Arrays[name] = slices.Clone(a)
	}
	return &c
}

func (s *Snapshot) finite() bool {
	for _, a := range s.Arrays {
		for _, v := range a {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				return false
			}
		}
	}
	return true
}

// restore writes a snapshot's state.
func (e *Engine) restore(s *Snapshot) error {
	if s.Algorithm != e.spec.Name || s.Problem != e.b.Name || s.Seed != e.spec.Seed {
		return fmt.Errorf("%s on %s with seed %d cannot go on with a snapshot of %s on %s with seed %d",
			e.spec.Name, e.b.Name, e.spec.Seed, s.Algorithm, s.Problem, s.Seed)
	}
	if err := e.fits("the snapshot", s.Arrays); err != nil {
		return err
	}
	if s.Best != nil {
		if err := e.fits("the best state in the snapshot", s.Best.Arrays); err != nil {
			return err
		}
	}
	if x := e.Variable("x"); s.Moved != nil && (x == nil || len(s.Moved) != x.Size()) {
		return fmt.Errorf("%s: the snapshot has %d elements of x at its last record, which are not those of the state",
			e.spec.Name, len(s.Moved))
	}
	for i, name := range e.names {
		if err := e.vars[i].Write(s.Arrays[name]); err != nil {
			return err
		}
	}
	return nil
}

// fits refuses arrays that are not those of the state.
func (e *Engine) fits(what string, arrays map[string][]float64) error {
	for i, name := range e.names {
		if a, ok := arrays[name]; !ok || len(a) != e.vars[i].Size() {
			return fmt.Errorf("%s: %s has %d elements of %q (it has %s); wants %d", e.spec.Name, what, len(a), name,
				strings.Join(slices.Sorted(maps.Keys(arrays)), ", "), e.vars[i].Size())
		}
	}
	return nil
}
