package bench

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"bilevel/device/cpudevice"
	"bilevel/internal/testrun"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// BenchmarkKernels runs the kernels of `bilevel bench kernels`.
func BenchmarkKernels(b *testing.B) {
	dev := cpudevice.New(0)
	defer dev.Close()
	for _, k := range Kernels() {
		b.Run(strings.ReplaceAll(k.Name, " ", "_"), func(b *testing.B) {
			ex := tensor.NewExecutor(dev)
			defer ex.Close()
			f, err := k.prepare(ex)
			require.NoError(b, err)
			b.SetBytes(int64(k.Bytes))
			b.ResetTimer()
			require.NoError(b, f.Run(b.N))
			if k.Flops > 0 {
				b.ReportMetric(k.Flops*float64(b.N)/b.Elapsed().Seconds()/1e9, "GFLOP/s")
			}
		})
	}
}

// Every kernel is compiled to as few instructions as possible, most to a single one.
func TestKernelsAreFused(t *testing.T) {
	dev := cpudevice.New(1)
	defer dev.Close()
	for _, k := range Kernels() {
		if strings.Contains(k.Name, "16777216") || strings.Contains(k.Name, "2048") || k.Flops > 4e9 {
			continue // the same programs on larger arrays
		}
		ex := tensor.NewExecutor(dev)
		f, err := k.prepare(ex)
		require.NoError(t, err, k.Name)
		want := 1
		switch {
		case strings.HasPrefix(k.Name, "cg update"):
			want = 2 // z += αp and r -= αq have no array in common, so that two instructions read no array twice
		case strings.HasPrefix(k.Name, "gather"):
			want = 3 // the counter, a row of the index, and the rows of the table
		}
		require.Len(t, f.Program().Code, want, k.Name)
		require.NoError(t, f.Run(1))
		require.NoError(t, ex.Close())
	}
}

func TestReport(t *testing.T) {
	dev := cpudevice.New(1)
	defer dev.Close()
	fresh := func() *tensor.Executor { return tensor.NewExecutor(dev) }
	r, err := MeasureKernels(fresh, "axpy 1024", time.Millisecond)
	require.NoError(t, err)
	require.Len(t, r.Kernels, 1)
	require.Positive(t, r.Kernels[0].GBytes)
	text, err := json.Marshal(r)
	require.NoError(t, err)

	slower := *r
	slower.Kernels = []KernelTime{r.Kernels[0]}
	slower.Kernels[0].OfFlops /= 2
	slower.Kernels[0].OfBandwidth /= 2
	var out bytes.Buffer
	n, err := slower.Against(bytes.NewReader(text), &out)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	require.Contains(t, out.String(), "2.00 times the time before  slower")
	_, err = slower.Against(strings.NewReader("no report"), &out)
	require.ErrorContains(t, err, "not a report")
}

// The inputs follow the formula that we share with the peer; one value is computed from the formula by hand.
func TestInputs(t *testing.T) {
	require.Equal(t, uint64(0xE220A8397B1DCDAF), splitmix64(0)) // the generator's first output for the seed 0
	a := array(0, 2, 1, 0)
	require.InDelta(t, 2*float64(uint64(0xE220A8397B1DCDAF)>>40)/(1<<24)-1, a[0], 1e-7)
	for _, l := range labels(100) {
		require.True(t, l >= 0 && l < 10)
	}
}

// Hot loops compute what the peer computes: they give the check values that bench/peers/hotloops.py printed under
// JAX 0.10.2.
func TestHotLoopsAgainstPeer(t *testing.T) {
	want := map[string]float64{
		"mlp300_b64_grad": 1.2205984642213958, "mlp300_b64_hvp": 1.7303018947353341,
		"mlp300_b64_cg10": 20.592230794519914, "mlp300_b64_pgd10": 18.45261557948904,
		"mlp300_b64_mask": 0.00023327590505937225,
		"clean_soba_b64":  1.1280038091054705, "clean_f2sa_b64": 0.11366900949150065,
		"clean_stocbio_b64": 20.72624788437224,
	}
	dev := cpudevice.New(0)
	defer dev.Close()
	fresh := func() *tensor.Executor { return tensor.NewExecutor(dev) }
	for key, check := range want {
		all, err := Choose(HotLoops(), key)
		require.NoError(t, err)
		r, err := Time(all, fresh, 0, func(string, float64) {})
		require.NoError(t, err)
		require.InEpsilon(t, check, r.Check[key], 1e-5, key)
	}
}

// Convolutions compute what the peer computes: they give the check values that bench/peers/convloops.py printed under
// PyTorch 2.15.0. Its comment says how far the norms of a network's derivatives differ between programs. The longest of
// them, an iteration of Fast-BAT, takes BILEVEL_LONG.
func TestConvLoopsAgainstPeer(t *testing.T) {
	within := map[string]float64{"resnet20_b128_fastbat": 2e-3}
	want := map[string]float64{
		"proj64_s32_fwd": 1734.76297, "proj64_s32_dx": 1997.90124, "proj64_s32_dw": 9939.41914,
		"first_s32_fwd": 1884.87156, "first_s32_dx": 2182.05995, "first_s32_dw": 7634.25895,
		"lenet_b64_grad": 3.0763736732277542, "lenet_b64_hvp": 4.7968680362398635,
		"resnet20_b128_fwd": 84.35102967736492, "resnet20_b128_grad": 5.633450849949552,
		"resnet20_b128_dx": 0.017280213407435286, "resnet20_b128_fastbat": 6.2921445127621345,
		"preact18_b64_fwd": 47.57911656840517,
	}
	if !testrun.Size(false, true) {
		delete(want, "resnet20_b128_fastbat")
	}
	if testing.Short() {
		for key := range want {
			if !strings.HasSuffix(key, "_fwd") {
				delete(want, key)
			}
		}
	}
	dev := cpudevice.New(0)
	defer dev.Close()
	for _, w := range ConvLoops() {
		check, ok := want[w.Key]
		if !ok {
			continue
		}
		delete(want, w.Key)
		ex := tensor.NewExecutor(dev)
		p, err := w.Prepare(ex)
		require.NoError(t, err)
		require.NoError(t, p.Call())
		got, err := p.Check()
		require.NoError(t, err)
		require.InEpsilon(t, check, got, max(2e-4, within[w.Key]), w.Key)
		require.NoError(t, ex.Close())
	}
	require.Empty(t, want)
}
