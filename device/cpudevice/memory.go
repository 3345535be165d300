package cpudevice

import (
	"runtime"
	"unsafe"

	"bilevel/device"
	"bilevel/internal/hostmemory"
)

// buffer is one of three slices, by its type; Free sets all to nil, so that a buffer which is kept holds no memory.
//
// Large ones are pages of the system and not memory of the collector, which would let garbage grow to the size of all
// buffers before it frees any: a process then holds little more than its buffers.
type buffer struct {
	device.Block
	real  []float32
	ints  []int32
	bytes []byte

	pages []byte          // the mapping of a large buffer
	lost  runtime.Cleanup // gives pages back where the buffer is never freed
}

const (
	lineBytes  = 64 // buffers begin on a cache line
	pagesAbove = 1 << 20
)

// Alloc returns a buffer of n zeros. Its error wraps device.ErrMemory where the machine has not that much memory:
// Go itself would end the process.
func (d *Device) Alloc(t device.Type, n int) (device.Buffer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	block, err := d.ledger.Request(t, n, hostmemory.Total()-d.ledger.Bytes())
	if err != nil {
		return nil, err
	}
	b := &buffer{Block: block}
	var used []byte
	if block.Bytes() >= pagesAbove {
		used, b.pages = pages(int(block.Bytes()))
	}
	switch {
	case b.pages != nil:
		b.lost = runtime.AddCleanup(b, giveBack, b.pages)
		b.bind(t, n, used)
	case t == device.Real:
		b.real = aligned[float32](n)
	case t == device.Int:
		b.ints = aligned[int32](n)
	case t == device.Byte:
		b.bytes = aligned[byte](n)
	}
	d.ledger.Add(b, &b.Block)
	return b, nil
}

// bind lays the buffer into pages.
func (b *buffer) bind(t device.Type, n int, used []byte) {
	switch at := unsafe.Pointer(unsafe.SliceData(used)); t {
	case device.Real:
		b.real = unsafe.Slice((*float32)(at), n)
	case device.Int:
		b.ints = unsafe.Slice((*int32)(at), n)
	case device.Byte:
		b.bytes = used
	}
}

// aligned allocates n zeros that begin on a cache line.
func aligned[T float32 | int32 | byte](n int) []T {
	size := int(unsafe.Sizeof(*new(T)))
	line := lineBytes / size
	s := make([]T, n+line-1)
	past := int(uintptr(unsafe.Pointer(unsafe.SliceData(s))) % lineBytes / uintptr(size))
	from := (line - past) % line
	return s[from : from+n : from+n]
}

// Free gives b back. Freeing nil, a foreign buffer, or the same buffer again does nothing.
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
	if mine.pages != nil {
		mine.lost.Stop()
		giveBack(mine.pages)
		mine.pages = nil
	}
}

// own gives the device's own view of a buffer; the error says that it is freed or foreign, or the device closed.
func (d *Device) own(b device.Buffer) (*buffer, error) {
	if err := d.ledger.Check(b); err != nil {
		return nil, err
	}
	return b.(*buffer), nil
}

// Upload copies src to dst; float64 is rounded to nearest, and to infinity beyond float32.
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
	switch {
	case src.I32 != nil:
		copy(b.ints[off:], src.I32)
	case src.U8 != nil:
		copy(b.bytes[off:], src.U8)
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
	switch {
	case dst.I32 != nil:
		copy(dst.I32, b.ints[off:])
	case dst.U8 != nil:
		copy(dst.U8, b.bytes[off:])
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
	switch to.Type() {
	case device.Real:
		copy(to.real[dstOff:][:n], from.real[srcOff:])
	case device.Int:
		copy(to.ints[dstOff:][:n], from.ints[srcOff:])
	case device.Byte:
		copy(to.bytes[dstOff:][:n], from.bytes[srcOff:])
	}
	return nil
}

// Held is the memory of the process that buffers take, and the most that they ever took.
func (d *Device) Held() (now, peak int64) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.ledger.Bytes(), d.ledger.Peak()
}
