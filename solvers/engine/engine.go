package engine

import (
	"context"
	"errors"
	"fmt"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// defaultChunk is the number of iterations whose minibatches and rates are sent together where nothing is said.
const defaultChunk = 64

// StateName is the entry of the state that holds the model's running statistics, where the problem has some.
const StateName = "model state"

// Engine is an algorithm at work on a problem.
type Engine struct {
	b     *problem.Bound
	spec  Spec
	scope *tensor.Scope

	names      []string           // of the state's entries, in order
	vars       []*tensor.Variable // the entries
	watched    []bool
	nonFinite  *tensor.Variable // Int: 0, or 1 + the iteration in which the state stopped being finite
	inChunk    *tensor.Variable // Int [1]: number of the iteration inside the chunk
	chunkStart *tensor.Variable // Int: number of the chunk's first iteration
	seed       *tensor.Variable // Int [2]: the seed's words, for numbers drawn on the device
	rates      *tensor.Variable // [chunk, rates]
	host       []float64        // the rates of a chunk
	phases     []*phase
	draws      sequences
	charged    problem.Counts // calls that Between made since they were last asked for
}

// New compiles an algorithm for a problem.
func New(b *problem.Bound, spec Spec) (_ *Engine, err error) {
	if err := spec.check(b.Problem); err != nil {
		return nil, err
	}
	phases := spec.Phases
	if phases[len(phases)-1].Repeat != nil { // the last phase ends the iteration, so it must run exactly once
		phases = append(phases[:len(phases):len(phases)], Phase{Name: "end", Build: func(*Iteration, *State) {}})
	}
	if spec.Chunk == 0 {
		spec.Chunk = chunkFor(b.Problem, phases[len(phases)-1])
	}
	e := &Engine{b: b, spec: spec, scope: b.Executor.Scope()}
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("%s: %w", spec.Name, err), e.scope.Close())
		}
	}()
	if spec.Close != nil {
		e.scope.Own(spec.Close)
	}
	state := spec.State
	if b.State.Size() > 0 {
		state = append(state[:len(state):len(state)], Array{Name: StateName, Values: b.State.Flat})
	}
	for _, a := range state {
		v := e.scope.Variable(a.Name, tensor.Real, a.size())
		if a.Values != nil {
			if err := v.Write(a.Values); err != nil {
				return nil, err
			}
		}
		e.names, e.vars, e.watched = append(e.names, a.Name), append(e.vars, v), append(e.watched, !a.Unwatched)
	}
	e.nonFinite = e.scope.Variable("first iteration that is not finite", tensor.Int)
	e.chunkStart = e.scope.Variable("first iteration of the chunk", tensor.Int)
	e.inChunk = e.scope.Variable("iteration inside the chunk", tensor.Int, 1)
	e.seed = e.scope.Variable("seed", tensor.Int, 2)
	if err := e.seed.WriteInts([]int32{int32(uint32(spec.Seed)), int32(uint32(spec.Seed >> 32))}); err != nil {
		return nil, err
	}
	if len(spec.Rates) > 0 {
		e.host = make([]float64, spec.Chunk*len(spec.Rates))
		e.rates = e.scope.Variable("rates", tensor.Real, spec.Chunk, len(spec.Rates))
	}
	for i, p := range phases {
		e.addPhase(p, i, i == len(phases)-1)
	}
	for i, ph := range e.phases {
		e.compile(ph, i == len(e.phases)-1)
	}
	return e, e.scope.Err()
}

// Problem is what the engine works on, Executor what it works with.
func (e *Engine) Problem() *problem.Bound    { return e.b }
func (e *Engine) Executor() *tensor.Executor { return e.b.Executor }

// Seed is that of minibatches and of numbers drawn on the device.
func (e *Engine) Seed() uint64 { return e.spec.Seed }

// Names lists the state's entries in order.
func (e *Engine) Names() []string { return e.names }

// Variable is an entry of the state, nil where there is none of the name.
func (e *Engine) Variable(name string) *tensor.Variable {
	for i, n := range e.names {
		if n == name {
			return e.vars[i]
		}
	}
	return nil
}

// Counts is the cost of iteration k.
func (e *Engine) Counts(k int) (c problem.Counts) {
	for _, ph := range e.phases {
		c = c.Plus(ph.counts, int64(ph.times(k)))
	}
	return c
}

// Charge adds oracle calls that Spec.Between makes outside of the phases to what a run has cost. Charged is what has
// been added since it was last asked for.
func (e *Engine) Charge(c problem.Counts) { e.charged = e.charged.Plus(c, 1) }

func (e *Engine) Charged() problem.Counts {
	c := e.charged
	e.charged = problem.Counts{}
	return c
}

// CountsOf is the cost of n iterations beginning with number k.
func (e *Engine) CountsOf(k, n int) (c problem.Counts) {
	if !e.draws.vary {
		return c.Plus(e.Counts(k), int64(n))
	}
	for i := range n {
		c = c.Plus(e.Counts(k+i), 1)
	}
	return c
}

// Step does n iterations beginning with number k, and returns between two of them when ctx ends. Its error is a
// *NotFiniteError where the state stopped being finite.
func (e *Engine) Step(ctx context.Context, k, n int) error {
	for n > 0 {
		if err := ctx.Err(); err != nil {
			return err
		}
		m := min(n, e.spec.Chunk)
		if e.spec.Between != nil {
			m = min(n, e.spec.Chunk-k%e.spec.Chunk)
			if k%e.spec.Chunk == 0 {
				if err := e.spec.Between(e, k); err != nil {
					return fmt.Errorf("%s: before iteration %d: %w", e.spec.Name, k+1, err)
				}
			}
		}
		if err := e.begin(k, m); err != nil {
			return err
		}
		if err := e.run(k, m); err != nil {
			return err
		}
		k, n = k+m, n-m
	}
	bad, err := e.nonFinite.ReadInts()
	if err == nil && bad[0] != 0 {
		err = &NotFiniteError{Iteration: int(bad[0])}
	}
	return err
}

// begin sends the rates of iterations k…k+m-1 and sets the counters.
func (e *Engine) begin(k, m int) error {
	if err := errors.Join(e.inChunk.WriteInts([]int32{0}), e.chunkStart.WriteInts([]int32{int32(k)})); err != nil {
		return err
	}
	if e.rates != nil {
		at := e.host[:0]
		for i := range m {
			for _, r := range e.spec.Rates {
				at = append(at, r.At(k+i))
			}
		}
		if err := e.rates.Write(e.host); err != nil {
			return err
		}
	}
	for _, ph := range e.phases {
		ph.left = 0
	}
	return nil
}

// run does the m iterations whose rates have been sent.
func (e *Engine) run(k, m int) error {
	if len(e.phases) == 1 { // its iterations follow each other on the device without a word from the host
		if err := e.phases[0].load(e, k, 0, k+m); err != nil {
			return err
		}
		return e.phases[0].fn.Run(m)
	}
	for i := range m {
		for _, ph := range e.phases {
			if err := ph.run(e, k+i, k+m); err != nil {
				return err
			}
		}
	}
	return nil
}

// NotFiniteError says that a NaN or an infinity came up in the state.
type NotFiniteError struct {
	Iteration int // after which it was seen, counted from 1
}

func (e *NotFiniteError) Error() string {
	return fmt.Sprintf("the state is not finite after iteration %d: %s", e.Iteration, NotFinite.Advice())
}

// Close frees the programs and the state.
func (e *Engine) Close() error { return e.scope.Close() }
