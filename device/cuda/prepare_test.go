package cuda_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/sim"
	"bilevel/internal/expr"
)

// A product and its epilogue are one kernel, also where it is split along k; only an epilogue that is too long is a
// kernel of its own. One extra input is the output itself, and all numbers are small integers.
func TestEpiloguesAreFused(t *testing.T) {
	hash := regexp.MustCompile(`_[0-9a-f]{8}$`)
	for _, c := range []struct {
		m, n, k, steps int
		kernels        []string
	}{
		{35, 40, 12, 1, []string{"gemm_64_a_*"}},
		{35, 40, 520, 1, []string{"gemm_64_a_*"}},
		{35, 40, 12, 60, []string{"gemm_64_a", "map_*"}},
		{35, 40, 520, 60, []string{"gemm_64_a", "map_*"}},
	} {
		drv, err := sim.New()
		require.NoError(t, err)
		rec := &recorder{Driver: drv, texts: map[string]bool{}}
		d, err := cuda.New(through(t, rec), cuda.Options{Name: "cuda-sim", Exact: true})
		require.NoError(t, err)

		a, b, out := make([]float32, c.m*c.k), make([]float32, c.k*c.n), make([]float32, c.m*c.n)
		for i := range a {
			a[i] = float32(i%5 - 2)
		}
		for i := range b {
			b[i] = float32(i%7 - 3)
		}
		for i := range out {
			out[i] = float32(i % 11)
		}
		e := &expr.Expr{Steps: []expr.Step{{Arg: 0}, {Arg: 1}}, Outs: []int{1 + c.steps}} // y + steps·out
		for i := range c.steps {
			e.Steps = append(e.Steps, expr.Step{Fn: expr.Add, Args: [3]int{1 + i, 1, 0}})
		}
		e.Steps[2].Args = [3]int{0, 1}
		want := make([]float32, len(out))
		for i := range c.m {
			for j := range c.n {
				y := float32(0)
				for k := range c.k {
					y += a[i*c.k+k] * b[k*c.n+j]
				}
				want[i*c.n+j] = y + float32(c.steps)*out[i*c.n+j]
			}
		}
		p := &device.Program{
			Name: "layer", Buffers: []device.Buffer{upload(t, d, a...), upload(t, d, b...), upload(t, d, out...)},
		}
		target := device.Dense(2, 0, 1, c.m, c.n)
		p.Code = []device.Instr{{Op: device.Gemm, Attr: device.GemmAttr{Epilogue: e}, Out: []device.View{target},
			In: []device.View{device.Dense(0, 0, 1, c.m, c.k), device.Dense(1, 0, 1, c.k, c.n), target}}}
		r, err := d.Prepare(p)
		require.NoError(t, err)
		require.NoError(t, r.Run(1))
		require.Equal(t, want, download(t, d, p.Buffers[2]))

		require.Len(t, rec.graphs, 1)
		var kernels []string
		for _, name := range rec.graphs[0] {
			kernels = append(kernels, hash.ReplaceAllString(name, "_*"))
		}
		require.Equal(t, c.kernels, kernels)
		require.NoError(t, r.Close())
		for _, b := range p.Buffers {
			d.Free(b)
		}
		shut(t, d)
	}
}

// roomy is a driver whose large allocations have little memory behind them: enough to prepare programs.
type roomy struct{ driver.Driver }

type roomyContext struct{ driver.Context }

type roomyStream struct{ driver.Stream }

const little = 4096 // bytes

func (d roomy) Open(i int) (driver.Context, error) {
	c, err := d.Driver.Open(i)
	return roomyContext{c}, err
}

func (c roomyContext) Alloc(bytes int64) (driver.Ptr, error) {
	return c.Context.Alloc(min(bytes, little))
}

func (c roomyContext) Stream() (driver.Stream, error) {
	s, err := c.Context.Stream()
	return roomyStream{s}, err
}

func (s roomyStream) Fill(p driver.Ptr, word uint32, n int64) error {
	return s.Stream.Fill(p, word, min(n, little/4))
}

// A view whose elements lie too far apart for 32-bit places is refused with a remedy when the program is prepared; one
// just within them is not.
func TestFarViewsAreRefused(t *testing.T) {
	const apart = 1 << 24
	drv, err := sim.New("h200")
	require.NoError(t, err)
	d, err := cuda.New(roomy{drv}, cuda.Options{Name: "cuda-sim"})
	require.NoError(t, err)
	for rows, want := range map[int]string{
		256: "",
		257: `cuda-sim: program "far", instruction 0: RowSoftmax takes views whose elements lie within 2^32 places, ` +
			`not shape [257 2] with strides [16777216 1], which lies within 4294967298: copy it to a buffer of its ` +
			`own first`,
	} {
		table, err := d.Alloc(device.Real, rows*apart)
		require.NoError(t, err)
		out, err := d.Alloc(device.Real, 2*rows)
		require.NoError(t, err)
		far := device.View{Buf: 0, Shape: []int{rows, 2}, Strides: []int{apart, 1}}
		r, err := d.Prepare(&device.Program{
			Name: "far", Buffers: []device.Buffer{table, out}, Code: []device.Instr{{
				Op: device.RowSoftmax, Attr: device.SoftmaxAttr{},
				In: []device.View{far}, Out: []device.View{device.Dense(1, 0, rows, 2)},
			}},
		})
		if want == "" {
			require.NoError(t, err)
			require.NoError(t, r.Close())
		} else {
			require.EqualError(t, err, want)
		}
		d.Free(table)
		d.Free(out)
	}
	shut(t, d)
}
