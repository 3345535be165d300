package cuda

import (
	"cmp"
	"math"

	"bilevel/device"
	"bilevel/device/cuda/driver"
)

// peek is the place for a number on its way to the host. They are kept until the device is closed.
type peek struct {
	event driver.Event
	word  []byte // pinned
}

var _ device.Peeker = (*Device)(nil)

// Peek begins to read element off of a Real buffer, as it is after all earlier work. Wait waits for that work alone,
// and other goroutines may use the device meanwhile.
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
		err := d.beginWait()
		if err != nil {
			return math.NaN(), err
		}
		defer d.waiting.Done()
		err = p.event.Synchronize()
		d.mu.Lock()
		defer d.mu.Unlock()
		d.peeks = append(d.peeks, p)
		if err != nil {
			return math.NaN(), d.failed(err)
		}
		decode(device.Float64s(value[:]), 0, p.word)
		return value[0], nil
	}, nil
}

// beginWait keeps the device open until d.waiting.Done.
func (d *Device) beginWait() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return err
	}
	d.waiting.Add(1)
	return nil
}

func (d *Device) takePeek() (p *peek, err error) {
	if n := len(d.peeks); n > 0 {
		p, d.peeks = d.peeks[n-1], d.peeks[:n-1]
		return p, nil
	}
	p = &peek{}
	if p.word, err = d.ctx.Pinned(wordBytes); err != nil {
		return nil, err
	}
	if p.event, err = d.ctx.Event(false); err != nil {
		return nil, cmp.Or(err, d.ctx.FreePinned(p.word))
	}
	d.looks = append(d.looks, p)
	return p, nil
}
