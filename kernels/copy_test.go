package kernels_test

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// rowMajor are the strides of an array in memory, each line pad longer, axes in the given order, the last fastest.
func rowMajor(shape, order []int, pad int) (strides []int, size int) {
	strides, size = make([]int, len(shape)), 1
	for i := len(order) - 1; i >= 0; i-- {
		strides[order[i]] = size
		size = size*shape[order[i]] + pad
	}
	return strides, size
}

// walk calls f with the places of every point in two arrays.
func walk(shape, a, b []int, f func(i, j int)) {
	if len(shape) == 0 {
		f(0, 0)
		return
	}
	for k := range shape[0] {
		walk(shape[1:], a[1:], b[1:], func(i, j int) { f(i+k*a[0], j+k*b[0]) })
	}
}

var copyCases = []struct {
	shape, from, to []int // extents; order of the axes in memory, nil for a source that repeats one element
	pad             int
	entry           string // of the kernel expected to run
}{
	{[]int{}, []int{}, []int{}, 0, "_strided"}, {[]int{0}, []int{0}, []int{0}, 0, ""},
	{[]int{1031}, []int{0}, []int{0}, 0, "_dense"}, {[]int{33, 67}, []int{0, 1}, []int{0, 1}, 0, "_dense"},
	{[]int{33, 67}, []int{0, 1}, []int{0, 1}, 3, "_strided"}, {[]int{33, 67}, []int{1, 0}, []int{0, 1}, 0, "_turned"},
	{[]int{33, 67}, []int{0, 1}, []int{1, 0}, 3, "_turned"}, {[]int{33, 67}, []int{1, 0}, []int{1, 0}, 0, "_dense"},
	{[]int{33, 67}, nil, []int{0, 1}, 0, "_strided"}, {[]int{9, 13, 17}, []int{2, 1, 0}, []int{0, 1, 2}, 0, "_turned"},
	{[]int{9, 13, 17}, []int{1, 0, 2}, []int{0, 1, 2}, 1, "_strided"},
	{[]int{2, 3, 4, 5, 6}, []int{4, 3, 2, 1, 0}, []int{0, 1, 2, 3, 4}, 1, "_strided"},
	{[]int{3, 9, 2, 8}, []int{2, 0, 3, 1}, []int{0, 1, 2, 3}, 1, "_turned"},
	{[]int{2, 3, 2, 3, 2, 3}, []int{5, 3, 1, 0, 2, 4}, []int{0, 1, 2, 3, 4, 5}, 0, "_strided"},
	{[]int{2, 3, 2, 3, 2, 3, 2}, []int{6, 5, 3, 1, 0, 2, 4}, []int{0, 1, 2, 3, 4, 5, 6}, 0, "_strided"},
	{[]int{1, 19, 1, 1, 23}, []int{4, 3, 2, 1, 0}, []int{0, 1, 2, 3, 4}, 0, "_turned"},
	{[]int{1, 19, 1, 1, 23}, []int{4, 3, 2, 1, 0}, []int{0, 1, 2, 3, 4}, 2, "_strided"},
}

func TestCopy(t *testing.T) {
	edges := []float32{
		0, float32(math.Copysign(0, -1)), 1.5, -1.5, 2147483520, 2147483648, -2147483648, -2147483904, 3e9, -3e38,
		float32(math.Inf(1)), float32(math.Inf(-1)), float32(math.NaN()), 0x1p-149, -0.999, 16777217,
	}
	for cast, prefix := range []string{"copy", "to_real", "to_int"} {
		for n, c := range copyCases {
			t.Run(fmt.Sprint(prefix, c.shape, c.from, c.to, c.pad), func(t *testing.T) {
				t.Parallel()
				r := newRig(t, ptx.Options{Sanitize: true, Seed: uint64(n)})
				from, size := make([]int, len(c.shape)), 1
				if c.from != nil {
					from, size = rowMajor(c.shape, c.from, c.pad)
				}
				source := make([]uint32, max(size, 1))
				for i := range source {
					source[i] = r.random.Uint32()
					if cast == 2 && i < len(edges) {
						source[i] = math.Float32bits(edges[i])
					}
				}
				to, size := rowMajor(c.shape, c.to, c.pad)
				p := kernels.Copy{Shape: c.shape, Cast: kernels.Cast(cast)}
				p.From = kernels.View{Operand: kernels.Operand{Number: put(r, "from", source)}, Strides: from}
				p.To = kernels.View{Operand: kernels.Operand{Number: r.guarded("to", max(size, 1))}, Strides: to}
				plan := p.Plan()
				for _, l := range plan.Launches {
					require.Equal(t, prefix+c.entry, l.Entry)
				}
				r.run(plan)
				out := get[uint32](r, p.To.Number, max(size, 1))
				inside := map[int]bool{}
				walk(c.shape, from, to, func(i, j int) {
					inside[j] = true
					want := source[i]
					switch cast {
					case 1:
						want = math.Float32bits(float32(int32(want)))
					case 2:
						x := float64(math.Float32frombits(want))
						want = 0
						if x > -2147483649 && x < 2147483648 {
							want = uint32(int32(int64(x)))
						}
					}
					if out[j] != want {
						t.Fatalf("element %d is %#x, want %#x of %#x", j, out[j], want, source[i])
					}
				})
				for j, v := range out {
					if !inside[j] && v != math.Float32bits(guard) {
						t.Fatalf("element %d lies outside the output and became %#x", j, v)
					}
				}
			})
		}
	}
}

func TestFill(t *testing.T) {
	for _, c := range copyCases {
		r := newRig(t, ptx.Options{Sanitize: true})
		to, size := rowMajor(c.shape, c.to, c.pad)
		n := r.guarded("to", max(size, 1))
		r.run(
			kernels.Fill{
				Shape: c.shape, To: kernels.View{Operand: kernels.Operand{Number: n}, Strides: to}, Word: 42,
			}.Plan(),
		)
		out, left := get[uint32](r, n, max(size, 1)), max(size, 1)
		walk(c.shape, to, to, func(i, _ int) {
			require.EqualValues(t, 42, out[i])
			left--
		})
		for _, v := range out {
			if v == math.Float32bits(guard) {
				left--
			}
		}
		require.Zero(t, left)
	}
}

// More planes than a grid has along y are copied element by element.
func TestCopyOfManyPlanes(t *testing.T) {
	shape := []int{65536, 9, 8}
	from, _ := rowMajor(shape, []int{0, 2, 1}, 0)
	to, _ := rowMajor(shape, []int{0, 1, 2}, 0)
	plan := kernels.Copy{Shape: shape, From: kernels.View{Strides: from}, To: kernels.View{Strides: to}}.Plan()
	require.Len(t, plan.Launches, 1)
	require.Equal(t, "copy_strided", plan.Launches[0].Entry)
}

// A thread whose next element would lie beyond 2^31 ends there: the largest sizes there are, on a view that repeats one
// element, of which one block is run.
func TestSizesNearTwoToThe31(t *testing.T) {
	const n = math.MaxInt32
	for name, plan := range map[string]func(from, to int) kernels.Plan{
		"copy": func(from, to int) kernels.Plan {
			return kernels.Copy{Shape: []int{n}, From: view(from, 0), To: view(to, 0)}.Plan()
		},
		"fill": func(_, to int) kernels.Plan { return kernels.Fill{Shape: []int{n}, To: view(to, 0), Word: 7}.Plan() },
	} {
		r := newRig(t, ptx.Options{Sample: 1})
		from, to := put(r, "from", []uint32{7}), put(r, "to", []uint32{0})
		r.run(plan(from, to))
		require.Equal(t, []uint32{7}, get[uint32](r, to, 1), name)
	}
}

func view(number int, strides ...int) kernels.View {
	return kernels.View{Operand: kernels.Operand{Number: number}, Strides: strides}
}
