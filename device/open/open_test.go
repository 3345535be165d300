package open

import (
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/cpu"
	"bilevel/device"
)

func TestOpen(t *testing.T) {
	for name, want := range map[string]string{
		"cpu": "cpu", "ref": "ref", "cuda-sim": "cuda-sim:a100" + way, "cuda-sim:H100": "cuda-sim:h100" + way,
		"cuda-sim:rtx4090,a100": "cuda-sim:rtx4090" + way, "cuda-sim:h100,a100:0": "cuda-sim:h100" + way,
		"cuda-sim:h100,a100:1": "cuda-sim:a100" + way,
	} {
		d, err := Open(name, Options{Threads: 1})
		require.NoError(t, err)
		require.Equal(t, want, d.Info().Name)
		if card, simulated := strings.CutPrefix(strings.TrimSuffix(want, way), "cuda-sim:"); simulated {
			require.Contains(t, d.Info().Detail, "simulated "+strings.ToUpper(card))
		}
		require.NoError(t, d.Close())
	}
}

func TestErrorsSayWhichKind(t *testing.T) {
	for _, c := range []struct {
		name string
		is   error
		text string
	}{
		{"cuda-sim:h10", ErrUnknown, `unknown device: no simulated card "h10": the cards are a100, h100, h200, b200, ` +
			`rtx4090; did you mean "h100"?`},
		{"cuda-sim:a100,", ErrUnknown, `no simulated card ""`},
		{"cuda-sim:a100,v100", ErrUnknown, `no simulated card "v100"`},
		{"cup", ErrUnknown, `unknown device "cup": the devices are auto | cpu[:LEVEL][,direct] | ref | cuda[:N] | ` +
			`cuda-sim[:CARD[,CARD][:N]]; did you mean "cpu"?`},
		{"cudasim", ErrUnknown, `did you mean "cuda-sim"?`},
		{"cpu:avx51", ErrUnknown, `unknown device "cpu:avx51": the levels of the processor are generic, neon, ` +
			`avx2, avx512, amx; did you mean "avx512"?`},
		{"cpu:AVX2", ErrUnknown, `the levels of the processor are generic, neon, avx2`},
		{"cpu:avx2,fast", ErrUnknown, `unknown device "cpu:avx2,fast": after the comma stands direct, or nothing`},
		{"cpu:direct,avx2", ErrUnknown, `after the comma stands direct, or nothing`},
		{"cpu:0", ErrUnknown, `unknown device "cpu:0": the levels of the processor are`},
		{"cpu:", ErrUnknown, `unknown device "cpu:": the devices are`},
		{"cpu::amx", ErrUnknown, `unknown device "cpu::amx"`},
		{"ref:amx", ErrUnknown, `unknown device "ref:amx": the devices are`},
		{"cuda:-1", ErrUnknown, `did you mean "cuda"?`},
		{"cuda:x", ErrUnknown, "cuda:x"},
		{"cuda-sim:", ErrUnknown, "cuda-sim:"},
		{"cuda-sim::1", ErrUnknown, `unknown device "cuda-sim::1"`},
		{"cuda-sim:h100,a100:2", ErrUnknown, `unknown device: no card "2" of h100,a100: they are numbered from 0 to 1`},
		{"cuda-sim:h100:-1", ErrUnknown, `no card "-1" of h100`},
		{"cuda-sim:h100:", ErrUnknown, `no card "" of h100`},
		{"", ErrUnknown, "the devices are"},
		{"opencl", ErrUnknown, "the devices are"},
	} {
		d, err := Open(c.name, Options{})
		require.Nil(t, d)
		require.True(t, errors.Is(err, c.is), "%q: %v", c.name, err)
		require.ErrorContains(t, err, c.text)
	}
	_, err := Open("cpu", Options{Threads: -1})
	require.ErrorContains(t, err, "threads")
}

// The processor opens with the instructions that its name asks for, if it has them.
func TestLevels(t *testing.T) {
	for l, name := range levels {
		d, err := Open("cpu:"+name, Options{Threads: 2})
		if !slices.Contains(cpu.Levels(), cpu.Level(l)) {
			require.ErrorIs(t, err, device.ErrMissing)
			require.ErrorContains(t, err, "device not available: cpu:"+name+": ")
			require.Nil(t, d)
			continue
		}
		require.NoError(t, err)
		info := d.Info()
		require.Positive(t, info.Memory)
		require.Positive(t, info.Free)
		info.Memory, info.Free = 0, 0 // as the machine has them
		require.Equal(t, device.Info{
			Name: "cpu", Detail: runtime.GOARCH + ", " + cpu.Level(l).String(), Threads: 2, RealBits: 32,
			SumBlock: cpu.SumBlock, Alignment: 64,
		}, info)
		require.NoError(t, d.Close())
	}
	for _, name := range []string{"cpu:direct", "cpu:generic,direct"} {
		d, err := Open(name, Options{Threads: 1})
		require.NoError(t, err)
		require.Regexp(t, `, direct convolutions$`, d.Info().Detail)
		require.NoError(t, d.Close())
	}
	_, err := levelOf("avx512", []cpu.Level{cpu.Generic, cpu.AVX2}) // as on a processor without it
	require.ErrorIs(t, err, device.ErrMissing)
	require.EqualError(
		t, err,
		"device not available: cpu:avx512: this processor or this build does not have its instructions, but those of "+
			"generic, avx2",
	)
}

// With TF32 a product rounds its factors to 11 significant bits: 1 + 2^-12 becomes 1.
func TestTF32(t *testing.T) {
	const n = 64
	factor := make([]float32, n*n)
	for i := range factor {
		factor[i] = 1 + 1./(1<<12)
	}
	for _, tf32 := range []bool{false, true} {
		d, err := Open("cuda-sim", Options{TF32: tf32})
		require.NoError(t, err)
		x, err := d.Alloc(device.Real, n*n)
		require.NoError(t, err)
		out, err := d.Alloc(device.Real, n*n)
		require.NoError(t, err)
		require.NoError(t, d.Upload(x, 0, device.Float32s(factor)))
		of, to := device.Dense(0, 0, 1, n, n), device.Dense(1, 0, 1, n, n)
		r, err := d.Prepare(&device.Program{Name: "square", Buffers: []device.Buffer{x, out}, Code: []device.Instr{{
			Op: device.Gemm, Attr: device.GemmAttr{}, In: []device.View{of, of}, Out: []device.View{to},
		}}})
		require.NoError(t, err)
		require.NoError(t, r.Run(1))
		got := make([]float32, n*n)
		require.NoError(t, d.Download(device.Float32s(got), out, 0))
		require.Equal(t, tf32, got[0] == n, "%v", got[0])
		require.InDelta(t, n, got[0], 0.1)
		require.NoError(t, d.Close())
	}
}

func TestListOpensWhatIsThere(t *testing.T) {
	there := map[string]bool{}
	for _, c := range List() {
		there[c.Name] = c.Err == nil
		if c.Err == nil {
			require.NotEmpty(t, c.Info.Name)
		} else {
			require.True(t, errors.Is(c.Err, device.ErrMissing), c.Err)
		}
	}
	require.Contains(t, there, "cuda")
	delete(there, "cuda") // as the machine and the build have it
	require.Equal(t, map[string]bool{"cpu": true, "ref": true, "cuda-sim": true}, there)
}

// Two simulated cards are two devices of one process, with memory of their own.
func TestTwoCards(t *testing.T) {
	first, err := Open("cuda-sim:h100,rtx4090", Options{})
	require.NoError(t, err)
	second, err := Open("cuda-sim:h100,rtx4090:1", Options{})
	require.NoError(t, err)
	require.Equal(t, []int{132, 128}, []int{first.Info().Threads, second.Info().Threads})
	b, err := first.Alloc(device.Real, 3)
	require.NoError(t, err)
	v := []float32{1, 2, 3}
	require.NoError(t, first.Upload(b, 0, device.Float32s(v)))
	require.ErrorContains(t, second.Download(device.Float32s(v), b, 0), "another device")
	require.NoError(t, second.Close())
	clear(v)
	require.NoError(t, first.Download(device.Float32s(v), b, 0))
	require.Equal(t, []float32{1, 2, 3}, v)
	require.NoError(t, first.Close())
}
