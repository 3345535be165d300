// Package report measures a card: every kernel at three sizes beside what the card's peaks allow and what the model of
// internal/ptx estimates, and how long the driver takes to compile each module. `bilevel doctor --device cuda` prints
// it.
package report

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/sim"
)

// Report is what is known of a card. Fractions are of 1, times in seconds; null stands for what is not known.
type Report struct {
	Card    Card     `json:"card"`
	Timing  string   `json:"timing"`  // in words: what the times are and how they were taken
	Model   *Model   `json:"model"`   // null: no known card is like this one
	Kernels []Row    `json:"kernels"` // by scene, then by size
	Modules []Module `json:"modules"` // in the order in which they were loaded
}

// Card is what the driver says.
type Card struct {
	Name           string `json:"name"`
	Simulated      bool   `json:"simulated"` // nothing below was measured then
	Driver         string `json:"driver"`    // the CUDA version it is made for, "12.2"
	Capability     string `json:"compute_capability"`
	Processors     int    `json:"multiprocessors"`
	MemoryBytes    int64  `json:"memory_bytes"`
	L2Bytes        int    `json:"l2_bytes"` // 0: not known, as the next two
	MemoryClockMHz int    `json:"memory_clock_mhz"`
	BusBits        int    `json:"memory_bus_bits"`
	ClockMHz       int    `json:"clock_mhz"` // the highest
}

// Row is a scene at a size.
type Row struct {
	Name    string   `json:"name"`
	Size    string   `json:"size"` // "small", "medium" or "large"
	Shape   string   `json:"shape"`
	Kernels []string `json:"kernels"` // launched, in order
	Bytes   float64  `json:"bytes"`   // the least that the operation moves: every operand once
	FLOP    float64  `json:"flop"`    // the least that it does; 0 where counting makes no sense

	// Bound is the peak that sets the least time: "memory", "fp32" or "tf32"; "" without a model.
	Bound   string   `json:"bound"`
	Seconds *float64 `json:"seconds"` // median; null where it failed
	// OfPeak is the least time by that peak over Seconds; above 1 where the L2 cache holds the operands.
	OfPeak   *float64 `json:"of_peak"`
	Estimate *float64 `json:"estimate_seconds"` // by the model, launches included
	Ratio    *float64 `json:"measured_over_estimate"`
	Prepare  float64  `json:"prepare_seconds"` // of the host: planning, compiling what was not loaded yet, capturing
	Error    string   `json:"error,omitempty"`
}

// Module is PTX text that the driver compiled.
type Module struct {
	Name    string  `json:"name"`
	Bytes   int     `json:"ptx_bytes"`
	Seconds float64 `json:"load_seconds"` // from the call to its return
}

// Size says how large operations are.
type Size struct {
	Name  string
	Words int // of a vector
	Side  int // of a square product
}

// Sizes are for a card: the large ones exceed its caches.
func Sizes() []Size {
	return []Size{{"small", 1 << 16, 256}, {"medium", 1 << 22, 1024}, {"large", 1 << 26, 4096}}
}

// SimulatedSizes are for a simulated card, which does each in seconds at most; all of them fit the caches of a card.
func SimulatedSizes() []Size {
	return []Size{{"small", 1 << 12, 64}, {"medium", 1 << 15, 128}, {"large", 1 << 18, 256}}
}

// Options say what is done.
type Options struct {
	Sizes    []Size             // nil: Sizes or SimulatedSizes, by the card
	Scenes   []Scene            // nil: all
	Progress func(done, of int) // called after each row; nil: nothing
}

const (
	measured = "measured: median of %d samples by the driver's events after %d runs to warm up, each of as many " +
		"replays of a graph, back to back, as take about %g ms"
	simulated = "simulated: one run under the sanitizer, timed by the model of internal/ptx; nothing was measured, " +
		"and sizes are small"
)

// Sampled is how many blocks of a launch an estimate runs.
const Sampled = 4

// ErrNoCard says that a device is no CUDA card, real or simulated.
var ErrNoCard = errors.New("the device is no CUDA card")

// Make measures the card of a device, which is opened again for it; its error wraps ErrNoCard where there is none. A
// scene that fails is a row with its error; Make fails, with the report so far, where all ends: on a lost card, and
// with ctx's error.
func Make(ctx context.Context, dev device.Device, o Options) (*Report, error) {
	card, ok := dev.(*cuda.Device)
	if !ok {
		return nil, fmt.Errorf("%s: %w", dev.Info().Name, ErrNoCard)
	}
	b := &bench{
		given: card, simulated: sim.Simulates(card.Card()),
		report: &Report{Card: describe(card.Card()), Kernels: []Row{}, Modules: []Module{}},
	}
	b.report.Timing = fmt.Sprintf(measured, samples, warmUp, 1e3*sampleSeconds)
	b.sizes = Sizes()
	if b.simulated {
		b.report.Timing, b.sizes = simulated, SimulatedSizes()
	}
	if o.Sizes != nil {
		b.sizes = o.Sizes
	}
	scenes := o.Scenes
	if scenes == nil {
		scenes = Scenes()
	}
	b.progress = func() {
		if o.Progress != nil {
			o.Progress(len(b.report.Kernels), len(scenes)*len(b.sizes))
		}
	}
	if b.model = ModelOf(card.Card()); b.model != nil {
		b.report.Model = b.model
		b.like = sim.Of(b.model.card)
		b.like.Plain, b.like.Sample = true, Sampled
	}
	var err error
	for _, s := range scenes {
		if err = b.scene(ctx, s); err != nil {
			err = fmt.Errorf("%s: %w", s.Name, err)
			break
		}
	}
	return b.report, cmp.Or(err, b.close())
}

func describe(c driver.Card) Card {
	return Card{
		Name: c.Name, Simulated: sim.Simulates(c),
		Driver:     fmt.Sprintf("%d.%d", c.DriverVersion/1000, c.DriverVersion%1000/10),
		Capability: fmt.Sprintf("%d.%d", c.Capability[0], c.Capability[1]), Processors: c.Processors,
		MemoryBytes: c.Memory, L2Bytes: c.L2, MemoryClockMHz: c.MemoryClockKHz / 1000, BusBits: c.BusBits,
		ClockMHz: c.ClockKHz / 1000,
	}
}
