package null

import (
	"errors"
	"sync"
	"time"

	"bilevel/device"
)

// Meter is a device that leaves everything to another one, and counts the work that programs have done there.
type Meter struct {
	device.Device
	mu   sync.Mutex
	done Work
	took time.Duration
}

// NewMeter begins to count at nothing.
func NewMeter(d device.Device) *Meter { return &Meter{Device: d} }

// Done is the work of all runs that have come to their end, and how long they took.
func (m *Meter) Done() (Work, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.done, m.took
}

// Prepare is the other device's.
func (m *Meter) Prepare(p *device.Program) (device.Runner, error) {
	r, err := m.Device.Prepare(p)
	if err != nil {
		return nil, err
	}
	return &metered{r, m, workOf(p, m.Info())}, nil
}

type metered struct {
	device.Runner
	m    *Meter
	work Work
}

// Run waits for each repetition, since work that a device has only been given is none that it has done.
func (r *metered) Run(n int) error {
	for range n {
		begin := time.Now()
		if err := errors.Join(r.Runner.Run(1), r.m.Sync()); err != nil {
			return err
		}
		r.m.mu.Lock()
		r.m.done.Add(r.work, 1)
		r.m.took += time.Since(begin)
		r.m.mu.Unlock()
	}
	return nil
}
