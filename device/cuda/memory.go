package cuda

import (
	"cmp"
	"fmt"
	"unsafe"

	"bilevel/device"
	"bilevel/device/cuda/driver"
)

const wordBytes = 4

// buffer is a block of the card's memory.
type buffer struct {
	device.Block
	at driver.Ptr
}

// Alloc returns a buffer of n zeros.
func (d *Device) Alloc(t device.Type, n int) (device.Buffer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return nil, err
	}
	block, err := d.ledger.Request(t, n, d.card.Memory) // how much is left the driver knows
	if err != nil {
		return nil, err
	}
	p, err := d.memory.take(block.Bytes())
	if err != nil {
		return nil, d.failed(fmt.Errorf("alloc of %d elements: %w", n, err))
	}
	if err := d.stream.Fill(p, 0, max(wordsOf(block.Bytes()), 1)); err != nil {
		return nil, cmp.Or(d.failed(err), d.memory.give(p))
	}
	b := &buffer{block, p}
	d.ledger.Add(b, &b.Block)
	return b, nil
}

// wordsOf is the number of words that hold so many bytes; blocks of memory are whole words.
func wordsOf(bytes int64) int64 { return (bytes + wordBytes - 1) / wordBytes }

// Free gives b back. Freeing nil, a foreign buffer, or the same buffer again does nothing.
func (d *Device) Free(b device.Buffer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed || !d.ledger.Remove(b) {
		return
	}
	_ = d.memory.give(b.(*buffer).at) // an error of a lost context shows at the next call
}

// mine gives the device's own view of a buffer; the error says that it is freed or foreign, or the device not in use.
func (d *Device) mine(b device.Buffer) (*buffer, error) {
	if err := d.ready(); err != nil {
		return nil, err
	}
	if err := d.ledger.Check(b); err != nil {
		return nil, err
	}
	return b.(*buffer), nil
}

// elementBytes is the size of an element of the buffer.
func (b *buffer) elementBytes() int {
	if b.Type() == device.Byte {
		return 1
	}
	return wordBytes
}

func (b *buffer) address(off int) driver.Ptr { return b.at + driver.Ptr(off*b.elementBytes()) }

// Upload copies src to dst by way of pinned memory; float64 is rounded to nearest, and to infinity beyond float32.
func (d *Device) Upload(dst device.Buffer, off int, src device.HostSlice) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := d.mine(dst)
	if err != nil {
		return err
	}
	if err := device.CheckUpload(dst, off, src); err != nil {
		return err
	}
	size := b.elementBytes()
	for done, n := 0, src.Len(); done < n; {
		part, err := d.staging.next(min(n-done, stagingWords) * size)
		if err != nil {
			return d.failed(err)
		}
		encode(part, src, done)
		if err := d.stream.ToDevice(b.address(off+done), part); err != nil {
			return d.failed(err)
		}
		done += len(part) / size
	}
	return nil
}

// Download copies from src to dst, after all earlier work. While it unpacks one part, the next is on its way.
func (d *Device) Download(dst device.HostSlice, src device.Buffer, off int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	b, err := d.mine(src)
	if err != nil {
		return err
	}
	if err := device.CheckDownload(dst, src, off); err != nil {
		return err
	}
	size, n := b.elementBytes(), dst.Len()
	fetch := func(from int) ([]byte, error) {
		part, err := d.staging.next(min(n-from, stagingWords) * size)
		if err == nil && len(part) > 0 {
			err = d.stream.ToHost(part, b.address(off+from))
		}
		return part, err
	}
	if n <= stagingWords {
		part, err := fetch(0)
		if err != nil {
			return d.failed(err)
		}
		if err := d.finish(); err != nil {
			return err
		}
		d.staging.clear()
		decode(dst, 0, part)
		return nil
	}
	if err := d.finish(); err != nil { // before anything is written to dst
		return err
	}
	d.staging.clear()
	part, err := fetch(0)
	for done := 0; err == nil && done < n; {
		var arrives *half
		if arrives, err = d.staging.turn(); err != nil {
			break
		}
		var next []byte
		after := done + len(part)/size
		if after < n {
			next, err = fetch(after)
		}
		if err = cmp.Or(err, arrives.wait()); err == nil {
			decode(dst, done, part)
		}
		part, done = next, after
	}
	return d.failed(err)
}

// bytesOf are the bytes of numbers of four bytes each. Cards are little endian, as the processors are for which this
// package is of use.
func bytesOf[T int32 | float32](v []T) []byte {
	return unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(v))), len(v)*wordBytes)
}

// floatsOf are the numbers of a piece of the staging area, which begins at a multiple of 8 bytes.
func floatsOf(part []byte) []float32 {
	return unsafe.Slice((*float32)(unsafe.Pointer(unsafe.SliceData(part))), len(part)/wordBytes)
}

// encode writes the elements of src from element i on to part.
func encode(part []byte, src device.HostSlice, i int) {
	switch {
	case src.U8 != nil:
		copy(part, src.U8[i:])
	case src.I32 != nil:
		copy(part, bytesOf(src.I32[i:]))
	case src.F32 != nil:
		copy(part, bytesOf(src.F32[i:]))
	default:
		to := floatsOf(part)
		for k, v := range src.F64[i:][:len(to)] {
			to[k] = float32(v)
		}
	}
}

// decode fills dst from element i on.
func decode(dst device.HostSlice, i int, part []byte) {
	switch {
	case dst.U8 != nil:
		copy(dst.U8[i:], part)
	case dst.I32 != nil:
		copy(bytesOf(dst.I32[i:]), part)
	case dst.F32 != nil:
		copy(bytesOf(dst.F32[i:]), part)
	case dst.F64 != nil:
		from := floatsOf(part)
		for k, v := range from {
			dst.F64[i+k] = float64(v)
		}
	}
}

// Copy copies n elements.
func (d *Device) Copy(dst device.Buffer, dstOff int, src device.Buffer, srcOff, n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	to, err := d.mine(dst)
	if err != nil {
		return err
	}
	from, err := d.mine(src)
	if err != nil {
		return err
	}
	if err := device.CheckCopy(dst, dstOff, src, srcOff, n); err != nil {
		return err
	}
	if n == 0 {
		return nil
	}
	return d.failed(d.stream.Copy(to.address(dstOff), from.address(srcOff), int64(n*to.elementBytes())))
}

// staging is pinned memory that transfers go through: two halves in turn, each used from front to back. While the card
// copies one, the host fills or empties the other.
type staging struct {
	stream driver.Stream
	halves [2]half
	now    int // the half in use
}

// half is a half of the staging area.
type half struct {
	mem     []byte
	used    int
	event   driver.Event
	pending bool // copies given before the event may not be over
}

const stagingWords = 1 << 20 // of each half

func newStaging(ctx driver.Context, stream driver.Stream) (*staging, error) {
	s := &staging{stream: stream}
	var err error
	for i := range s.halves {
		h := &s.halves[i]
		if h.mem, err = ctx.Pinned(stagingWords * wordBytes); err != nil {
			return s, err
		}
		if h.event, err = ctx.Event(false); err != nil {
			return s, err
		}
	}
	return s, nil
}

// next gives a piece that no copy uses, at most as large as a half.
func (s *staging) next(bytes int) ([]byte, error) {
	const align = 8
	if bytes > len(s.halves[s.now].mem)-s.halves[s.now].used {
		if _, err := s.turn(); err != nil {
			return nil, err
		}
	}
	h := &s.halves[s.now]
	piece := h.mem[h.used:][:bytes]
	h.used += (bytes + align - 1) / align * align
	return piece, nil
}

// turn goes on to the other half once its copies are over, and gives the one that was in use, to wait for.
func (s *staging) turn() (*half, error) {
	h, other := &s.halves[s.now], &s.halves[1-s.now]
	if err := s.stream.Record(h.event); err != nil {
		return nil, err
	}
	h.pending = true
	s.now = 1 - s.now
	other.used = 0
	return h, other.wait()
}

// wait waits for the copies of a half.
func (h *half) wait() error {
	if !h.pending {
		return nil
	}
	h.pending = false
	return h.event.Synchronize()
}

// clear says that the stream was waited for.
func (s *staging) clear() {
	for i := range s.halves {
		s.halves[i].used, s.halves[i].pending = 0, false
	}
}

func (s *staging) close(ctx driver.Context) error {
	var err error
	for _, h := range s.halves {
		if h.mem != nil {
			err = cmp.Or(err, ctx.FreePinned(h.mem))
		}
		if h.event != nil {
			err = cmp.Or(err, h.event.Close())
		}
	}
	return err
}
