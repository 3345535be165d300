package cuda

import (
	"math"

	"bilevel/device"
	"bilevel/device/cuda/driver"
)

// peek is the place for a number on its way to the host. Those not in use are kept; all end with the context.
type peek struct {
	event driver.Event
	word  []byte // pinned
}

var _ device.Peeker = (*Device)(nil)

// Peek begins to read element off of a Real buffer, as it is after all earlier work. Wait waits for that work alone.
func (d *Device) Peek(src device.Buffer, off int) (wait func() (float64, error), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := d.mine(src)
	if err != nil {
		return nil, err
	}
	var value [1]float64
	if err := device.CheckDownload(device.Float64s(value[:]), src, off); err != nil {
		return nil, err
	}
	p, err := d.takePeek()
	if err == nil {
		err = d.stream.ToHost(p.word, b.address(off))
	}
	if err == nil {
		err = d.stream.Record(p.event)
	}
	if err != nil {
		return nil, d.failed(err)
	}
	return func() (float64, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		if err := d.ready(); err != nil {
			return math.NaN(), err
		}
		if err := p.event.Synchronize(); err != nil {
			return math.NaN(), d.failed(err)
		}
		decode(device.Float64s(value[:]), 0, p.word)
		d.peeks = append(d.peeks, p)
		return value[0], nil
	}, nil
}

func (d *Device) takePeek() (p *peek, err error) {
	if n := len(d.peeks); n > 0 {
		p, d.peeks = d.peeks[n-1], d.peeks[:n-1]
		return p, nil
	}
	p = &peek{}
	if p.event, err = d.ctx.Event(); err != nil {
		return nil, err
	}
	p.word, err = d.ctx.Pinned(wordBytes)
	return p, err
}
