// Package null is a device that accepts everything, keeps no elements and computes nothing. It validates programs and
// counts what is asked of it: how much memory is taken at its peak, whether everything was given back, how often the
// host talks to the device. Tests of plans, leaks and lifetimes look at that, and so does whoever wants to know what a
// run will need before it begins: everything that is read from a null device is 0, and a run on it takes little time.
package null

import (
	"errors"
	"sync"

	"bilevel/device"
)

// Stats counts what a Device was asked to do since New.
type Stats struct {
	Allocs int // buffers handed out
	Frees  int // buffers given back by Free

	LiveBuffers int // handed out and not given back
	LiveBytes   int // their size
	PeakBytes   int // the most LiveBytes ever was

	Largest      string // the program with most scratch memory, which are its intermediate values
	LargestBytes int    // that memory

	Lacked error // of device.CheckLacks, for the first program with an operation that Info().Lacks

	Uploads       int
	UploadBytes   int
	Downloads     int
	DownloadBytes int
	Copies        int
	Syncs         int

	Prepared    int  // runners handed out
	LiveRunners int  // of these, not closed
	Runs        int  // calls of Runner.Run
	Repetitions int  // the sum of their n
	Work        Work // of all of them
}

// Device is the null device. Calls that could not work on a real device (ranges, types, foreign or freed buffers,
// programs that do not validate, anything after Close) fail here too.
type Device struct {
	mu     sync.Mutex
	info   device.Info
	ledger *device.Ledger
	stats  Stats
}

var _ device.Device = (*Device)(nil)

// buffer is only a size.
type buffer struct{ device.Block }

// memoryBytes bounds what is allocated, so that the sums of bytes do not overflow in any sensible test.
const memoryBytes = 1 << 50

// New returns a null device with all counts zero. It says 32 bits and sums one term after the other; nothing is
// computed, so nothing is promised.
func New() *Device {
	return Like(device.Info{Name: "null", Detail: "computes nothing", Threads: 1, RealBits: 32, SumBlock: 1})
}

// Like returns a null device in the place of another one: it calls itself what that is called, and its numbers have as
// many bits, so that the same run takes the same memory on both.
func Like(info device.Info) *Device {
	info.Memory, info.Alignment = memoryBytes, 1
	return &Device{info: info, ledger: device.NewLedger(info.Name, info.RealBits)}
}

// Stats gives the counts so far.
func (d *Device) Stats() Stats {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.stats
}

// Info describes the device.
func (d *Device) Info() device.Info {
	d.mu.Lock()
	defer d.mu.Unlock()
	info := d.info
	info.Free = memoryBytes - d.ledger.Bytes()
	return info
}

// Alloc counts a buffer; it takes no memory for the elements.
func (d *Device) Alloc(t device.Type, n int) (device.Buffer, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	block, err := d.ledger.Request(t, n, memoryBytes-d.ledger.Bytes())
	if err != nil {
		return nil, err
	}
	b := &buffer{block}
	d.ledger.Add(b, &b.Block)
	d.stats.Allocs++
	d.balance()
	return b, nil
}

// Free counts the buffer as given back. Freeing nil, a foreign buffer or the same buffer again does nothing.
func (d *Device) Free(b device.Buffer) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.ledger.Remove(b) {
		d.stats.Frees++
		d.balance()
	}
}

// balance copies the ledger's sums to the statistics.
func (d *Device) balance() {
	s := &d.stats
	s.LiveBuffers, s.LiveBytes = d.ledger.Buffers(), int(d.ledger.Bytes())
	s.PeakBytes = int(d.ledger.Peak())
}

// Upload checks and counts.
func (d *Device) Upload(dst device.Buffer, off int, src device.HostSlice) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ledger.Check(dst); err != nil {
		return err
	}
	if err := device.CheckUpload(dst, off, src); err != nil {
		return err
	}
	d.stats.Uploads++
	d.stats.UploadBytes += d.bytesOf(src)
	return nil
}

// Download checks, counts and fills dst with zeros.
func (d *Device) Download(dst device.HostSlice, src device.Buffer, off int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ledger.Check(src); err != nil {
		return err
	}
	if err := device.CheckDownload(dst, src, off); err != nil {
		return err
	}
	clear(dst.F32)
	clear(dst.F64)
	clear(dst.I32)
	clear(dst.U8)
	d.stats.Downloads++
	d.stats.DownloadBytes += d.bytesOf(dst)
	return nil
}

// Copy checks and counts.
func (d *Device) Copy(dst device.Buffer, dstOff int, src device.Buffer, srcOff, n int) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := errors.Join(d.ledger.Check(dst), d.ledger.Check(src)); err != nil {
		return err
	}
	if err := device.CheckCopy(dst, dstOff, src, srcOff, n); err != nil {
		return err
	}
	d.stats.Copies++
	return nil
}

// bytesOf is the size that host memory has on the device.
func (d *Device) bytesOf(h device.HostSlice) int { return h.Len() * int(d.info.ElementBytes(h.Type())) }

// Sync counts.
func (d *Device) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ledger.Open(); err != nil {
		return err
	}
	d.stats.Syncs++
	return nil
}

// Close frees every buffer, which Stats.Frees does not count: a test of leaks looks at LiveBuffers before Close.
func (d *Device) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.ledger.Close(nil); err != nil {
		return err
	}
	d.balance()
	return nil
}
