package null

import "bilevel/device"

type runner struct {
	d      *Device
	p      *device.Program
	work   Work // of one run
	closed bool
}

// Prepare validates the program and counts it.
func (d *Device) Prepare(p *device.Program) (device.Runner, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ledger.Open(); err != nil {
		return nil, err
	}
	if err := device.CheckPrepare(p, d.ledger.Check); err != nil {
		return nil, err
	}
	if d.stats.Lacked == nil {
		d.stats.Lacked = device.CheckLacks(p, d.info)
	}
	d.stats.Prepared++
	d.stats.LiveRunners++
	scratch := 0
	for _, i := range p.Scratch {
		b := p.Buffers[i]
		scratch += b.Len() * int(d.info.ElementBytes(b.Type()))
	}
	if scratch > d.stats.LargestBytes {
		d.stats.Largest, d.stats.LargestBytes = p.Name, scratch
	}
	return &runner{d: d, p: p, work: workOf(p, d.info)}, nil
}

// Run counts; it fails where a buffer of the program was freed meanwhile.
func (r *runner) Run(n int) error {
	r.d.mu.Lock()
	defer r.d.mu.Unlock()
	if err := r.d.ledger.Open(); err != nil {
		return err
	}
	if err := device.CheckRun(r.p, n, r.closed, r.d.ledger.Check); err != nil {
		return err
	}
	r.d.stats.Runs++
	r.d.stats.Repetitions += n
	r.d.stats.Work.Add(r.work, float64(n))
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
