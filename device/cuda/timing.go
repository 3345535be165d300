package cuda

import (
	"cmp"
	"slices"

	"bilevel/device"
	"bilevel/device/cuda/driver"
)

// Time is the card's own time, in seconds, for the work that f gives it: from an event before to one after. It waits
// for the work. On a simulated card it is the estimate.
func (d *Device) Time(f func() error) (seconds float64, err error) {
	first, err := d.mark()
	if err != nil {
		return 0, err
	}
	err = f()
	last, markErr := d.mark()
	err = cmp.Or(err, markErr, d.Sync())
	d.mu.Lock()
	defer d.mu.Unlock()
	ms := 0.0
	if err == nil {
		ms, err = last.Since(first)
		err = d.failed(err)
	}
	for _, e := range []driver.Event{first, last} {
		if e != nil && d.ready() == nil { // a lost context takes its events with it
			err = cmp.Or(err, d.failed(e.Close()))
		}
	}
	return ms / 1e3, err
}

// Card describes the card.
func (d *Device) Card() driver.Card { return d.card }

// Again opens the device's card once more: a device of its own, with other options; o.Name and o.Card do not count.
func (d *Device) Again(o Options) (*Device, error) {
	o.Name, o.Card = d.name, d.given.Card
	return New(d.driver, o)
}

// mark records an event in the stream.
func (d *Device) mark() (driver.Event, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return nil, err
	}
	e, err := d.ctx.Event(true)
	if err != nil {
		return nil, d.failed(err)
	}
	if err := d.stream.Record(e); err != nil {
		return nil, cmp.Or(d.failed(err), e.Close())
	}
	return e, nil
}

// Kernels names the kernels that a runner of this package launches, in order; none for other runners.
func Kernels(r device.Runner) []string {
	if r, ok := r.(*runner); ok {
		return slices.Clone(r.kernels)
	}
	return nil
}

// Depth is the number of kernels in the longest chain of those that a runner of this package launches, each of which
// waits for the one before; 0 for other runners.
func Depth(r device.Runner) int {
	if r, ok := r.(*runner); ok && len(r.depths) > 0 {
		return slices.Max(r.depths)
	}
	return 0
}
