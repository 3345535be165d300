package engine

import (
	"encoding/json"
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

	// Settings are the algorithm's, as JSON, for snapshots. The engine does not read them.
	Settings json.RawMessage

	// Chunk is the number of iterations whose minibatches and rates are sent to the device together; 0 means 64, or
	// fewer where minibatches are very large.
	Chunk int
	// Between, where set, is called before each iteration k that is a multiple of Chunk. Algorithms whose step sizes or
	// tolerances the host decides read the state there and write what they decide into it, Engine.Variable(name).Write,
	// so that it is in every snapshot. It must not depend on anything else that changes during a run. Engine.Charge
	// takes the oracle calls that it makes.
	Between func(e *Engine, k int) error
	// Close, where set, frees what Between made; Engine.Close calls it.
	Close func() error
}

// Array is one named vector of the state with its start values.
type Array struct {
	Name   string
	Values []float64
	// Zeros, where Values is nil, is the length of a vector that starts at zero and of which the host makes no copy
	// before the run: for tables, which may be larger than all else.
	Zeros int
	// Unwatched leaves the vector out of the watch for NaN and infinities in each iteration, which reads every watched
	// vector once. It is for long vectors of which an iteration changes little; the loop looks at them at its end.
	Unwatched bool
}

func (a Array) size() int {
	if a.Values == nil {
		return a.Zeros
	}
	return len(a.Values)
}

// Rate is a number that depends on the iteration, counted from 0, and on nothing else: a run that is resumed asks
// again.
type Rate struct {
	Name string
	At   func(k int) float64
}

// Phase is one program of an iteration.
type Phase struct {
	Name string // "phase 1", … where it is empty
	// Repeat is how often the phase runs in iteration k, a function of k alone: growing inner loops, 0 where the phase
	// is skipped. nil: once.
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
	// Stream keeps draws apart: those of one level and stream follow each other in one sequence of minibatches, so that
	// they must be of one size. 0 is the level's own stream.
	Stream uint32
}

func (d Draw) name() string {
	if d.Name == "" {
		return d.Of.String()
	}
	return d.Name
}

// check refuses a description that makes no sense, whatever the algorithm.
func (s *Spec) check(p *problem.Problem) error {
	fail := func(format string, args ...any) error {
		return fmt.Errorf("%s: "+format, append([]any{s.Name}, args...)...)
	}
	names := map[string]bool{}
	for _, a := range s.State {
		if a.Name == "" || names[a.Name] || a.size() < 1 {
			return fail("the state's vectors want different names and at least one element each, not %q with %d",
				a.Name, a.size())
		}
		if a.Name == StateName && p.State.Size() > 0 {
			return fail("the state's vector %q is the problem's running statistics: choose another name", a.Name)
		}
		names[a.Name] = true
	}
	if len(s.State) == 0 || len(s.Phases) == 0 || s.Chunk < 0 {
		return fail("%d state vectors, %d phases, chunks of %d iterations: wants at least one of each", len(s.State),
			len(s.Phases), s.Chunk)
	}
	rates := map[string]bool{}
	for _, r := range s.Rates {
		if r.Name == "" || rates[r.Name] || r.At == nil {
			return fail("the rates want different names and a function each; %q has none, or comes twice", r.Name)
		}
		rates[r.Name] = true
	}
	sizes := map[streamOf]int{}
	for i, ph := range s.Phases {
		name := ph.name(i)
		if ph.Build == nil {
			return fail("%s has no Build", name)
		}
		seen := map[string]bool{}
		for _, d := range ph.Draws {
			if seen[d.name()] {
				return fail("%s draws two minibatches called %q: give one of them another Name", name, d.name())
			}
			seen[d.name()] = true
			sampler := d.sampler(p)
			if sampler == nil {
				continue
			}
			size, rows := sampler.Size(), p.Level(d.Of).Rows.Count()
			if size < 1 || rows < 1 {
				return fail("%s draws minibatches of %d from %d rows of the %s level; wants at least one of each", name,
					size, rows, d.Of)
			}
			if err := sampler.Check(rows); err != nil {
				return fail("%s, the %s level: %w", name, d.Of, err)
			}
			of := streamOf{d.Of, d.Stream}
			if other, ok := sizes[of]; ok && other != size {
				return fail("minibatches of %d and of %d rows of the %s level come from one stream: give one of the "+
					"draws a Stream of its own",
					other, size, d.Of)
			}
			if sizes[of] = size; d.Stream >= maxStream {
				return fail("%s draws from stream %d: wants one below %d", name, d.Stream, maxStream)
			}
		}
	}
	return nil
}

// streamOf names a sequence of minibatches.
type streamOf struct {
	side   problem.Side
	stream uint32
}

// name is the phase's, or its number in words.
func (p Phase) name(i int) string {
	if p.Name == "" {
		return fmt.Sprint("phase ", i+1)
	}
	return p.Name
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
