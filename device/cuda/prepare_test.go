package cuda_test

import (
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/sim"
	"bilevel/internal/expr"
)

// A product and its epilogue are one kernel, or the two of a product that is split along k; only an epilogue that is
// too long is a kernel of its own. One extra input is the output itself, and all numbers are small integers.
func TestEpiloguesAreFused(t *testing.T) {
	hash := regexp.MustCompile(`_[0-9a-f]{8}$`)
	for _, c := range []struct {
		m, n, k, steps int
		kernels        []string
	}{
		{35, 40, 12, 1, []string{"gemm_64_a_*"}},
		{35, 40, 520, 1, []string{"gemm_64_a", "gemm_sum_*"}},
		{35, 40, 12, 60, []string{"gemm_64_a", "map_*"}},
		{35, 40, 520, 60, []string{"gemm_64_a", "gemm_sum", "map_*"}},
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
