// Package cuda is the device that runs programs on an NVIDIA card: an adapter that binds the plans of package kernels,
// and emitted kernels, to buffers, over the CUDA driver or a simulated one. It holds no arithmetic.
//
// All work goes through one stream, in order. A prepared program is made a graph of the driver once, whose kernels wait
// only for those whose memory they use; each repetition is one call. Nothing waits for the card but Download, Sync, the
// value of a Peek, a full staging area, and what frees memory or unloads modules.
package cuda

import (
	"cmp"
	"errors"
	"fmt"
	"sync"

	"bilevel/device"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/emit"
)

// Options say how a device uses its card.
type Options struct {
	Name string // Info().Name, such as "cuda:0"
	Card int    // its number
	// Exact gives every buffer an allocation of its own, of its very size, that ends with Free: what a sanitizer needs.
	// Otherwise sizes are rounded up and memory is kept for the next buffer of its size.
	Exact bool
	// TensorCores rounds the factors of large products to TF32 (kernels.Gemm says how far results move). Its errors are
	// beyond what the conformance suite allows.
	TensorCores bool
	// Loaded, where it is not nil, is told of each module that the driver compiled: its name, the length of its text
	// and the seconds that the driver took to load it and to give its first kernel. A driver that loads lazily (since
	// CUDA 12.2 they do) leaves the work to the second call.
	Loaded func(name string, bytes int, seconds float64)
}

// Device runs programs on a card. Real is float32.
type Device struct {
	name   string
	card   driver.Card
	driver driver.Driver
	given  Options

	mu      sync.Mutex // guards all below
	ctx     driver.Context
	stream  driver.Stream
	memory  *allocator
	staging *staging
	looks   []*peek        // all that were made
	peeks   []*peek        // of them not in use
	waiting sync.WaitGroup // for peeks, without mu
	modules modules
	watch   []*runner // ran kernels that may have found bad indices since the last look
	recent  *runner   // ran last
	fault   error     // what ended the context
	ledger  *device.Ledger
	closed  bool
	runners map[*runner]struct{}
}

var _ device.Device = (*Device)(nil)

// Choose finds the first card of a driver that can run the kernels. Its error wraps device.ErrMissing and says of every
// card why it cannot.
func Choose(d driver.Driver) (card int, err error) {
	cards, err := d.Cards()
	if err != nil {
		return 0, fmt.Errorf("%w: cuda:0: %w", device.ErrMissing, err)
	}
	if len(cards) == 0 {
		return 0, fmt.Errorf("%w: cuda:0: %w", device.ErrMissing, errNoCard)
	}
	why := device.ErrMissing
	for i := range cards {
		err := cards[i].CheckUsable()
		if err == nil {
			return i, nil
		}
		separator := ": "
		if i > 0 {
			separator = "; "
		}
		why = fmt.Errorf("%w%scuda:%d: %w", why, separator, i, err)
	}
	return 0, why
}

var errNoCard = errors.New("the NVIDIA driver finds no card")

// New opens a card of a driver. Its error wraps device.ErrMissing where there is no such card, or the card or the
// driver is too old.
func New(d driver.Driver, o Options) (*Device, error) {
	cards, err := d.Cards()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", device.ErrMissing, o.Name, err)
	}
	switch n := len(cards); {
	case n == 0:
		return nil, fmt.Errorf("%w: %s: %w", device.ErrMissing, o.Name, errNoCard)
	case o.Card < 0 || o.Card >= n:
		return nil, fmt.Errorf(
			"%w: %s: the NVIDIA driver finds %d cards, numbered from 0", device.ErrMissing, o.Name, n,
		)
	}
	if err := cards[o.Card].CheckUsable(); err != nil {
		return nil, fmt.Errorf("%w: %s: %w", device.ErrMissing, o.Name, err)
	}
	ctx, err := d.Open(o.Card)
	if err != nil {
		return nil, notOpened(o.Name, err)
	}
	dev := &Device{
		name: o.Name, card: cards[o.Card], driver: d, given: o, ctx: ctx,
		modules: modules{byText: map[string]*module{}}, runners: map[*runner]struct{}{},
		ledger: device.NewLedger(o.Name, 32),
	}
	if err := dev.begin(o.Exact); err != nil {
		if !isSticky(err) {
			_ = dev.giveBack() // the error that counts is known
		}
		_ = ctx.Close()
		return nil, notOpened(o.Name, err)
	}
	return dev, nil
}

// notOpened is the error of New. After a fault no card of the process opens any more.
func notOpened(name string, err error) error {
	if isSticky(err) {
		return fmt.Errorf("%s: %w: %w; %s", name, device.ErrLost, err, remedy)
	}
	return fmt.Errorf("%s: %w", name, err)
}

const remedy = "start the program again to use a card"

// begin takes what a device always has.
func (d *Device) begin(exact bool) (err error) {
	if d.stream, err = d.ctx.Stream(); err != nil {
		return err
	}
	d.memory = newAllocator(d.ctx, exact)
	d.staging, err = newStaging(d.ctx, d.stream)
	return err
}

// Info describes the device.
func (d *Device) Info() device.Info {
	return device.Info{
		Name: d.name,
		Detail: fmt.Sprintf(
			"%s, compute capability %d.%d, %.0f GB", d.card.Name, d.card.Capability[0], d.card.Capability[1],
			float64(d.card.Memory)/1e9,
		),
		Threads:  d.card.Processors,
		RealBits: 32,
		SumBlock: emit.SumBlock,
		Lacks:    lacks(),
		Async:    true,

		Memory:    d.card.Memory,
		Free:      d.free(),
		Alignment: alignment,
	}
}

// alignment is that of cuMemAlloc (CUDA C++ Programming Guide, "Size and Alignment Requirement").
const alignment = 256

// free is what the driver has left and what the device keeps for the next buffers.
func (d *Device) free() int64 {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ready() != nil {
		return 0
	}
	free, err := d.ctx.FreeMemory()
	if err != nil {
		return 0
	}
	return min(free+d.memory.Cached, d.card.Memory)
}

// ready says why the device cannot be used.
func (d *Device) ready() error {
	switch {
	case d.closed:
		return fmt.Errorf("%s: the device is closed", d.name)
	case d.fault != nil:
		return d.fault
	}
	return nil
}

// failed names a driver's error; after one that ends the context, the device repeats it at every call.
func (d *Device) failed(err error) error {
	if err == nil || d.fault != nil {
		return err
	}
	if !isSticky(err) {
		return fmt.Errorf("%s: %w", d.name, err)
	}
	last := ""
	if d.recent != nil {
		last = ", the last to run was " + d.recent.where(err)
	}
	d.fault = fmt.Errorf("%s: %w%s: %w; %s", d.name, device.ErrLost, last, err, remedy)
	return d.fault
}

func isSticky(err error) bool {
	var e *driver.Error
	return errors.As(err, &e) && e.Sticky()
}

// Sync waits for all earlier work.
func (d *Device) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ready(); err != nil {
		return err
	}
	return d.finish()
}

// finish waits and asks for bad indices.
func (d *Device) finish() error {
	if len(d.watch) > 0 {
		return d.checkIndices()
	}
	return d.failed(d.stream.Synchronize())
}

// Close waits for all work and frees everything. It fails where work was lost, which nobody was told of; the device is
// closed all the same.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.closed {
		return fmt.Errorf("%s: the device is closed", d.name)
	}
	d.closed = true
	d.mu.Unlock() // those who wait for a number end with the work before it, and then take the lock
	d.waiting.Wait()
	d.mu.Lock()
	if d.fault != nil { // a lost context takes everything with it
		_ = d.ctx.Close()
		return nil
	}
	errs := []error{d.finish()}
	if d.fault == nil {
		for r := range d.runners {
			errs = append(errs, d.failed(r.release()))
		}
		for _, m := range d.modules.byText {
			errs = append(errs, d.failed(m.Unload()))
		}
		errs = append(errs, d.failed(d.giveBack()))
	}
	return cmp.Or(append(errs, d.failed(d.ctx.Close()))...)
}

// giveBack frees what begin and Peek took: a primary context keeps it otherwise, for other users of the card.
func (d *Device) giveBack() error {
	var err error
	for _, p := range d.looks {
		err = cmp.Or(err, p.event.Close(), d.ctx.FreePinned(p.word))
	}
	if d.staging != nil {
		err = cmp.Or(err, d.staging.close(d.ctx))
	}
	if d.memory != nil {
		err = cmp.Or(err, d.memory.close())
	}
	if d.stream != nil {
		err = cmp.Or(err, d.stream.Close())
	}
	return err
}

// Statistics of the card's memory.
func (d *Device) Statistics() Statistics {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.memory.Statistics
}
