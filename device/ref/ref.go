// Package ref is the reference device: float64, one goroutine, one clear loop per operation. It is the living
// definition of the vocabulary in package device and the oracle of every test: where a fast device and this one differ
// by more than the rounding that devicetest derives, the fast one is wrong.
//
// Where to read what: point.go evaluates an expression at one point, walk.go goes over the points of strided views,
// sum.go adds; gemm.go, elementwise.go (Map, Copy), reduce.go, softmax.go, conv.go, pool.go, rows.go (Gather,
// ScatterAdd, Order) and random.go hold one function an operation; run.go has the table that lists them.
package ref

import (
	"sync"

	"bilevel/device"
)

// Device is the reference device. Its Real is float64; random numbers are float32 values, so that they are the same
// numbers on every device.
type Device struct {
	mu     sync.Mutex // held by every method: the device does one thing at a time
	ledger *device.Ledger
}

var _ device.Device = (*Device)(nil)

// buffer is one of three slices, by its type; Free sets all to nil.
type buffer struct {
	device.Block
	real  []float64
	ints  []int32
	bytes []byte
}

// memoryBytes bounds what is allocated: at 8 TiB make would panic or the process be killed.
const memoryBytes = 8 << 40

// New returns a reference device. Devices are independent of each other.
func New() device.Device { return &Device{ledger: device.NewLedger("ref", 64)} }

// Info says what the device promises: 64 bits, and sums in runs of at most sumBlock terms.
func (d *Device) Info() device.Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	return device.Info{
		Name: "ref", Detail: "float64, one loop per operation", Threads: 1, RealBits: 64, SumBlock: sumBlock,
		Memory: memoryBytes, Free: memoryBytes - d.ledger.Bytes(), Alignment: 8,
	}
}

// Alloc returns a buffer of n zeros.
func (d *Device) Alloc(t device.Type, n int) (device.Buffer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	block, err := d.ledger.Request(t, n, memoryBytes-d.ledger.Bytes())
	if err != nil {
		return nil, err
	}
	b := &buffer{Block: block}
	switch t {
	case device.Real:
		b.real = make([]float64, n)
	case device.Int:
		b.ints = make([]int32, n)
	case device.Byte:
		b.bytes = make([]byte, n)
	}
	d.ledger.Add(b, &b.Block)
	return b, nil
}

// Free gives b back. Freeing nil, or the same buffer again, does nothing.
func (d *Device) Free(b device.Buffer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ledger.Remove(b) {
		release(b)
	}
}

func release(b device.Buffer) {
	mine := b.(*buffer)
	mine.real, mine.ints, mine.bytes = nil, nil, nil
}

// own gives the device's own view of a buffer; the error says that it is freed or foreign, or the device closed.
func (d *Device) own(b device.Buffer) (*buffer, error) {
	if err := d.ledger.Check(b); err != nil {
		return nil, err
	}
	return b.(*buffer), nil
}

// Upload widens or copies src into dst.
func (d *Device) Upload(dst device.Buffer, off int, src device.HostSlice) error {
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
	for i, v := range src.U8 {
		b.bytes[off+i] = v
	}
	return nil
}

// Download rounds or copies src into dst.
func (d *Device) Download(dst device.HostSlice, src device.Buffer, off int) error {
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
	for i := range dst.U8 {
		dst.U8[i] = b.bytes[off+i]
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
		switch from.Type() {
		case device.Real:
			to.real[dstOff+i] = from.real[srcOff+i]
		case device.Int:
			to.ints[dstOff+i] = from.ints[srcOff+i]
		case device.Byte:
			to.bytes[dstOff+i] = from.bytes[srcOff+i]
		}
	}
	return nil
}

// Sync has nothing to wait for.
func (d *Device) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ledger.Open()
}

// Close frees every buffer; all further calls fail.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ledger.Close(release)
}
