package solvers

import (
	"errors"
	"fmt"

	"bilevel/tensor"
)

// chunk is the number of iterations between two looks of the host. Minibatch indices and step sizes of so many
// iterations are uploaded at once; the device picks its row by a step counter.
const chunk = 64

// stochastic runs algorithms whose iteration is a fixed sequence of phases, each one program that is repeated a fixed
// number of times: one phase for SOBA; inner steps, then a step of x, for F²SA and stocBiO. Every repetition draws its own
// lower and upper minibatch.
type stochastic struct {
	ex     *tensor.Executor
	p      *Problem
	vars   []*tensor.Variable // the algorithm's state, x and y first
	health *tensor.Variable   // Int: 0, or 1 + the iteration in which the state stopped being finite
	turn   *tensor.Variable   // Int [1]: iteration inside the chunk
	base   *tensor.Variable   // Int: number of the chunk's first iteration
	rates  *tensor.Variable   // [chunk, width]
	rate   stepSizes
	host   []float64 // step sizes of a chunk
	width  int       // step sizes of an iteration
	phases []*phase
	draws  [2]int // minibatches of each level in one iteration
}

// phase is one program of the iteration.
type phase struct {
	phaseSpec
	fn     *tensor.Function
	slot   *tensor.Variable    // Int [1]: repetition inside the chunk
	index  [2]*tensor.Variable // Int [chunk·times, size], lower and upper
	host   [2][]int32
	first  [2]int // number of its first draw in an iteration, by level
	counts Counts // of one repetition
}

// phaseSpec says what a phase does: times repetitions of build, which gives the next state (entries that do not change
// are returned as they came).
type phaseSpec struct {
	name         string
	times        int
	lower, upper bool // which minibatches it draws
	build        func(it *iteration, state []*tensor.Node) []*tensor.Node
}

// iteration is what an algorithm sees while a program is built.
type iteration struct {
	*Oracle
	Lower, Upper Batch
	rates        *tensor.Node
}

// Rate is step size number i of this iteration, a scalar.
func (it *iteration) Rate(i int) *tensor.Node { return it.rates.Slice(1, i, i+1).Reshape() }

// namedStart is one array of an algorithm's state with its start values.
type namedStart struct {
	name   string
	values []float64
}

// stepSizes appends the step sizes of iteration k, the same number for each.
type stepSizes func(to []float64, k int) []float64

// newStochastic compiles the phases; the last one runs once and ends the iteration. start holds the state's start
// values, x and y first.
func newStochastic(ex *tensor.Executor, p *Problem, start []namedStart, rate stepSizes, specs ...phaseSpec) (_ *stochastic, err error) {
	s := &stochastic{ex: ex, p: p, rate: rate}
	defer func() {
		if err != nil {
			s.Close()
		}
	}()
	for _, a := range start {
		v := ex.Variable(a.name, tensor.Real, len(a.values))
		s.vars = append(s.vars, v)
		if err := v.Write(a.values); err != nil {
			return nil, err
		}
	}
	s.width = len(rate(nil, 0))
	s.host = make([]float64, chunk*s.width)
	s.rates = ex.Variable("rates", tensor.Real, chunk, s.width)
	s.health, s.turn, s.base = ex.Variable("health", tensor.Int), ex.Variable("turn", tensor.Int, 1), ex.Variable("base", tensor.Int)
	for _, spec := range specs {
		ph := &phase{phaseSpec: spec, first: s.draws}
		s.phases = append(s.phases, ph)
		for i, l := range s.levels() {
			if l.Batch != nil && [2]bool{spec.lower, spec.upper}[i] {
				ph.index[i] = ex.Variable(spec.name+[2]string{" lower rows", " upper rows"}[i], tensor.Int, chunk*spec.times, l.Size)
				ph.host[i] = make([]int32, chunk*spec.times*l.Size)
				s.draws[i] += spec.times
			}
		}
	}
	for i, ph := range s.phases {
		if err := s.compile(ph, i == len(s.phases)-1); err != nil {
			return nil, err
		}
	}
	return s, nil
}

func (s *stochastic) levels() [2]*Level { return [2]*Level{&s.p.Lower, &s.p.Upper} }

func (s *stochastic) compile(ph *phase, last bool) (err error) {
	one := tensor.IntConst(1)
	state := make([]*tensor.Node, len(s.vars))
	for i, v := range s.vars {
		state[i] = v.Node()
	}
	ph.slot = s.turn // the last phase runs once an iteration: its counters are one
	if !last {
		ph.slot = s.ex.Variable(ph.name+" slot", tensor.Int, 1)
	}
	ph.fn, err = s.ex.Compile(ph.name, func() []tensor.Update {
		slot, turn := ph.slot.Node(), s.turn.Node()
		it := &iteration{Oracle: NewOracle(s.p), rates: tensor.Gather(s.rates.Node(), turn)}
		for i, b := range [2]*Batch{&it.Lower, &it.Upper} {
			l := s.levels()[i]
			if *b = (Batch{Rows: l.Rows}); ph.index[i] != nil {
				*b = Batch{Index: tensor.Gather(ph.index[i].Node(), slot).Flatten(), Rows: l.Size}
			}
			if [2]bool{ph.lower, ph.upper}[i] {
				it.Counts.Samples += int64(b.Rows)
			}
		}
		next := ph.build(it, state)
		ph.counts = it.Counts
		updates := []tensor.Update{{Var: ph.slot, Value: slot.Add(one)}}
		if last {
			updates = append(updates, tensor.Update{Var: s.health, Value: s.watch(next)})
		}
		for i, v := range s.vars {
			if next[i] != state[i] {
				updates = append(updates, tensor.Update{Var: v, Value: next[i]})
			}
		}
		return updates
	})
	return err
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
	number := s.base.Node().Add(s.turn.Node().Reshape()).Add(tensor.IntConst(1))
	return old.Add(fresh.Mul(bad).Mul(number))
}

// Step does n iterations beginning with number k.
func (s *stochastic) Step(k, n int) error {
	for n > 0 {
		m := min(n, chunk)
		if err := s.upload(k, m); err != nil {
			return err
		}
		if err := s.run(m); err != nil {
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

// run does the m iterations that have been uploaded.
func (s *stochastic) run(m int) error {
	if len(s.phases) == 1 {
		return s.phases[0].fn.Run(m)
	}
	for range m {
		for _, ph := range s.phases {
			if err := ph.fn.Run(ph.times); err != nil {
				return err
			}
		}
	}
	return nil
}

// upload sends the step sizes and minibatches of iterations k…k+m-1.
func (s *stochastic) upload(k, m int) error {
	for i := range m {
		s.rate(s.host[:i*s.width], k+i)
	}
	errs := []error{s.turn.WriteInts([]int32{0}), s.base.WriteInts([]int32{int32(k)}), s.rates.Write(s.host)}
	for _, ph := range s.phases {
		if ph.slot != s.turn {
			errs = append(errs, ph.slot.WriteInts([]int32{0}))
		}
		for j, l := range s.levels() {
			if ph.index[j] == nil {
				continue
			}
			row := ph.times * l.Size // of one iteration
			for i := range m {
				errs = append(errs, l.Batch.Fill(ph.host[j][i*row:(i+1)*row], uint32((k+i)*s.draws[j]+ph.first[j])))
			}
			errs = append(errs, ph.index[j].WriteInts(ph.host[j]))
		}
	}
	return errors.Join(errs...)
}

// notFiniteError names the iteration (from 0) in which the state stopped being finite.
type notFiniteError struct{ iteration int }

func (e *notFiniteError) Error() string {
	return fmt.Sprintf("the state is not finite after iteration %d", e.iteration+1)
}

func (s *stochastic) Arrays() []*tensor.Variable { return s.vars }

// Counts is the cost of one iteration.
func (s *stochastic) Counts() Counts {
	var c Counts
	for _, ph := range s.phases {
		c = c.Plus(ph.counts, int64(ph.times))
	}
	return c
}

// Close frees the programs and the state.
func (s *stochastic) Close() error {
	var errs []error
	vars := append([]*tensor.Variable{s.health, s.turn, s.base, s.rates}, s.vars...)
	for _, ph := range s.phases {
		if ph.fn != nil {
			errs = append(errs, ph.fn.Close())
		}
		vars = append(vars, ph.index[0], ph.index[1])
		if ph.slot != s.turn {
			vars = append(vars, ph.slot)
		}
	}
	for _, v := range vars {
		if v != nil {
			v.Free()
		}
	}
	return errors.Join(errs...)
}
