package null

import (
	"errors"
	"fmt"

	"bilevel/device"
)

type runner struct {
	d      *Device
	p      *device.Program
	closed bool
}

// Prepare validates the program and counts it.
func (d *Device) Prepare(p *device.Program) (device.Runner, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(p.Buffers...); err != nil {
		return nil, fmt.Errorf("null: prepare %q: %w", p.Name, err)
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	d.stats.Prepared++
	d.stats.LiveRunners++
	return &runner{d: d, p: p}, nil
}

// Run counts; it fails where a buffer of the program was freed meanwhile.
func (r *runner) Run(n int) error {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	switch {
	case r.closed:
		return errors.New("null: run: the runner is closed")
	case n < 0:
		return fmt.Errorf("null: run %q: %d times", r.p.Name, n)
	}
	if err := r.d.check(r.p.Buffers...); err != nil {
		return fmt.Errorf("null: run %q: %w", r.p.Name, err)
	}
	r.d.stats.Runs++
	r.d.stats.Repetitions += n
	return nil
}

// Close counts the runner as closed; closing it again does nothing.
func (r *runner) Close() error {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	if !r.closed {
		r.closed = true
		r.d.stats.LiveRunners--
	}
	return nil
}
