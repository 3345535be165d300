package engine

import (
	"fmt"

	"bilevel/solvers/problem"
)

// Spec is an algorithm as the engine runs it.
type Spec struct {
	Name   string
	Seed   uint64  // of minibatches and of random numbers on the device
	State  []Array // everything the next iteration depends on beside its number
	Rates  []Rate  // step sizes and other numbers by iteration
	Phases []Phase // of one iteration, in order

	// Chunk is the longest run of iterations between two looks of the host; 0 means 64. Between, where set, is called
	// before each of these runs with the number of its first iteration: algorithms whose step sizes or tolerances the
	// host decides change what their Rates return there.
	Chunk   int
	Between func(k int) error
}

// Array is one named vector of the state with its start values.
type Array struct {
	Name   string
	Values []float64
	// Unwatched leaves the vector out of the watch for NaN and infinities in each iteration, which reads every watched
	// vector once. It is for long vectors of which an iteration changes little; the loop looks at them at its end.
	Unwatched bool
}

// Rate is a number that depends on the iteration, counted from 0.
type Rate struct {
	Name string
	At   func(k int) float64
}

// Phase is one program of an iteration.
type Phase struct {
	Name string // "phase 1", … where it is empty
	// Repeat is how often the phase runs in iteration k: growing inner loops, 0 where the phase is skipped. nil: once.
	Repeat func(k int) int
	Draws  []Draw
	// Build asks the iteration for batches, rates and points, and sets the state's entries that change. Every entry is
	// read as it was before this repetition of the phase.
	Build func(it *Iteration, s *State)
}

// Draw is a minibatch that each repetition of a phase draws.
type Draw struct {
	Name string // by which Build asks for it; empty: "lower" or "upper"
	Of   problem.Side
	// Sampler replaces the level's own: another size, fixed minibatches. Full asks for all rows.
	Sampler problem.Sampler
	Full    bool
	// Stream keeps draws apart: those of one level and stream follow each other in one sequence of minibatches. 0 is the
	// level's own stream.
	Stream uint32
}

func (d Draw) name() string {
	if d.Name == "" {
		return d.Of.String()
	}
	return d.Name
}

// check refuses what no run can mean.
func (s *Spec) check(p *problem.Problem) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s: "+format, append([]any{s.Name}, args...)...)
	}
	names := map[string]bool{}
	for _, a := range s.State {
		if a.Name == "" || names[a.Name] || len(a.Values) == 0 {
			return fail("the state's vectors want different names and at least one element each, not %q with %d", a.Name, len(a.Values))
		}
		names[a.Name] = true
	}
	if len(s.State) == 0 || len(s.Phases) == 0 || s.Chunk < 0 {
		return fail("%d state vectors, %d phases, chunks of %d iterations: wants at least one of each", len(s.State), len(s.Phases), s.Chunk)
	}
	for _, ph := range s.Phases {
		seen := map[string]bool{}
		for _, d := range ph.Draws {
			if seen[d.name()] {
				return fail("phase %s draws two minibatches called %q", ph.Name, d.name())
			}
			seen[d.name()] = true
			if sampler := d.sampler(p); sampler != nil {
				rows := p.Level(d.Of).Rows.Count()
				if sampler.Size() < 1 || rows < 1 {
					return fail("phase %s draws minibatches of %d from %d rows of the %s level", ph.Name, sampler.Size(), rows, d.Of)
				}
				if err := sampler.Check(rows); err != nil {
					return fail("phase %s, the %s level: %w", ph.Name, d.Of, err)
				}
			}
		}
	}
	return nil
}

// sampler is what the draw takes minibatches from; nil: all rows.
func (d Draw) sampler(p *problem.Problem) problem.Sampler {
	switch {
	case d.Full:
		return nil
	case d.Sampler != nil:
		return d.Sampler
	}
	return p.Level(d.Of).Sampler
}
