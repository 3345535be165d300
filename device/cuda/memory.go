package cuda

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"

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

// Download copies from src to dst, after all earlier work.
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
	size := b.elementBytes()
	for done, n := 0, dst.Len(); ; {
		part, err := d.staging.next(min(n-done, stagingWords) * size)
		if err != nil {
			return d.failed(err)
		}
		if len(part) > 0 {
			if err := d.stream.ToHost(part, b.address(off+done)); err != nil {
				return d.failed(err)
			}
		}
		if err := d.finish(); err != nil {
			return err
		}
		d.staging.clear()
		decode(dst, done, part)
		if done += len(part) / size; done == n {
			return nil
		}
	}
}

// encode writes the elements of src from element i on to part.
func encode(part []byte, src device.HostSlice, i int) {
	n := len(part) / wordBytes
	switch {
	case src.U8 != nil:
		copy(part, src.U8[i:])
	case src.I32 != nil:
		for k, v := range src.I32[i:][:n] {
			binary.LittleEndian.PutUint32(part[k*wordBytes:], uint32(v))
		}
	case src.F32 != nil:
		for k, v := range src.F32[i:][:n] {
			binary.LittleEndian.PutUint32(part[k*wordBytes:], math.Float32bits(v))
		}
	default:
		for k, v := range src.F64[i:][:n] {
			binary.LittleEndian.PutUint32(part[k*wordBytes:], math.Float32bits(float32(v)))
		}
	}
}

// decode fills dst from element i on.
func decode(dst device.HostSlice, i int, part []byte) {
	n := len(part) / wordBytes
	word := func(k int) uint32 { return binary.LittleEndian.Uint32(part[k*wordBytes:]) }
	switch {
	case dst.U8 != nil:
		copy(dst.U8[i:], part)
	case dst.I32 != nil:
		for k := range dst.I32[i:][:n] {
			dst.I32[i+k] = int32(word(k))
		}
	case dst.F32 != nil:
		for k := range dst.F32[i:][:n] {
			dst.F32[i+k] = math.Float32frombits(word(k))
		}
	case dst.F64 != nil:
		for k := range dst.F64[i:][:n] {
			dst.F64[i+k] = float64(math.Float32frombits(word(k)))
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

// staging is pinned memory that transfers go through, used from front to back; when it is full, it waits for the
// stream.
type staging struct {
	stream driver.Stream
	mem    []byte
	used   int
}

const stagingWords = 1 << 20

func newStaging(ctx driver.Context, stream driver.Stream) (*staging, error) {
	mem, err := ctx.Pinned(stagingWords * wordBytes)
	return &staging{stream: stream, mem: mem}, err
}

// next gives a piece that no copy uses.
func (s *staging) next(bytes int) ([]byte, error) {
	if bytes > len(s.mem)-s.used {
		if err := s.stream.Synchronize(); err != nil {
			return nil, err
		}
		s.used = 0
	}
	piece := s.mem[s.used:][:bytes]
	s.used += bytes
	return piece, nil
}

// clear says that the stream was waited for.
func (s *staging) clear() { s.used = 0 }

func (s *staging) close(ctx driver.Context) error { return ctx.FreePinned(s.mem) }
