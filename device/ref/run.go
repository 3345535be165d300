package ref

import (
	"fmt"

	"bilevel/device"
)

// ops is the device: one function an operation. A function may trust what Program.Validate checked, and its only
// error is a value it finds in a buffer, an index outside its table or a k outside its elements.
var ops = [device.NumOp]func(memory, *device.Instr) error{
	device.Gemm:       gemm,
	device.Map:        elementwise,
	device.Reduce:     reduce,
	device.RowSoftmax: rowSoftmax,
	device.Conv:       conv,
	device.Pool:       pool,
	device.Gather:     gather,
	device.ScatterAdd: scatterAdd,
	device.Order:      orderStatistics,
	device.Random:     random,
	device.Copy:       copyView,
}

// memory is the buffers of a program, by the numbers that views use.
type memory []*buffer

type runner struct {
	d      *Device
	p      *device.Program
	mem    memory
	closed bool
}

// Prepare validates the program and looks its buffers up. All other work is left to Run, which therefore, unlike a fast
// device's, allocates its scratch space anew.
func (d *Device) Prepare(p *device.Program) (device.Runner, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ledger.Open(); err != nil {
		return nil, err
	}
	if err := device.CheckPrepare(p, d.ledger.Check); err != nil {
		return nil, err
	}
	mem := make(memory, len(p.Buffers))
	for i, b := range p.Buffers {
		mem[i], _ = b.(*buffer) // nil where nothing views it
	}
	return &runner{d: d, p: p, mem: mem}, nil
}

// Run executes the instructions in order, n times over. It stops at the first error, with the outputs of that
// instruction partly written.
func (r *runner) Run(n int) error {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	if err := r.d.ledger.Open(); err != nil {
		return err
	}
	if err := device.CheckRun(r.p, n, r.closed, r.d.ledger.Check); err != nil {
		return err
	}
	for range n {
		for i := range r.p.Code {
			in := &r.p.Code[i]
			if err := ops[in.Op](r.mem, in); err != nil {
				return fmt.Errorf("ref: %w", r.p.Explain(i, err))
			}
		}
	}
	return nil
}

// Close makes the runner unusable; closing it again does nothing.
func (r *runner) Close() error {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	r.closed = true
	return nil
}
