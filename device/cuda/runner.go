package cuda

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"bilevel/device"
	"bilevel/device/cuda/driver"
	"bilevel/kernels"
)

// runner is a program made ready: its launches, as a graph.
type runner struct {
	device   *Device
	program  *device.Program
	scratch  driver.Ptr // of all steps
	counters driver.Ptr // of all kernels
	order    dependences
	faults   faults
	graph    driver.Graph
	modules  []*module
	kernels  []string   // the nodes of the graph
	entries  [][]string // and those of each instruction
	depths   []int      // of the nodes: how many there are in the longest chain that ends with each
	closed   bool
}

// build makes the steps, takes scratch memory, loads the kernels and makes a graph of their launches.
func (r *runner) build() error {
	d := r.device
	for i := range r.program.Code {
		if watched(&r.program.Code[i]) {
			r.faults.codes = append(r.faults.codes, i)
		}
	}
	if len(r.faults.codes) > 0 {
		if err := d.takeFaults(&r.faults); err != nil {
			return d.failed(fmt.Errorf("program %q: %w", r.program.Name, err))
		}
	}
	steps, at, err := r.plan()
	if err != nil {
		return err
	}
	nodes, instrs, err := r.nodes(steps, at)
	if err != nil || len(nodes) == 0 {
		return err
	}
	graph, err := d.ctx.Graph(nodes)
	r.graph = graph
	var bad *driver.NodeError
	if errors.As(err, &bad) {
		err = r.explain(instrs[bad.Node], r.kernels[bad.Node], nodes[bad.Node].Launch, err)
	}
	return d.failed(err)
}

// plan makes the steps, and takes scratch memory; at says where that of each step lies in it.
func (r *runner) plan() (steps []step, at []int64, err error) {
	d := r.device
	bytes := make([]int64, len(r.program.Code))
	for i := range r.program.Code {
		in := &r.program.Code[i]
		b := &bound{r, i, in}
		if err := b.fits(); err != nil {
			return nil, nil, err
		}
		s := plans[in.Op](b)
		steps = append(steps, s)
		for _, w := range s.Workspace {
			bytes[i] += align(w)
		}
	}
	r.order = r.dependences()
	at, size := r.order.room(bytes)
	if size > 0 {
		if r.scratch, err = d.memory.take(size); err != nil {
			err = d.failed(fmt.Errorf("program %q, %d bytes of scratch memory: %w", r.program.Name, size, err))
		}
	}
	return steps, at, err
}

// takeCounters makes the counters of all kernels, at 0.
func (r *runner) takeCounters(n int) (err error) {
	if n == 0 {
		return nil
	}
	d := r.device
	if r.counters, err = d.memory.take(int64(n) * wordBytes); err == nil {
		err = d.stream.Fill(r.counters, 0, int64(n))
	}
	if err != nil {
		err = d.failed(fmt.Errorf("program %q, %d counters: %w", r.program.Name, n, err))
	}
	return err
}

func (r *runner) counter(n int) driver.Ptr { return r.counters + driver.Ptr(n*wordBytes) }

// align is the place that a piece of scratch memory takes: all begin at multiples of 256 bytes.
func align(bytes int) int64 { return (int64(bytes) + 255) &^ 255 }

// explain says which kernel failed, how large it is, and which instruction it does, at first.
func (r *runner) explain(i int, entry string, l driver.Launch, err error) error {
	return r.program.Explain(i, fmt.Errorf("kernel %s, grid %v, block %v: %w", entry, l.Grid, l.Block, err))
}

// where names the program and, if the error of a replay names a kernel, the instructions it may come from.
func (r *runner) where(err error) string {
	text := err.Error()
	var list []string
	for i, entries := range r.entries {
		if slices.ContainsFunc(entries, func(e string) bool { return strings.Contains(text, e+",") }) {
			list = append(list, r.program.Instruction(i))
		}
	}
	where := fmt.Sprintf("program %q", r.program.Name)
	if len(list) > 0 {
		where += ", " + strings.Join(list, " or ")
	}
	return where
}

// arguments writes the parameters of a launch, addresses in place of operands; scratch is the place of the step's own
// memory, counters the number of its first counter.
func (r *runner) arguments(s *step, l *kernels.Launch, scratch int64, counters int) ([][]byte, error) {
	var args [][]byte
	for _, a := range l.Args {
		if o, ok := a.(kernels.Operand); ok {
			at := r.scratch + driver.Ptr(scratch)
			switch {
			case o.Number >= 0:
				at = s.operands[o.Number]
			case o.Number == kernels.Counter:
				at = r.counter(counters)
			default:
				for _, w := range s.Workspace[:kernels.Scratch(o.Number)] {
					at += driver.Ptr(align(w))
				}
			}
			a = uint64(at) + uint64(o.Off)*wordBytes
		}
		b, err := binary.Append(nil, binary.LittleEndian, a)
		if err != nil {
			return nil, err
		}
		args = append(args, b)
	}
	return args, nil
}

// Run replays the program n times, without waiting.
func (r *runner) Run(n int) error {
	d := r.device
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return err
	}
	if err := device.CheckRun(r.program, n, r.closed, d.ledger.Check); err != nil {
		return err
	}
	if r.graph == nil {
		return nil
	}
	d.recent = r
	for range n {
		if err := d.stream.Replay(r.graph); err != nil {
			if isSticky(err) { // failed says where
				return d.failed(err)
			}
			return d.failed(fmt.Errorf("%s: %w", r.where(err), err))
		}
	}
	if n > 0 && len(r.faults.codes) > 0 && !slices.Contains(d.watch, r) {
		d.watch = append(d.watch, r)
	}
	return nil
}

// Close frees the graph and scratch memory.
func (r *runner) Close() error {
	d := r.device
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || r.closed {
		r.closed = true
		return nil
	}
	if d.fault != nil { // a lost context takes everything with it
		_ = r.release()
		return nil
	}
	var bad error
	if slices.Contains(d.watch, r) { // its last chance to tell
		bad = d.checkIndices()
	}
	return cmp.Or(bad, d.failed(r.release()))
}

func (r *runner) release() error {
	r.closed = true
	delete(r.device.runners, r)
	var err error
	if r.graph != nil {
		err = r.graph.Close()
	}
	err = cmp.Or(err, r.device.leave(r))
	for _, p := range []*driver.Ptr{&r.scratch, &r.counters, &r.faults.at} {
		if *p != 0 {
			err = cmp.Or(err, r.device.memory.give(*p))
		}
		*p = 0
	}
	if r.faults.host != nil {
		err = cmp.Or(err, r.device.ctx.FreePinned(r.faults.host))
	}
	r.graph, r.faults.host = nil, nil
	return err
}
