package tensor_test

import (
	"math"
	"math/rand/v2"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/internal/philox"
	. "bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// everywhere runs a test on the reference device and on the processor.
func everywhere(t *testing.T, f func(t *testing.T, ex *Executor)) {
	for _, dev := range []device.Device{ref.New(), cpudevice.New(2)} {
		t.Run(dev.Info().Name, func(t *testing.T) { f(t, tensortest.Executor(t, dev)) })
	}
}

// RandomCrops by plain loops: pad, mirror, crop, with the draws of package philox.
func TestRandomCrops(t *testing.T) {
	const n, h, w, c, b, padding, seed, stream = 5, 4, 6, 3, 40, 2, uint64(77) | 5<<32, 9
	pixels := make([]byte, n*h*w*c)
	for i := range pixels {
		pixels[i] = byte(i*7 + 1)
	}
	index := make([]int32, b)
	for i := range index {
		index[i] = int32(i*3) % n
	}
	everywhere(t, func(t *testing.T, ex *Executor) {
		bytes, reals := ex.Variable("bytes", Byte, n, h, w, c), ex.Variable("reals", Real, n, h, w, c)
		list, step, words := ex.Variable("index", Int, b), ex.Variable("step", Int), ex.Variable("seed", Int, 2)
		out := []*Variable{
			ex.Variable("of bytes", Real, b, h, w, c), ex.Variable("of reals", Real, b, h, w, c),
			ex.Variable("not mirrored", Real, b, h, w, c), ex.Variable("plain", Real, b, h, w, c),
		}
		require.NoError(t, bytes.WriteBytes(pixels))
		numbers := make([]float64, len(pixels))
		for i, p := range pixels {
			numbers[i] = float64(p)
		}
		require.NoError(t, reals.Write(numbers))
		require.NoError(t, list.WriteInts(index))
		require.NoError(t, words.WriteInts([]int32{77, 5}))
		crops := func(images *Variable, padding int, flip bool) *Node {
			return RandomCrops(images.Node(), list.Node(), padding, flip, words.Node(), step.Node(), stream)
		}
		f, err := ex.Compile("crops", func() []Update {
			return []Update{
				{Var: out[0], Value: crops(bytes, padding, true)}, {Var: out[1], Value: crops(reals, padding, true)},
				{Var: out[2], Value: crops(bytes, padding, false)}, {Var: out[3], Value: crops(bytes, 0, false)},
				{Var: step, Value: step.Node().Add(IntConst(1))},
			}
		})
		require.NoError(t, err)
		const shifts = 2*padding + 1
		mirrored, moves := 0, map[[2]int]bool{}
		for s := range uint32(3) {
			require.NoError(t, f.Run(1))
			draws := make([]int32, 2*b)
			philox.Integers(draws, 2*shifts, seed, s, stream, 0)
			want := [4][]float64{}
			for i, k := range index {
				dy, dx := int(draws[i])%shifts-padding, int(draws[b+i])%shifts-padding
				flip := draws[b+i] >= shifts
				if moves[[2]int{dy, dx}] = true; flip {
					mirrored++
				}
				for y := range h {
					for x := range w {
						for ch := range c {
							at := func(y, x int, flip bool) float64 {
								if y < 0 || y >= h || x < 0 || x >= w {
									return 0
								}
								if flip {
									x = w - 1 - x
								}
								return float64(pixels[((int(k)*h+y)*w+x)*c+ch])
							}
							want[0] = append(want[0], at(y+dy, x+dx, flip))
							want[2] = append(want[2], at(y+dy, x+dx, false))
							want[3] = append(want[3], at(y, x, false))
						}
					}
				}
			}
			want[1] = want[0]
			for i, v := range out {
				got, err := v.Read()
				require.NoError(t, err)
				require.Equal(t, want[i], got, "step %d, output %d", s, i)
			}
		}
		require.InDelta(t, 3*b/2, mirrored, 4*math.Sqrt(3*b)/2, "a fair coin")
		require.Greater(t, len(moves), shifts*shifts*3/4)
	})
}

// A wrong index is told, not read somewhere else.
func TestRandomCropsOfWrongIndex(t *testing.T) {
	everywhere(t, func(t *testing.T, ex *Executor) {
		for _, wrong := range []int32{-1, 3} {
			images, index := ex.Variable("images", Byte, 3, 4, 4, 1), ex.Variable("index", Int, 2)
			require.NoError(t, index.WriteInts([]int32{0, wrong}))
			out := ex.Variable("out", Real, 2, 4, 4, 1)
			f, err := ex.Compile("crops", func() []Update {
				crops := RandomCrops(images.Node(), index.Node(), 1, true, Iota(0, 2), IntConst(0), 0)
				return []Update{{Var: out, Value: crops}}
			})
			require.NoError(t, err)
			err = f.Run(1)
			if err == nil {
				err = ex.Sync()
			}
			require.ErrorIs(t, err, device.ErrIndex)
		}
	})
}

// Dropout keeps or drops by the draws, keeps the mean, and its derivative drops the same elements.
func TestDropout(t *testing.T) {
	const n, rate, seed, step, stream = 20000, 0.3, uint64(1) << 32, 4, 2
	draws := make([]float32, n)
	philox.Uniforms(draws, seed, step, stream, 0)
	everywhere(t, func(t *testing.T, ex *Executor) {
		r := rand.New(rand.NewPCG(1, 2))
		x := ex.Variable("x", Real, n)
		values := make([]float64, n)
		for i := range values {
			values[i] = 1 + r.Float64()
		}
		values[0], values[1] = math.Inf(1), math.NaN()
		require.NoError(t, x.Write(values))
		y, slope := ex.Variable("y", Real, n), ex.Variable("slope", Real, n)
		f, err := ex.Compile("dropout", func() []Update {
			d := Dropout(x.Node(), rate, Iota(0, 2), IntConst(step), stream)
			return []Update{{Var: y, Value: d}, {Var: slope, Value: Grad(d.Sum(), x.Node())[0]}}
		})
		require.NoError(t, err)
		require.NoError(t, f.Run(1))
		got, err := y.Read()
		require.NoError(t, err)
		slopes, err := slope.Read()
		require.NoError(t, err)
		dropped := 0
		for i, u := range draws {
			if float64(u) < rate {
				dropped++
				require.Zero(t, got[i])
				require.Zero(t, slopes[i])
				continue
			}
			require.InDelta(t, 1/(1-rate), slopes[i], 1e-6)
			if i > 1 {
				require.InEpsilon(t, values[i]/(1-rate), got[i], 1e-6)
			}
		}
		require.InDelta(t, rate*n, dropped, 4*math.Sqrt(n*rate*(1-rate)))
	})
	x := Full(1, 3)
	require.Equal(t, x, Dropout(x, 0, Iota(0, 2), IntConst(0), 0), "nothing to drop")
}
