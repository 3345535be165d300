// Package ref is the reference device: float64, one goroutine, one clear loop per operation. It is the living
// definition of the vocabulary in package device and the oracle of every test: where a fast device and this one differ
// by more than the rounding that devicetest derives, the fast one is wrong.
//
// Where to read what: point.go evaluates an expression at one point, walk.go goes over the points of strided views,
// sum.go adds; gemm.go, elementwise.go (Map, Copy), reduce.go, softmax.go, rows.go (Gather, ScatterAdd, Select) and
// random.go hold one function an operation; run.go has the table that lists them.
package ref

import (
	"errors"
	"fmt"
	"sync"

	"bilevel/device"
)

// Device is the reference device. Its Real is float64; random numbers are float32 values, so that they are the same
// numbers on every device.
type Device struct {
	mu     sync.Mutex // held by every method: the device does one thing at a time
	closed bool
	live   map[*buffer]struct{}
}

var _ device.Device = (*Device)(nil)

// buffer is one of two slices, by its type; Free sets both to nil.
type buffer struct {
	owner *Device
	typ   device.Type
	n     int
	real  []float64
	ints  []int32
}

func (b *buffer) Type() device.Type { return b.typ }
func (b *buffer) Len() int          { return b.n }

// maxElements bounds one allocation: 2^40 float64 are 8 TiB, beyond which make would panic or the process be killed.
const maxElements = 1 << 40

var (
	errClosed = errors.New("ref: the device is closed")
	errBuffer = errors.New("ref: the buffer was freed or belongs to another device")
)

// New returns a reference device. Devices are independent of each other.
func New() device.Device { return &Device{live: make(map[*buffer]struct{})} }

// Info says what the device promises: 64 bits, and sums in runs of at most sumBlock terms.
func (d *Device) Info() device.Info {
	return device.Info{Name: "ref", Detail: "float64, one loop per operation", Threads: 1, RealBits: 64, SumBlock: sumBlock}
}

// Alloc returns a buffer of n zeros.
func (d *Device) Alloc(t device.Type, n int) (device.Buffer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, errClosed
	case t != device.Real && t != device.Int:
		return nil, fmt.Errorf("ref: alloc: unknown type %d", uint8(t))
	case n < 0:
		return nil, fmt.Errorf("ref: alloc: %d elements", n)
	case int64(n) > maxElements:
		return nil, fmt.Errorf("ref: alloc: %d elements: %w", n, device.ErrMemory)
	}
	b := &buffer{owner: d, typ: t, n: n}
	if t == device.Int {
		b.ints = make([]int32, n)
	} else {
		b.real = make([]float64, n)
	}
	d.live[b] = struct{}{}
	return b, nil
}

// Free gives b back. Freeing nil, or the same buffer again, does nothing.
func (d *Device) Free(b device.Buffer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b, err := d.own(b); err == nil {
		d.release(b)
	}
}

func (d *Device) release(b *buffer) {
	b.real, b.ints = nil, nil
	delete(d.live, b)
}

// own gives the device's own view of a buffer; the error says that it is freed or foreign, or the device closed.
func (d *Device) own(b device.Buffer) (*buffer, error) {
	if d.closed {
		return nil, errClosed
	}
	mine, ok := b.(*buffer)
	if !ok {
		return nil, errBuffer
	}
	if _, ok := d.live[mine]; !ok {
		return nil, errBuffer
	}
	return mine, nil
}

// check is own for package device.
func (d *Device) check(b device.Buffer) error {
	_, err := d.own(b)
	return err
}

// Upload widens or copies src into dst.
func (d *Device) Upload(dst device.Buffer, off int, src device.Host) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := d.own(dst)
	if err != nil {
		return err
	}
	if err := device.CheckUpload(dst, off, src); err != nil {
		return err
	}
	for i, v := range src.F32 {
		b.real[off+i] = float64(v)
	}
	for i, v := range src.F64 {
		b.real[off+i] = v
	}
	for i, v := range src.I32 {
		b.ints[off+i] = v
	}
	return nil
}

// Download rounds or copies src into dst.
func (d *Device) Download(dst device.Host, src device.Buffer, off int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := d.own(src)
	if err != nil {
		return err
	}
	if err := device.CheckDownload(dst, src, off); err != nil {
		return err
	}
	for i := range dst.F32 {
		dst.F32[i] = float32(b.real[off+i])
	}
	for i := range dst.F64 {
		dst.F64[i] = b.real[off+i]
	}
	for i := range dst.I32 {
		dst.I32[i] = b.ints[off+i]
	}
	return nil
}

// Copy copies n elements.
func (d *Device) Copy(dst device.Buffer, dstOff int, src device.Buffer, srcOff, n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	to, err := d.own(dst)
	if err != nil {
		return err
	}
	from, err := d.own(src)
	if err != nil {
		return err
	}
	if err := device.CheckCopy(dst, dstOff, src, srcOff, n); err != nil {
		return err
	}
	for i := range n {
		if from.typ == device.Int {
			to.ints[dstOff+i] = from.ints[srcOff+i]
		} else {
			to.real[dstOff+i] = from.real[srcOff+i]
		}
	}
	return nil
}

// Sync has nothing to wait for.
func (d *Device) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return errClosed
	}
	return nil
}

// Close frees every buffer; all further calls fail.
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
