package device

import (
	"fmt"
)

// A Block is what every device knows of a buffer. Devices embed it in their own buffer type, which thereby implements
// Buffer, and register it with their Ledger.
type Block struct {
	typ    Type
	n      int
	bytes  int64
	ledger *Ledger // nil once freed
}

// Type and Len describe the buffer, also after it was freed; Bytes is its size.
func (b *Block) Type() Type         { return b.typ }
func (b *Block) Len() int           { return b.n }
func (b *Block) Bytes() int64       { return b.bytes }
func (b *Block) registered() *Block { return b }

// A Ledger keeps the books of a device's buffers: which of them are in use, how much memory that is, and whether the
// device was closed. The device guards it by its own lock.
type Ledger struct {
	name   string
	info   Info
	closed bool
	live   map[*Block]Buffer
	bytes  int64
	peak   int64
}

// NewLedger returns the ledger of a device. Its errors begin with name.
func NewLedger(name string, realBits int) *Ledger {
	return &Ledger{name: name, info: Info{RealBits: realBits}, live: make(map[*Block]Buffer)}
}

// Open says whether the device can still be used: nil, or the error that it was closed.
func (l *Ledger) Open() error {
	if l.closed {
		return fmt.Errorf("%s: %w", l.name, ErrClosed)
	}
	return nil
}

// Bytes is the size of all buffers in use, Peak the most that it ever was, and Buffers the number of those in use.
func (l *Ledger) Bytes() int64 { return l.bytes }
func (l *Ledger) Peak() int64  { return l.peak }
func (l *Ledger) Buffers() int { return len(l.live) }

// Request describes a new buffer of n elements, or says why the device cannot have it; where it would be larger than
// room bytes, the error wraps ErrMemory. Add registers the buffer when it has its memory.
func (l *Ledger) Request(t Type, n int, room int64) (Block, error) {
	if err := l.Open(); err != nil {
		return Block{}, err
	}
	size := l.info.ElementBytes(t)
	switch {
	case size == 0:
		return Block{}, fmt.Errorf("%s: alloc: unknown type %d", l.name, uint8(t))
	case n < 0:
		return Block{}, fmt.Errorf("%s: alloc: %d elements", l.name, n)
	case int64(n) > room/size:
		return Block{}, fmt.Errorf(
			"%s: alloc: %d elements of %d bytes: there is room for %d bytes, beside %d in use: %w", l.name, n, size,
			room, l.bytes, ErrMemory,
		)
	}
	return Block{typ: t, n: n, bytes: int64(n) * size}, nil
}

// Add registers a buffer, in which the given block, made by Request, is embedded.
func (l *Ledger) Add(b Buffer, block *Block) {
	block.ledger = l
	l.live[block] = b
	l.bytes += block.bytes
	l.peak = max(l.peak, l.bytes)
}

// Check says why a buffer cannot be used: the device was closed, or the buffer was freed or is another device's.
func (l *Ledger) Check(b Buffer) error {
	if err := l.Open(); err != nil {
		return err
	}
	if l.block(b) == nil {
		return fmt.Errorf("%s: %w", l.name, ErrBuffer)
	}
	return nil
}

// Remove takes a buffer off the books. It says whether it was there: nil, a foreign buffer, or one that was freed
// before, is not.
func (l *Ledger) Remove(b Buffer) bool {
	block := l.block(b)
	if block == nil {
		return false
	}
	delete(l.live, block)
	l.bytes -= block.bytes
	block.ledger = nil
	return true
}

func (l *Ledger) block(b Buffer) *Block {
	if mine, ok := b.(interface{ registered() *Block }); ok {
		if block := mine.registered(); block != nil && block.ledger == l {
			return block
		}
	}
	return nil
}

// Close closes the books. Release, where it is not nil, is called for every buffer that was still in use. Closing again
// is an error.
func (l *Ledger) Close(release func(Buffer)) error {
	if err := l.Open(); err != nil {
		return err
	}
	l.closed = true
	for _, b := range l.live {
		l.Remove(b)
		if release != nil {
			release(b)
		}
	}
	return nil
}
