package host

import (
	"fmt"
	"math"
	"unsafe"

	"bilevel/device"
)

// buffer is one of two slices, by its type; Free sets both to nil, so a buffer that is kept holds no memory.
type buffer struct {
	owner *Device // nil once freed
	typ   device.Type
	n     int
	real  []float32
	ints  []int32
}

func (b *buffer) Type() device.Type { return b.typ }
func (b *buffer) Len() int          { return b.n }
func (b *buffer) bytes() int64      { return wordBytes * int64(b.n) }

const (
	wordBytes = 4
	lineBytes = 64 // buffers begin on a cache line
)

// Alloc returns a buffer of n zeros. Its error wraps device.ErrMemory where the machine has not that much memory:
// Go itself would end the process.
func (d *Device) Alloc(t device.Type, n int) (device.Buffer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case d.closed:
		return nil, errClosed
	case t != device.Real && t != device.Int:
		return nil, fmt.Errorf("cpu: alloc: unknown type %d", uint8(t))
	case n < 0:
		return nil, fmt.Errorf("cpu: alloc: %d elements", n)
	}
	have := memoryBytes()
	if int64(n) > (have-d.bytes)/wordBytes {
		return nil, fmt.Errorf("cpu: alloc: %d elements of %d bytes, %d bytes are in use, the machine has %d: %w",
			n, wordBytes, d.bytes, have, device.ErrMemory)
	}
	b := &buffer{owner: d, typ: t, n: n}
	if t == device.Int {
		b.ints = aligned[int32](n)
	} else {
		b.real = aligned[float32](n)
	}
	d.live[b] = struct{}{}
	d.bytes += b.bytes()
	return b, nil
}

// aligned allocates n zeros that begin on a cache line.
func aligned[T float32 | int32](n int) []T {
	const line = lineBytes / wordBytes
	s := make([]T, n+line-1)
	past := int(uintptr(unsafe.Pointer(unsafe.SliceData(s))) % lineBytes / wordBytes)
	from := (line - past) % line
	return s[from : from+n : from+n]
}

// Free gives b back. Freeing nil, a foreign buffer, or the same buffer again does nothing.
func (d *Device) Free(b device.Buffer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if b, err := d.own(b); err == nil {
		d.release(b)
	}
}

func (d *Device) release(b *buffer) {
	delete(d.live, b)
	d.bytes -= b.bytes()
	b.owner, b.real, b.ints = nil, nil, nil
}

// own gives the device's own view of a buffer; the error says that it is freed or foreign, or the device closed.
func (d *Device) own(b device.Buffer) (*buffer, error) {
	if d.closed {
		return nil, errClosed
	}
	mine, ok := b.(*buffer)
	if !ok || mine.owner != d {
		return nil, errBuffer
	}
	return mine, nil
}

// check is own for package device.
func (d *Device) check(b device.Buffer) error {
	_, err := d.own(b)
	return err
}

// Upload copies src to dst; float64 is rounded to nearest, and to infinity beyond float32.
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
	switch {
	case src.I32 != nil:
		copy(b.ints[off:], src.I32)
	case src.F32 != nil:
		copy(b.real[off:], src.F32)
	case src.F64 != nil:
		to := b.real[off:][:len(src.F64)]
		for i, v := range src.F64 {
			to[i] = float32(v)
		}
	}
	return nil
}

// Download copies from src to dst.
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
	switch {
	case dst.I32 != nil:
		copy(dst.I32, b.ints[off:])
	case dst.F32 != nil:
		copy(dst.F32, b.real[off:])
	case dst.F64 != nil:
		from := b.real[off:][:len(dst.F64)]
		for i, v := range from {
			dst.F64[i] = float64(v)
		}
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
	if to.typ == device.Int {
		copy(to.ints[dstOff:][:n], from.ints[srcOff:])
	} else {
		copy(to.real[dstOff:][:n], from.real[srcOff:])
	}
	return nil
}

// unknownMemory stands for the memory of a machine that does not tell: 1 TiB, which a 64-bit process can at least
// address.
const unknownMemory = min(1<<40, math.MaxInt)
