package engine

import (
	"strings"

	"bilevel/internal/nearest"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// State is the state while a phase is built: the entries as they were before, and those that the phase changes.
type State struct {
	e    *Engine
	next map[string]*tensor.Node
}

// Get is an entry as it was before this repetition of the phase.
func (s *State) Get(name string) *tensor.Node {
	v := s.e.Variable(name)
	if v == nil {
		tensor.Fail(s.e.spec.Name, "the state has no entry %q (there are %s)%s",
			name, strings.Join(s.e.names, ", "), nearest.Hint(name, s.e.names))
	}
	return v.Node()
}

// Set says what an entry becomes; entries that are not set stay.
func (s *State) Set(name string, n *tensor.Node) {
	v := s.e.Variable(name)
	if v == nil {
		s.Get(name) // which fails, with the nearest name
	}
	switch {
	case n == nil:
		tensor.Fail(s.e.spec.Name, "the entry %q of the state is set to no node", name)
	case n.Size() != v.Size() || n.Type() != tensor.Real:
		tensor.Fail(s.e.spec.Name, "the entry %q of the state is a vector of %d; the iteration gives %s %v",
			name, v.Size(), n.Type(), n.Shape())
	}
	s.next[name] = n
}

// Next is what an entry becomes as far as it is known: what was set, else the entry as it was before. It is for what
// stands around the Build of another, such as a step that holds some elements of every vector where they are.
func (s *State) Next(name string) *tensor.Node {
	before := s.Get(name)
	if n := s.next[name]; n != nil {
		return n
	}
	return before
}

// Iteration is what an algorithm sees while a phase is built.
type Iteration struct {
	*problem.Oracle
	e          *Engine
	ph         *phase
	s          *State
	repetition *tensor.Node // of the phase inside its window, Int [1]
	random     *problem.Random
}

// Rate is one of the algorithm's numbers in this iteration, a scalar.
func (it *Iteration) Rate(name string) *tensor.Node {
	var names []string
	for i, r := range it.e.spec.Rates {
		if r.Name == name {
			return tensor.Gather(it.e.rates.Node(), it.e.inChunk.Node()).Slice(1, i, i+1).Reshape()
		}
		names = append(names, r.Name)
	}
	tensor.Fail(it.e.spec.Name, "there is no rate %q (there are: %s)%s",
		name, strings.Join(names, ", "), nearest.Hint(name, names))
	return nil
}

// Batch is the minibatch that the phase draws under a name ("lower" or "upper" where the draw has none). Points at old
// and new places under the same draw ask for it once each.
func (it *Iteration) Batch(name string) problem.Batch {
	var names []string
	for i, d := range it.ph.draws {
		if d.name() == name {
			if d.index == nil {
				return it.e.b.All(d.Of)
			}
			b := it.e.b.Batch(d.Of, tensor.Gather(d.index.Node(), it.repetition).Flatten())
			if d.slots != nil {
				b.Slot = tensor.Gather(d.slots.Node(), it.repetition).Reshape()
			}
			return b.Drawn(func() *problem.Random {
				first := batchStreams + it.ph.number*phaseStreams + i*batchEach
				return problem.NewRandom(it.e.seed.Node(), it.step(), uint32(first))
			})
		}
		names = append(names, d.name())
	}
	tensor.Fail(it.e.spec.Name, "phase %s draws no minibatch %q (it draws: %s)%s",
		it.ph.Name, name, strings.Join(names, ", "), nearest.Hint(name, names))
	return problem.Batch{}
}

// All is the batch of all rows of a level.
func (it *Iteration) All(side problem.Side) problem.Batch { return it.e.b.All(side) }

// Lower is the lower objective at a point, in mode Train: Commit takes what it makes of the running statistics. Upper
// is the upper one, in mode TrainFrozen.
func (it *Iteration) Lower(x, y *tensor.Node, b problem.Batch) *problem.Point {
	return it.At(problem.Lower, x, y, b, params.Train)
}

func (it *Iteration) Upper(x, y *tensor.Node, b problem.Batch) *problem.Point {
	return it.At(problem.Upper, x, y, b, params.TrainFrozen)
}

// At is an objective at a point under any mode. It reads the running statistics as the last Commit of this phase left
// them.
func (it *Iteration) At(side problem.Side, x, y *tensor.Node, b problem.Batch, m problem.Mode) *problem.Point {
	return it.Oracle.At(side, x, y, b, m, it.modelState())
}

func (it *Iteration) modelState() *tensor.Node {
	if n := it.s.next[StateName]; n != nil {
		return n
	}
	if v := it.e.Variable(StateName); v != nil {
		return v.Node()
	}
	return nil
}

// Commit makes the running statistics that a point's pass gives the current ones. An algorithm calls it as often as it
// wants them to move in an iteration; passes that are not committed leave no trace.
func (it *Iteration) Commit(p *problem.Point) {
	if p.State() != nil {
		it.s.Set(StateName, p.State())
	}
}

// Project takes a level's variable back into its set; it gives back what it got where there is none.
func (it *Iteration) Project(side problem.Side, z *tensor.Node, b problem.Batch) *tensor.Node {
	if set := it.e.b.Set(side); set != nil {
		return set.Project(z, b)
	}
	return z
}

// Free is 1 for coordinates of a level's variable that no active bound of its set holds, and 0 for the others; 1
// everywhere where there is no set.
func (it *Iteration) Free(side problem.Side, z *tensor.Node, b problem.Batch) *tensor.Node {
	if set := it.e.b.Set(side); set != nil {
		return set.Free(z, b)
	}
	return tensor.Full(1, z.Shape()...)
}

// Random draws numbers on the device, others in every repetition of the phase.
func (it *Iteration) Random() *problem.Random {
	if it.random == nil {
		it.random = problem.NewRandom(it.e.seed.Node(), it.step(), uint32(streams+it.ph.number*phaseStreams))
	}
	return it.random
}

// Random numbers inside a phase come from streams beyond those that choose the rows of minibatches: so many for one
// phase, and apart from them so many for each minibatch that it draws.
const (
	streams      = 1 << 24
	phaseStreams = 1 << 12
	batchStreams = 1 << 25
	batchEach    = 1 << 8
)

// step is the number of this repetition of the phase in the whole run, an Int scalar.
func (it *Iteration) step() *tensor.Node {
	if it.ph.repetition == it.e.inChunk {
		return it.e.chunkStart.Node().Add(it.e.inChunk.Node().Reshape())
	}
	if it.ph.windowStart == nil {
		it.ph.windowStart = it.e.scope.Variable(it.ph.Name+" first repetition", tensor.Int)
	}
	return it.ph.windowStart.Node().Add(it.repetition.Reshape())
}

// Start is the start value of a lower variable that lives for this batch (problem.PerBatch), and where it is in a set,
// projected onto it.
func (it *Iteration) Start(x *tensor.Node, b problem.Batch) *tensor.Node {
	p := it.e.b.PerBatch
	if p == nil {
		tensor.Fail(it.e.spec.Name, "the problem %s has no lower variable for every batch", it.e.b.Name)
	}
	start := p.Start(it.e.b.Upper.Start.Layout.Vars(x), b, it.Random())
	if want := p.Size(b.Rows); start == nil || start.Size() != want {
		tensor.Fail(it.e.spec.Name, "PerBatch.Start of %s gives %v for a batch of %d rows; wants %d elements",
			it.e.b.Name, start, b.Rows, want)
	}
	return it.Project(problem.Lower, start, b)
}

// compile makes the phase's program. The last phase ends the iteration: it counts, and remembers whether the state is
// finite.
func (e *Engine) compile(ph *phase, last bool) {
	ph.repetition = e.inChunk // the last phase runs once an iteration: its counters are one
	if !last {
		ph.repetition = e.scope.Variable(ph.Name+" repetition", tensor.Int, 1)
	}
	ph.fn = e.scope.Compile(ph.Name, func() []tensor.Update {
		repetition := ph.repetition.Node()
		s := &State{e: e, next: map[string]*tensor.Node{}}
		it := &Iteration{Oracle: e.b.Oracle(), e: e, ph: ph, s: s, repetition: repetition}
		ph.Build(it, s)
		for _, d := range ph.draws {
			if d.sampler != nil {
				it.Counts.Samples += int64(d.sampler.Size())
			} else {
				it.Counts.Samples += int64(e.b.All(d.Of).Rows)
			}
		}
		ph.counts = it.Counts
		updates := []tensor.Update{{Var: ph.repetition, Value: repetition.Add(tensor.IntConst(1))}}
		if last {
			updates = append(updates, tensor.Update{Var: e.nonFinite, Value: e.firstNonFinite(s)})
		}
		for i, name := range e.names {
			if n := s.next[name]; n != nil {
				updates = append(updates, tensor.Update{Var: e.vars[i], Value: n.Flatten()})
			}
		}
		return updates
	})
}

// firstNonFinite remembers the first iteration whose new state is not finite: 0·z sums to NaN when any z is infinite or
// NaN.
func (e *Engine) firstNonFinite(s *State) *tensor.Node {
	sum := tensor.Const(0)
	for i, name := range e.names {
		if !e.watched[i] {
			continue
		}
		n := s.next[name]
		if n == nil {
			n = e.vars[i].Node()
		}
		sum = sum.Add(n.Scale(0).Sum())
	}
	bad := tensor.Const(1).Sub(sum.Eq(tensor.Const(0))).ToInt()
	old := e.nonFinite.Node()
	fresh := old.Eq(tensor.IntConst(0)).ToInt()
	number := e.chunkStart.Node().Add(e.inChunk.Node().Reshape()).Add(tensor.IntConst(1))
	return old.Add(fresh.Mul(bad).Mul(number))
}
