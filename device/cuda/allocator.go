package cuda

import (
	"cmp"
	"errors"
	"fmt"

	"bilevel/device"
	"bilevel/device/cuda/driver"
)

// Statistics are of an allocator, in bytes.
type Statistics struct {
	InUse, Cached, Peak int64 // Peak of InUse
	Blocks              int   // in use
	Asked, Reused       int   // allocations so far, and those of them that the driver did not see
}

// allocator keeps freed blocks by size: the driver's own calls take longer than a small program and wait for the card.
// One stream uses all memory in order, so that a block may be given again while earlier work on it is not over.
type allocator struct {
	Statistics
	ctx   driver.Context
	exact bool
	size  map[driver.Ptr]int64   // of the blocks in use
	free  map[int64][]driver.Ptr // by size
}

func newAllocator(ctx driver.Context, exact bool) *allocator {
	return &allocator{ctx: ctx, exact: exact, size: map[driver.Ptr]int64{}, free: map[int64][]driver.Ptr{}}
}

const (
	smallest = 512     // bytes
	large    = 1 << 20 // from here on sizes are multiples of
	page     = 2 << 20
)

// rounded is the size of the block for so many bytes, at least one word.
func (a *allocator) rounded(bytes int64) int64 {
	step := int64(smallest)
	switch {
	case a.exact:
		step = wordBytes
	case bytes > large:
		step = page
	}
	return max(step, (bytes+step-1)/step*step)
}

// take gives a block. Where the card has no memory left, the cached blocks go back first. The error wraps
// device.ErrMemory then.
func (a *allocator) take(bytes int64) (driver.Ptr, error) {
	n := a.rounded(bytes)
	a.Asked++
	p := driver.Ptr(0)
	if list := a.free[n]; len(list) > 0 {
		p, a.free[n] = list[len(list)-1], list[:len(list)-1]
		a.Cached -= n
		a.Reused++
	} else {
		var err error
		if p, err = a.ctx.Alloc(n); isShort(err) && a.Cached > 0 {
			if err = a.release(); err == nil {
				p, err = a.ctx.Alloc(n)
			}
		}
		if isShort(err) {
			return 0, fmt.Errorf(
				"%d bytes asked, %d in use in %d blocks: %w (%w)", bytes, a.InUse, a.Blocks, device.ErrMemory, err,
			)
		}
		if err != nil {
			return 0, err
		}
	}
	a.size[p] = n
	a.InUse += n
	a.Blocks++
	a.Peak = max(a.Peak, a.InUse)
	return p, nil
}

func isShort(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Code == driver.OutOfMemory
}

// give takes a block back. A block of a lost context is forgotten.
func (a *allocator) give(p driver.Ptr) error {
	n := a.size[p]
	delete(a.size, p)
	a.InUse -= n
	a.Blocks--
	if a.exact {
		return a.ctx.Free(p)
	}
	a.free[n] = append(a.free[n], p)
	a.Cached += n
	return nil
}

// release gives all cached blocks back to the driver.
func (a *allocator) release() error {
	var err error
	for n, list := range a.free {
		for _, p := range list {
			err = cmp.Or(err, a.ctx.Free(p))
			a.Cached -= n
		}
	}
	clear(a.free)
	return err
}

// close gives everything back.
func (a *allocator) close() error {
	var err error
	for p := range a.size {
		err = cmp.Or(err, a.give(p))
	}
	return cmp.Or(err, a.release())
}
