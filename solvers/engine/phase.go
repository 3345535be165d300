package engine

import (
	"fmt"

	"bilevel/internal/philox"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// phase is one program of the iteration.
type phase struct {
	Phase
	number      int
	fn          *tensor.Function
	repetition  *tensor.Variable // Int [1]: number of the repetition inside the window
	windowStart *tensor.Variable // Int: number of the window's first repetition; only where random numbers are drawn
	draws       []*draw
	window      int            // repetitions whose minibatches are uploaded together
	left        int            // of them not yet run
	counts      problem.Counts // of one repetition
}

// draw is a minibatch of a phase.
type draw struct {
	Draw
	sampler problem.Sampler
	seq     *sequence
	place   int              // among the draws of its sequence in one repetition
	index   *tensor.Variable // Int [window, size]
	host    []int32
	slots   *tensor.Variable // Int [window]: numbers of fixed minibatches; nil elsewhere
	numbers []int32
}

// times is how often the phase runs in iteration k.
func (ph *phase) times(k int) int {
	if ph.Repeat == nil {
		return 1
	}
	return max(0, ph.Repeat(k))
}

// windowLimit bounds the elements of one draw that are uploaded together.
const windowLimit = 1 << 20

// chunkFor is the default chunk: such that the last phase's minibatches of a chunk fit into one window.
func chunkFor(p *problem.Problem, last Phase) int {
	chunk := defaultChunk
	for _, d := range last.Draws {
		if sampler := d.sampler(p); sampler != nil {
			chunk = max(1, min(chunk, windowLimit/sampler.Size()))
		}
	}
	return chunk
}

func (e *Engine) addPhase(p Phase, i int, last bool) {
	p.Name = p.name(i)
	ph := &phase{Phase: p, number: i}
	ph.window = e.spec.Chunk * max(1, ph.times(0))
	for _, d := range p.Draws {
		one := &draw{Draw: d, sampler: d.sampler(e.b.Problem)}
		ph.draws = append(ph.draws, one)
		if one.sampler != nil {
			ph.window = max(1, min(ph.window, windowLimit/one.sampler.Size()))
		}
	}
	if last {
		ph.window = e.spec.Chunk // its repetitions are counted by iteration, see compile
	}
	for _, d := range ph.draws {
		if d.sampler == nil {
			continue
		}
		name := fmt.Sprintf("%s %s rows", p.Name, d.name())
		d.index = e.scope.Variable(name, tensor.Int, ph.window, d.sampler.Size())
		d.host = make([]int32, ph.window*d.sampler.Size())
		if _, ok := d.sampler.(problem.Slotted); ok {
			d.slots = e.scope.Variable(name+" slots", tensor.Int, ph.window)
			d.numbers = make([]int32, ph.window)
		}
		d.seq, d.place = e.draws.add(ph, d, e.source(d))
	}
	e.phases = append(e.phases, ph)
	e.draws.vary = e.draws.vary || p.Repeat != nil
}

// firstStream begins the numbers that streams of draws have beside the levels' own, maxStream bounds their number.
const (
	firstStream = 1 << 25
	maxStream   = 1 << 24
)

// source is what a draw's minibatches depend on beside their number. No stream is shared by the two levels.
func (e *Engine) source(d *draw) problem.Source {
	stream := [...]uint32{problem.Lower: philox.StreamLowerBatch, problem.Upper: philox.StreamUpperBatch}[d.Of]
	if d.Stream != 0 {
		stream = firstStream + 2*d.Stream + uint32(d.Of)
	}
	return problem.Source{Seed: e.spec.Seed, Stream: stream, Rows: e.b.Level(d.Of).Rows.Count()}
}

// run does the repetitions of iteration k; minibatches are uploaded for iterations before end.
func (ph *phase) run(e *Engine, k, end int) error {
	times := ph.times(k)
	for done := 0; done < times; {
		if ph.left == 0 {
			if err := ph.load(e, k, done, end); err != nil {
				return err
			}
		}
		n := min(times-done, ph.left)
		if err := ph.fn.Run(n); err != nil {
			return err
		}
		done, ph.left = done+n, ph.left-n
	}
	return nil
}

// load uploads the minibatches of the repetitions from number r of iteration k on, up to iteration end or as many as
// the window holds.
func (ph *phase) load(e *Engine, k, r, end int) error {
	if ph.repetition != e.inChunk {
		if err := ph.repetition.WriteInts([]int32{0}); err != nil {
			return err
		}
	}
	if ph.windowStart != nil {
		if err := ph.windowStart.WriteInts([]int32{int32(e.draws.repetitions(ph, k) + uint64(r))}); err != nil {
			return err
		}
	}
	n := 0
	for ; k < end && n < ph.window; k, r = k+1, 0 {
		for times := ph.times(k); r < times && n < ph.window; r++ {
			for _, d := range ph.draws {
				if d.sampler == nil {
					continue
				}
				if err := d.fill(n, d.seq.number(ph, d, k, r)); err != nil {
					return err
				}
			}
			n++
		}
	}
	ph.left = n
	for _, d := range ph.draws {
		if d.index != nil {
			if err := d.index.WriteInts(d.host); err != nil {
				return err
			}
		}
		if d.slots != nil {
			if err := d.slots.WriteInts(d.numbers); err != nil {
				return err
			}
		}
	}
	return nil
}

// fill computes draw number d of its sequence as row i of the window.
func (d *draw) fill(i int, number uint64) (err error) {
	size := d.sampler.Size()
	if d.slots != nil {
		if d.numbers[i], err = d.sampler.(problem.Slotted).Slot(d.seq.source, number); err != nil {
			return err
		}
	}
	return d.sampler.Fill(d.host[i*size:(i+1)*size], d.seq.source, number)
}
