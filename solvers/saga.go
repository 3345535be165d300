package solvers

import (
	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// table keeps the last value of one quantity for each fixed minibatch of a level (Defazio, Bach, Lacoste-Julien,
// NeurIPS 2014, "SAGA"). A level without a sampler has one minibatch, all rows.
type table struct {
	name        string
	side        problem.Side
	slots, size int
	// byRow says that a value is zero outside the entries of its minibatch's rows, and that no row is in two
	// minibatches (problem.WeightPerRow). Then one vector of all entries holds what slots × size numbers would.
	byRow bool
}

// newTable is the table of a quantity with so many elements.
func newTable(b *problem.Bound, name string, side problem.Side, size int) table {
	return table{name: name, side: side, slots: slots(b, side), size: size}
}

// slots is the number of a level's fixed minibatches.
func slots(b *problem.Bound, side problem.Side) int {
	if s, ok := b.Level(side).Sampler.(problem.Slotted); ok {
		return s.Slots(b.Level(side).Rows.Count())
	}
	return 1
}

// array is the table in the state. The watch for numbers that are not finite leaves it out, because it holds what has
// passed through a direction.
func (t table) array() engine.Array {
	n := t.slots * t.size
	if t.byRow {
		n = t.size
	}
	return engine.Array{Name: t.name, Zeros: n, Unwatched: true}
}

// weight is that of one minibatch in the mean over all.
func (t table) weight() float64 { return 1 / float64(t.slots) }

// slot is the number of a batch in the table, Int [1].
func slot(b problem.Batch) *tensor.Node {
	if b.Slot == nil {
		return tensor.IntConst(0).Expand(1)
	}
	return b.Slot.Reshape(1)
}

// replace puts a new value in the place of the batch's old one, and gives their difference, new - old.
func (t table) replace(s *engine.State, b problem.Batch, fresh *tensor.Node) (change *tensor.Node) {
	rows := s.Get(t.name).Reshape(t.slots, t.size)
	change = fresh.Sub(tensor.Gather(rows, slot(b)).Reshape(t.size))
	s.Set(t.name, tensor.ScatterAdd(rows, slot(b), change.Reshape(1, t.size)))
	return change
}

// replaceByRow is replace for a table by row. The mean over minibatches before the change is the whole table times
// weight. The two terms of the difference, fresh and -old, are given apart: both are zero but in the batch's entries,
// and adding them one by one to a long vector touches no others.
func (t table) replaceByRow(s *engine.State, b problem.Batch, fresh *tensor.Node) (old *tensor.Node) {
	all := s.Get(t.name)
	if b.Index == nil {
		s.Set(t.name, fresh)
		return all
	}
	old = tensor.ScatterAdd(tensor.Zeros(t.size), b.Index, b.Of(all))
	s.Set(t.name, all.Sub(old).Add(fresh)) // all - old is 0 in these entries, so that they become fresh to the bit
	return old
}

// inOrder draws the fixed minibatches one after the other: draw number d is minibatch d.
type inOrder struct{ problem.Slotted }

func (s inOrder) Slot(_ problem.Source, draw uint64) (int32, error) { return int32(draw), nil }

func (s inOrder) Fill(dst []int32, from problem.Source, first uint64) error {
	for size := s.Size(); len(dst) > 0; dst = dst[size:] {
		if err := s.Minibatch(dst[:size], from, int32(first)); err != nil {
			return err
		}
		first++
	}
	return nil
}

// onceThrough is a phase that runs before the first iteration, once for each fixed minibatch of a level. It must be the
// first phase that draws from the level.
func onceThrough(b *problem.Bound, name string, side problem.Side,
	build func(*engine.Iteration, *engine.State)) engine.Phase {
	draw := engine.Draw{Of: side}
	if s, ok := b.Level(side).Sampler.(problem.Slotted); ok {
		draw.Sampler = inOrder{s}
	}
	n := slots(b, side)
	return engine.Phase{Name: name, Draws: []engine.Draw{draw}, Build: build,
		Repeat: func(k int) int {
			if k == 0 {
				return n
			}
			return 0
		}}
}

// upperUsesX tells whether the upper objective depends on x other than through y. Where it does not, its gradient in x
// is zero, and needs neither a table nor minibatches.
func upperUsesX(b *problem.Bound) bool {
	sc := b.Executor.Scope()
	defer sc.Close()
	uses := true
	tensor.Catch(func() { // what is wrong with the objective is said where it is compiled
		node := func(v problem.Values) *tensor.Node { return sc.Variable("shape", tensor.Real, v.Size()).Node() }
		var state *tensor.Node
		if b.State.Size() > 0 {
			state = node(b.State)
		}
		f := b.Oracle().At(problem.Upper, node(b.Upper.Start), node(b.Lower.Start), b.All(problem.Upper),
			params.TrainFrozen, state)
		uses = !f.GradX().IsZero()
	})
	return uses
}
