package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/kind"
	"bilevel/internal/philox"
	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// Every kind gives the bits of internal/philox under every reading of floating point.
func TestRandom(t *testing.T) {
	const seed, step, stream = 0x123456789abcdef0, 77, 5
	for _, float := range []ptx.FloatMode{ptx.Exact, ptx.Pessimistic, ptx.Contract} {
		for _, n := range []int{0, 1, 3, 4, 5, 1031, 5000} {
			for _, l := range []layout{plain, {lead: 1}, strided} {
				t.Run(fmt.Sprint(n, l, float), func(t *testing.T) {
					t.Parallel()
					r := newRig(t, ptx.Options{Sanitize: true, Float: float})
					seeds := put(r, "seed", []int32{0, seed&0xffffffff - 1<<32, 0, seed >> 32})
					steps := put(r, "step", []int32{0, 0, step})
					for what := kind.Bits; what <= kind.Normal; what++ {
						below := uint32(1000)
						p := kernels.Random{Kind: what, N: n, Stream: stream, Below: below,
							Seed: kernels.Strided{Number: seeds, Off: 1, Strides: [3]int{2}},
							Step: kernels.Strided{Number: steps, Off: 2}}
						var size int
						p.Out, size = vector(l, n)
						p.Out.Number = r.guarded("out", size)
						r.run(p.Plan())
						out := get[float32](r, p.Out.Number, size)
						r.untouched(out, p.Out, n, 1)
						real, word := make([]float32, n), make([]int32, n)
						switch what {
						case kind.Bits:
							philox.Bits(word, seed, step, stream, 0)
						case kind.Integers:
							philox.Integers(word, below, seed, step, stream, 0)
						case kind.Uniform:
							philox.Uniforms(real, seed, step, stream, 0)
						case kind.Normal:
							philox.Normals(real, seed, step, stream, 0)
						}
						for i := range n {
							want := math.Float32bits(real[i]) | uint32(word[i])
							require.Equal(t, want, math.Float32bits(out[at(p.Out, i, 0)]),
								"kind %d, element %d", what, i)
						}
					}
				})
			}
		}
	}
}

// The cells where Normal changes its polynomial, and both ends, through a kernel that meets them rarely: 2^18 numbers
// reach the tail hundreds of times.
func TestNormalTail(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: half a million numbers")
	}
	const n = 1 << 18
	r := newRig(t, ptx.Options{})
	zero := put(r, "seed", []int32{0, 0})
	p := kernels.Random{Kind: kind.Normal, N: n, Seed: kernels.Strided{Number: zero},
		Step: kernels.Strided{Number: zero}}
	p.Out = kernels.Strided{Number: r.blank("out", n), Strides: [3]int{1}}
	r.run(p.Plan())
	want, far := make([]float32, n), 0
	philox.Normals(want, 0, 0, 0, 0)
	for i, v := range get[float32](r, p.Out.Number, n) {
		require.Equal(t, want[i], v, "element %d", i)
		if math.Abs(float64(v)) > 3.5 {
			far++
		}
	}
	require.Greater(t, far, 50)
}
