package cpu

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// sortedPlaces is the definition: places of all elements, largest first, equals in the order of their places.
func sortedPlaces(x []float32) []int32 {
	places := make([]int32, len(x))
	for i := range places {
		places[i] = int32(i)
	}
	slices.SortStableFunc(places, func(i, j int32) int { // cmp.Compare puts NaN below all numbers
		a, b := float64(x[i]), float64(x[j])
		if aNaN, bNaN := math.IsNaN(a), math.IsNaN(b); aNaN || bNaN {
			return cmp.Compare(a, b)
		}
		return -cmp.Compare(a, b)
	})
	return places
}

// kthPlaces finds the place for every given k by one operation.
func kthPlaces(t testing.TB, p *Pool, ks []int, parts ...Array) []int32 {
	out, k := rowMajorInt([]int32{-7, -7, -7}, 1), rowMajorInt([]int32{0, 0, 0}, 1)
	out.Off, k.Off = 1, 2
	op := NewKthLargest(p, out, k, parts)
	places := make([]int32, len(ks))
	for i, n := range ks {
		k.Int[2] = int32(n)
		require.NoError(t, hold(p, op))
		places[i] = out.Int[1]
	}
	require.Equal(t, []int32{-7, out.Int[1], -7}, out.Int)
	return places
}

// upTo lists 1…n, or some of them.
func upTo(n int) (ks []int) {
	for k := 1; k <= n; k += 1 + k/20 {
		ks = append(ks, k)
	}
	if ks[len(ks)-1] != n {
		ks = append(ks, n)
	}
	return ks
}

func some(places []int32, ks []int) []int32 {
	list := make([]int32, len(ks))
	for i, k := range ks {
		list[i] = places[k-1]
	}
	return list
}

// special are numbers whose order is easily got wrong.
var special = []float32{
	0, float32(math.Copysign(0, -1)), 1, -1, 1, float32(math.NaN()), math.Float32frombits(0xffc00123),
	math.Float32frombits(0x7f800001), math.Float32frombits(0xff800001), float32(math.Inf(1)), float32(math.Inf(-1)),
	math.MaxFloat32, -math.MaxFloat32, math.SmallestNonzeroFloat32, -math.SmallestNonzeroFloat32, 0x1p-126, -0x1p-126,
	0x1.fffffcp-127, -0x1.fffffcp-127, 1 + 0x1p-23, 1 - 0x1p-24, 2, 0x1p-23,
}

func TestKthLargest(t *testing.T) {
	p := newPool(t, 3)
	r := rng(17)
	fills := map[string]func() float32{
		"normal":  func() float32 { return float32(r.NormFloat64()) },
		"few":     func() float32 { return float32(r.IntN(3) - 1) },
		"equal":   func() float32 { return -2.5 },
		"special": func() float32 { return special[r.IntN(len(special))] },
		"bits":    func() float32 { return math.Float32frombits(r.Uint32()) },
		"close":   func() float32 { return math.Float32frombits(0x3f800000 + r.Uint32N(4096)) },
	}
	for name, fill := range fills {
		check := func(n int, layout string) {
			x := scattered(r, layout, n)
			for i := range x.Real {
				x.Real[i] = fill()
			}
			ks := upTo(n)
			require.Equal(
				t, some(sortedPlaces(elements(x)), ks), kthPlaces(t, p, ks, x), "%s, %d elements, %s", name, n, layout,
			)
		}
		for n := 1; n <= 70; n++ {
			check(n, layouts[n%len(layouts)])
		}
		for _, n := range []int{blockLen - 1, blockLen, blockLen + 1, 3*blockLen + 5} {
			check(n, "dense")
			check(n, "spaced")
		}
		if testing.Short() && name != "few" {
			continue // under the race detector a large one takes seconds
		}
		check(2*segmentLen+77, "dense")
		if testing.Short() {
			continue
		}
		check(segmentLen, "dense")
		check(segmentLen+77, "spaced")
	}
}

// Several arrays are one: places go on from one to the next, whatever their sizes and strides.
func TestKthLargestOfSeveral(t *testing.T) {
	p := newPool(t, 2)
	r := rng(18)
	for _, sizes := range [][]int{
		{3, 1, 4}, {0, 5, 0, 0, 2, 0}, {1, 1, 1}, {segmentLen + 3, 10, 0, 2*segmentLen - 1, 1},
	} {
		var parts []Array
		var all []float32
		for i, n := range sizes {
			a := scattered(r, layouts[i%len(layouts)], n)
			for j := range a.Real {
				a.Real[j] = float32(r.IntN(1 + n/3))
			}
			if n == 10 {
				a.Strides[0] = 0 // one element, ten times
			}
			parts, all = append(parts, a), append(all, elements(a)...)
		}
		ks := upTo(len(all))
		require.Equal(t, some(sortedPlaces(all), ks), kthPlaces(t, p, ks, parts...), "%v", sizes)
	}
}

func TestKthLargestOfBadK(t *testing.T) {
	p := newPool(t, 2)
	out, k := rowMajorInt([]int32{-7}, 1), rowMajorInt([]int32{0}, 1)
	op := NewKthLargest(p, out, k, []Array{rowMajor([]float32{1, 3}, 2), rowMajor([]float32{2}, 1)})
	for _, bad := range []int32{0, -1, 4, math.MaxInt32, math.MinInt32} {
		k.Int[0] = bad
		err := hold(p, op)
		require.ErrorIs(t, err, ErrIndex)
		require.ErrorContains(t, err, fmt.Sprintf("KthLargest: k is %d, there are 3 elements", bad))
		require.Equal(t, int32(-7), out.Int[0])
	}
	k.Int[0] = 2
	require.NoError(t, hold(p, op)) // and goes on
	require.Equal(t, int32(2), out.Int[0])
}

// Keys have the order of the numbers, bit pattern by bit pattern.
func TestKeys(t *testing.T) {
	r := rng(19)
	for range 200_000 {
		a, b := math.Float32frombits(r.Uint32()), math.Float32frombits(r.Uint32())
		if r.IntN(2) == 0 {
			b = special[r.IntN(len(special))]
		}
		want := cmp.Compare(a, b)
		if a != a || b != b {
			want = -want // NaN is the largest here
		}
		if got := cmp.Compare(keyOf(a), keyOf(b)); got != want {
			t.Fatalf(
				"%v (%#x) and %v (%#x): keys compare %d, numbers %d", a, math.Float32bits(a), b, math.Float32bits(b),
				got, want,
			)
		}
	}
}

// FuzzKthLargest compares with sorting: bytes are numbers, cut into parts of any length.
func FuzzKthLargest(f *testing.F) {
	f.Add([]byte{1, 2, 3, 4, 5, 6, 7, 8}, uint16(1), uint8(1))
	f.Add([]byte{0, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0xc0, 0x7f, 0, 0, 0xc0, 0xff, 1, 0, 0, 0x80}, uint16(3), uint8(2))
	p := newPool(f, 2)
	f.Fuzz(func(t *testing.T, data []byte, k uint16, cut uint8) {
		var x []float32
		for ; len(data) >= 4; data = data[4:] {
			x = append(
				x, math.Float32frombits(uint32(data[0])|uint32(data[1])<<8|uint32(data[2])<<16|uint32(data[3])<<24),
			)
		}
		if len(x) == 0 {
			return
		}
		var parts []Array
		for rest := x; len(rest) > 0; {
			n := min(len(rest), 1+int(cut))
			parts, rest = append(parts, rowMajor(rest[:n:n], n)), rest[n:]
		}
		ks := []int{1 + int(k)%len(x)}
		require.Equal(t, some(sortedPlaces(x), ks), kthPlaces(t, p, ks, parts...))
	})
}

func BenchmarkKthLargest(b *testing.B) {
	for _, n := range []int{1000, 100_000, 10_000_000} {
		x := rowMajor(normals(rng(1), n), n)
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			forThreads(b, func(b *testing.B, p *Pool) {
				b.SetBytes(int64(4 * n))
				benchRun(
					b,
					p,
					NewKthLargest(
						p, rowMajorInt(make([]int32, 1), 1), rowMajorInt([]int32{int32(n / 5)}, 1), []Array{x},
					),
				)
			})
		})
	}
}
