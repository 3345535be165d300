package report

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/sim"
)

func newDriver(t testing.TB, card string) *sim.Driver {
	drv, err := sim.New(card)
	require.NoError(t, err)
	return drv
}

func open(t testing.TB, card string) *cuda.Device {
	d, err := cuda.New(newDriver(t, card), cuda.Options{Name: "cuda-sim", Exact: true})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, d.Close()) })
	return d
}

// prepared gives the kernels of a scene at a size.
func prepared(t *testing.T, d *cuda.Device, s Scene, size Size) []string {
	w := s.work(size)
	p := &device.Program{Name: s.Name, Code: []device.Instr{w.instr}}
	for _, o := range w.operands {
		b, err := d.Alloc(o.typ, o.n)
		require.NoError(t, err)
		defer d.Free(b)
		p.Buffers = append(p.Buffers, b)
	}
	r, err := d.Prepare(p)
	require.NoError(t, err, s.Name)
	defer r.Close()
	return cuda.Kernels(r)
}

// Each kernel that is shipped is in some scene at the sizes of a card.
func TestEveryKernelIsMeasured(t *testing.T) {
	entry := regexp.MustCompile(`\.visible \.entry (\w+)\(`)
	files, err := filepath.Glob("../../../kernels/ptx/*.ptx")
	require.NoError(t, err)
	missing := map[string]bool{}
	for _, f := range files {
		text, err := os.ReadFile(f)
		require.NoError(t, err)
		for _, m := range entry.FindAllSubmatch(text, -1) {
			missing[string(m[1])] = true
		}
	}
	require.Greater(t, len(missing), 40)
	var cards [2]*cuda.Device
	for i := range cards {
		cards[i], err = open(t, "h200").Again(cuda.Options{Exact: true, TensorCores: i == 1})
		require.NoError(t, err)
		defer cards[i].Close()
	}
	for _, s := range Scenes() {
		d := cards[0]
		if s.Tensor {
			d = cards[1]
		}
		for _, size := range Sizes() {
			for _, k := range prepared(t, d, s, Size{Words: size.Words >> 12, Side: min(size.Side, 2048)}) {
				delete(missing, k)
			}
		}
	}
	require.Empty(t, missing, "kernels without a scene")
}

// The times of a simulated card are the model's: a sample of the blocks tells the same as all of them.
func TestSampledEstimate(t *testing.T) {
	d := open(t, "h100")
	sizes := []Size{{"small", 1 << 12, 64}, {"large", 1 << 16, 128}}
	if testing.Short() {
		sizes = sizes[:1]
	}
	rows := 0
	r, err := Make(context.Background(), d, Options{Sizes: sizes, Progress: func(done, of int) {
		rows++
		require.Equal(t, rows, done)
		require.Equal(t, len(Scenes())*len(sizes), of)
	}})
	require.NoError(t, err)
	require.Len(t, r.Kernels, rows)
	require.Equal(t, "H100", r.Model.Like)
	require.True(t, r.Card.Simulated)
	for _, k := range r.Kernels {
		require.Empty(t, k.Error, k.Name)
		require.InDelta(t, 1, *k.Ratio, 0.08, "%s, %s", k.Name, k.Size)
		require.Contains(t, []string{"memory", "fp32", "tf32"}, k.Bound)
		require.Positive(t, *k.OfPeak)
		require.Less(t, *k.OfPeak, 1., "%s, %s: the model is no faster than the peaks", k.Name, k.Size)
	}
	loaded := map[string]int{}
	for _, m := range r.Modules {
		loaded[m.Name]++
		require.Positive(t, m.Bytes)
	}
	for name, n := range loaded {
		require.Equal(t, 1, n, name)
	}
	var table strings.Builder
	require.NoError(t, r.WriteTable(&table))
	require.Regexp(
		t, `(?m)^gemm, square +small +64x64 by 64x64 +\d+\.\d\d +[\d.]+ +[\d.]+ +[\d.]+ % \w+ +[\d.]+ +1\.0\d +gemm_64`,
		table.String(),
	)
	require.Contains(t, table.String(), "of peak (simulated)")
}

// real passes a simulated card off as one that must be measured.
type real struct {
	driver.Driver
	change func(*driver.Card)
}

func (r real) Cards() ([]driver.Card, error) {
	cards, err := r.Driver.Cards()
	for i := range cards {
		cards[i].Name = strings.TrimPrefix(cards[i].Name, "simulated ")
		if r.change != nil {
			r.change(&cards[i])
		}
	}
	return cards, err
}

func makeFew(t *testing.T, drv *sim.Driver, change func(*driver.Card)) (*Report, error) {
	drv.Plain, drv.Sample = true, Sampled
	d, err := cuda.New(real{drv, change}, cuda.Options{Name: "cuda:0"})
	require.NoError(t, err)
	few := slices.DeleteFunc(
		Scenes(), func(s Scene) bool { return s.Name != "map, axpy" && s.Name != "gather, rows of 128" },
	)
	require.Len(t, few, 2)
	r, err := Make(context.Background(), d, Options{Sizes: SimulatedSizes()[:2], Scenes: few})
	return r, errors.Join(err, d.Close())
}

// A card whose clock is told to be half as fast has half the peaks and other estimates; one that nobody knows has none.
func TestModels(t *testing.T) {
	r, err := makeFew(t, newDriver(t, "h200"), nil)
	require.NoError(t, err)
	require.Contains(t, r.Timing, "measured: median of 9 samples")
	for _, k := range r.Kernels {
		require.InDelta(t, 1, *k.Ratio, 1e-2)
	}
	slow, err := makeFew(
		t, newDriver(t, "h200"), func(c *driver.Card) {
			c.ClockKHz /= 1000
			c.MemoryClockKHz, c.BusBits = 1000e3, 4096
		},
	)
	require.NoError(t, err)
	require.InEpsilon(t, r.Model.FP32/1000, slow.Model.FP32, 1e-9)
	require.InEpsilon(t, 1.024e12, slow.Model.DRAM, 1e-9)
	slower := 0 // at the full clock most of these small kernels take the least time that any kernel takes
	for i, k := range slow.Kernels {
		require.GreaterOrEqual(t, *k.Estimate, *r.Kernels[i].Estimate)
		if *k.Estimate > *r.Kernels[i].Estimate {
			slower++
		}
	}
	require.Positive(t, slower)
	unknown, err := makeFew(
		t, newDriver(t, "h200"), func(c *driver.Card) { c.Name, c.Capability = "NVIDIA X1", [2]int{42, 0} },
	)
	require.NoError(t, err)
	require.Nil(t, unknown.Model)
	for _, k := range unknown.Kernels {
		require.NotNil(t, k.Seconds)
		require.Nil(t, k.Estimate)
		require.Nil(t, k.OfPeak)
	}
	require.NoError(t, unknown.WriteTable(io.Discard))
}

// The whole table at the sizes of a card, which a simulated one can do as a sample.
func TestSizesOfACard(t *testing.T) {
	if os.Getenv("BILEVEL_LONG") == "" {
		t.Skip("long: gigabytes and minutes; BILEVEL_LONG=1 runs it")
	}
	drv := newDriver(t, "h200")
	drv.Plain, drv.Sample = true, Sampled
	d, err := cuda.New(drv, cuda.Options{Name: "cuda-sim", Exact: true})
	require.NoError(t, err)
	begin := time.Now()
	r, err := Make(
		context.Background(),
		d,
		Options{
			Sizes:    Sizes(),
			Progress: func(done, of int) { t.Logf("%d of %d: %.1f s", done, of, time.Since(begin).Seconds()) },
		},
	)
	require.NoError(t, err)
	var table strings.Builder
	require.NoError(t, r.WriteTable(&table))
	t.Log(table.String())
	for _, k := range r.Kernels {
		require.Empty(t, k.Error, k.Name)
		require.Less(
			t, *k.OfPeak, 2., "%s, %s: the model counts an array that is read and written in place once, Bytes twice",
			k.Name, k.Size,
		)
		require.InDelta(t, 1, *k.Ratio, 1e-6, "the same sample")
	}
	require.NoError(t, d.Close())
}

func TestNamesOfCards(t *testing.T) {
	for name, want := range map[string]string{
		"NVIDIA H100 80GB HBM3": "H100", "NVIDIA A100-SXM4-80GB": "A100", "NVIDIA GeForce RTX 4090": "RTX4090",
		"NVIDIA H200": "H200",
		// GH200: by its compute capability
		"NVIDIA GH200 480GB": "H100", "NVIDIA B200": "B200", "simulated RTX4090": "RTX4090",
	} {
		m := ModelOf(driver.Card{Name: name, Capability: [2]int{9, 0}})
		require.NotNil(t, m, name)
		require.Equal(t, want, m.Like, name)
	}
	require.Nil(t, ModelOf(driver.Card{Name: "NVIDIA GeForce RTX 3090", Capability: [2]int{8, 6}}))
}

// A scene without memory is a row that says so; a lost card ends the report, with the rows so far.
func TestFailures(t *testing.T) {
	drv := newDriver(t, "a100")
	drv.Memory = 1 << 20 // the pair of Gather is larger at the second size
	d, err := cuda.New(drv, cuda.Options{Name: "cuda-sim", Exact: true})
	require.NoError(t, err)
	few := slices.DeleteFunc(Scenes(), func(s Scene) bool { return s.Name != "map, Adam" })
	r, err := Make(
		context.Background(), d, Options{Sizes: []Size{{"small", 1 << 10, 16}, {"large", 1 << 17, 16}}, Scenes: few},
	)
	require.NoError(t, err)
	require.Empty(t, r.Kernels[0].Error)
	require.Contains(t, r.Kernels[1].Error, "out of memory")
	require.Nil(t, r.Kernels[1].Seconds)
	require.NoError(t, r.WriteTable(io.Discard))
	require.NoError(t, d.Close())

	drv = newDriver(t, "a100")
	drv.Faults.Sticky = 2
	d, err = cuda.New(drv, cuda.Options{Name: "cuda-sim", Exact: true})
	require.NoError(t, err)
	r, err = Make(
		context.Background(), d, Options{Sizes: []Size{{"a", 64, 64}, {"b", 64, 64}, {"c", 64, 64}}, Scenes: few},
	)
	require.ErrorContains(t, err, "the card is lost to this process")
	require.Len(t, r.Kernels, 2)
	require.ErrorIs(t, d.Close(), device.ErrLost) // all devices of a process share its context

	ended, stop := context.WithCancel(context.Background())
	stop()
	d = open(t, "a100")
	_, err = Make(ended, d, Options{Scenes: few})
	require.ErrorIs(t, err, context.Canceled)
	cpu := cpudevice.New(1)
	defer cpu.Close()
	_, err = Make(context.Background(), cpu, Options{})
	require.ErrorIs(t, err, ErrNoCard)
}
