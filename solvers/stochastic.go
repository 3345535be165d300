package solvers

import (
	"errors"
	"fmt"

	"bilevel/tensor"
)

// chunk is the number of iterations between two looks of the host. Minibatch indices and step sizes of so many
// iterations are uploaded at once; the device picks its row by a step counter.
const chunk = 64

// stochastic runs a single-loop algorithm: one program is one iteration, which draws one lower and one upper
// minibatch. An algorithm supplies the vectors it keeps and the updates of one iteration.
type stochastic struct {
	ex     *tensor.Executor
	p      *Problem
	vars   []*tensor.Variable  // the algorithm's state, x and y first
	health *tensor.Variable    // Int: 0, or 1 + the iteration in which the state stopped being finite
	slot   *tensor.Variable    // Int [1]: iteration inside the chunk
	now    *tensor.Variable    // Int [1]: iteration since the start
	rates  *tensor.Variable    // [chunk, number of rates]
	index  [2]*tensor.Variable // Int [chunk, size], lower and upper
	fn     *tensor.Function
	counts Counts
	rate   func(k int) []float64
	host   struct {
		rates []float64
		index [2][]int32
	}
}

// iteration is what an algorithm sees while its program is built.
type iteration struct {
	*Oracle
	Lower, Upper Batch
	rates        *tensor.Node
}

// Rate is step size number i of this iteration, a scalar.
func (it *iteration) Rate(i int) *tensor.Node { return it.rates.Slice(1, i, i+1).Reshape() }

// newStochastic compiles the iteration. start holds the state's start values by name, x and y first; rate gives
// the step sizes of an iteration.
func newStochastic(ex *tensor.Executor, p *Problem, name string, start []namedStart, rate func(k int) []float64,
	build func(it *iteration, state []*tensor.Node) []*tensor.Node) (*stochastic, error) {

	s := &stochastic{ex: ex, p: p, rate: rate}
	state := make([]*tensor.Node, len(start))
	for i, a := range start {
		v := ex.Variable(a.name, tensor.Real, len(a.values))
		s.vars = append(s.vars, v)
		state[i] = v.Node()
		if err := v.Write(a.values); err != nil {
			s.Close()
			return nil, err
		}
	}
	rates := len(rate(0))
	s.health = ex.Variable("health", tensor.Int)
	s.slot = ex.Variable("slot", tensor.Int, 1)
	s.now = ex.Variable("iteration", tensor.Int, 1)
	s.rates = ex.Variable("rates", tensor.Real, chunk, rates)
	s.host.rates = make([]float64, chunk*rates)
	for i, l := range s.levels() {
		if l.Batch != nil {
			s.index[i] = ex.Variable([]string{"lower rows", "upper rows"}[i], tensor.Int, chunk, l.Size)
			s.host.index[i] = make([]int32, chunk*l.Size)
		}
	}
	var err error
	s.fn, err = ex.Compile(name, func() []tensor.Update {
		slot := s.slot.Node()
		it := &iteration{Oracle: NewOracle(p), rates: tensor.Gather(s.rates.Node(), slot)}
		it.Lower, it.Upper = s.batch(0, slot), s.batch(1, slot)
		it.Counts.Samples = int64(it.Lower.Rows + it.Upper.Rows)
		next := build(it, state)
		s.counts = it.Counts
		one := tensor.IntConst(1)
		updates := []tensor.Update{
			{Var: s.slot, Value: slot.Add(one)}, {Var: s.now, Value: s.now.Node().Add(one)},
			{Var: s.health, Value: s.watch(next)},
		}
		for i, v := range s.vars {
			updates = append(updates, tensor.Update{Var: v, Value: next[i]})
		}
		return updates
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// namedStart is one array of an algorithm's state with its start values.
type namedStart struct {
	name   string
	values []float64
}

func (s *stochastic) levels() [2]*Level { return [2]*Level{&s.p.Lower, &s.p.Upper} }

// batch is this iteration's minibatch of a level.
func (s *stochastic) batch(level int, slot *tensor.Node) Batch {
	l := s.levels()[level]
	if s.index[level] == nil {
		return Batch{Rows: l.Rows}
	}
	return Batch{Index: tensor.Gather(s.index[level].Node(), slot).Flatten(), Rows: l.Size}
}

// watch remembers the first iteration whose new state is not finite: 0·z sums to NaN when any z is infinite or
// NaN. It reads every vector but x, which in problems with many upper variables changes in few places; what
// goes wrong there reaches y in the next iterations that draw it.
func (s *stochastic) watch(next []*tensor.Node) *tensor.Node {
	sum := tensor.Const(0)
	for _, n := range next[1:] {
		sum = sum.Add(n.Scale(0).Sum())
	}
	bad := tensor.Const(1).Sub(sum.Eq(tensor.Const(0))).ToInt()
	old := s.health.Node()
	fresh := old.Eq(tensor.IntConst(0)).ToInt()
	return old.Add(fresh.Mul(bad).Mul(s.now.Node().Reshape().Add(tensor.IntConst(1))))
}

// Step does n iterations beginning with number k.
func (s *stochastic) Step(k, n int) error {
	for n > 0 {
		m := min(n, chunk)
		if err := s.upload(k, m); err != nil {
			return err
		}
		if err := s.fn.Run(m); err != nil {
			return err
		}
		k, n = k+m, n-m
	}
	bad, err := s.health.ReadInts()
	if err == nil && bad[0] != 0 {
		err = &notFiniteError{iteration: int(bad[0]) - 1}
	}
	return err
}

// upload sends the step sizes and minibatches of iterations k…k+m-1.
func (s *stochastic) upload(k, m int) error {
	for i := range m {
		r := s.rate(k + i)
		copy(s.host.rates[i*len(r):], r)
	}
	errs := []error{
		s.slot.WriteInts([]int32{0}), s.now.WriteInts([]int32{int32(k)}), s.rates.Write(s.host.rates),
	}
	for j, l := range s.levels() {
		if s.index[j] == nil {
			continue
		}
		errs = append(errs, l.Batch.Fill(s.host.index[j][:m*l.Size], uint32(k)), s.index[j].WriteInts(s.host.index[j]))
	}
	return errors.Join(errs...)
}

// notFiniteError names the iteration (from 0) in which the state stopped being finite.
type notFiniteError struct{ iteration int }

func (e *notFiniteError) Error() string {
	return fmt.Sprintf("the state is not finite after iteration %d", e.iteration+1)
}

func (s *stochastic) Arrays() []*tensor.Variable { return s.vars }
func (s *stochastic) Counts() Counts             { return s.counts }

// Close frees the program and the state.
func (s *stochastic) Close() error {
	var err error
	if s.fn != nil {
		err = s.fn.Close()
	}
	for _, v := range append([]*tensor.Variable{s.health, s.slot, s.now, s.rates, s.index[0], s.index[1]}, s.vars...) {
		if v != nil {
			v.Free()
		}
	}
	return err
}
