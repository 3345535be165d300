// Package null is a device that accepts everything, keeps no elements and computes nothing. It validates programs and
// counts what is asked of it, which is what tests of plans, leaks and lifetimes want to see: how much memory a plan
// takes at its peak, whether everything was given back, how often the host talks to the device.
package null

import (
	"errors"
	"fmt"
	"sync"

	"bilevel/device"
)

// Stats counts what a Device was asked to do since New.
type Stats struct {
	Allocs int // buffers handed out
	Frees  int // buffers given back by Free

	LiveBuffers int // handed out and not given back
	LiveBytes   int // their size, 4 bytes an element
	PeakBytes   int // the most LiveBytes ever was

	Uploads       int
	UploadBytes   int
	Downloads     int
	DownloadBytes int
	Copies        int
	Syncs         int

	Prepared    int // runners handed out
	LiveRunners int // of these, not closed
	Runs        int // calls of Runner.Run
	Repetitions int // the sum of their n
}

// Device is the null device. Calls that could not work on a real device (ranges, types, foreign or freed buffers,
// programs that do not validate, anything after Close) fail here too.
type Device struct {
	mu     sync.Mutex
	closed bool
	live   map[*buffer]struct{}
	stats  Stats
}

var _ device.Device = (*Device)(nil)

// buffer is only a size.
type buffer struct {
	typ device.Type
	n   int
}

func (b *buffer) Type() device.Type { return b.typ }
func (b *buffer) Len() int          { return b.n }

// bytes is what the buffer would take on a device with 32-bit elements.
func (b *buffer) bytes() int { return 4 * b.n }

var (
	errClosed = errors.New("null: the device is closed")
	errBuffer = errors.New("null: the buffer was freed or belongs to another device")
)

// maxElements bounds one allocation, so that the sums of bytes do not overflow in any sensible test.
const maxElements = 1 << 48

// New returns a null device with all counts zero.
func New() *Device { return &Device{live: make(map[*buffer]struct{})} }

// Stats gives the counts so far.
func (d *Device) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// Info says 32 bits and sums one term after the other; nothing is computed, so nothing is promised.
func (d *Device) Info() device.Info {
	return device.Info{Name: "null", Detail: "computes nothing", Threads: 1, RealBits: 32, SumBlock: 1}
}

// Alloc counts a buffer; it takes no memory for the elements.
func (d *Device) Alloc(t device.Type, n int) (device.Buffer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, errClosed
	case t != device.Real && t != device.Int:
		return nil, fmt.Errorf("null: alloc: unknown type %d", uint8(t))
	case n < 0:
		return nil, fmt.Errorf("null: alloc: %d elements", n)
	case n > maxElements:
		return nil, fmt.Errorf("null: alloc: %d elements: %w", n, device.ErrMemory)
	}
	b := &buffer{typ: t, n: n}
	d.live[b] = struct{}{}
	s := &d.stats
	s.Allocs++
	s.LiveBuffers++
	s.LiveBytes += b.bytes()
	s.PeakBytes = max(s.PeakBytes, s.LiveBytes)
	return b, nil
}

// Free counts the buffer as given back. Freeing nil, a foreign buffer or the same buffer again does nothing.
func (d *Device) Free(b device.Buffer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.check(b) == nil {
		d.release(b.(*buffer))
		d.stats.Frees++
	}
}

func (d *Device) release(b *buffer) {
	delete(d.live, b)
	d.stats.LiveBuffers--
	d.stats.LiveBytes -= b.bytes()
}

// check refuses a buffer that is not live on an open device.
func (d *Device) check(b device.Buffer) error {
	if d.closed {
		return errClosed
	}
	mine, _ := b.(*buffer)
	if _, ok := d.live[mine]; !ok {
		return errBuffer
	}
	return nil
}

// Upload checks and counts.
func (d *Device) Upload(dst device.Buffer, off int, src device.Host) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(dst); err != nil {
		return err
	}
	if err := device.CheckUpload(dst, off, src); err != nil {
		return err
	}
	d.stats.Uploads++
	d.stats.UploadBytes += 4 * src.Len()
	return nil
}

// Download checks, counts and fills dst with zeros.
func (d *Device) Download(dst device.Host, src device.Buffer, off int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.check(src); err != nil {
		return err
	}
	if err := device.CheckDownload(dst, src, off); err != nil {
		return err
	}
	clear(dst.F32)
	clear(dst.F64)
	clear(dst.I32)
	d.stats.Downloads++
	d.stats.DownloadBytes += 4 * dst.Len()
	return nil
}

// Copy checks and counts.
func (d *Device) Copy(dst device.Buffer, dstOff int, src device.Buffer, srcOff, n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := errors.Join(d.check(dst), d.check(src)); err != nil {
		return err
	}
	if err := device.CheckCopy(dst, dstOff, src, srcOff, n); err != nil {
		return err
	}
	d.stats.Copies++
	return nil
}

// Sync counts.
func (d *Device) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	d.stats.Syncs++
	return nil
}

// Close frees every buffer, which Stats.Frees does not count: a test of leaks looks at LiveBuffers before Close.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	for b := range d.live {
		d.release(b)
	}
	d.closed = true
	return nil
}
