package kernels_test

import (
	"fmt"
	"math"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// kthOrder gives the places of all elements, largest first, equals in the order of their places.
func kthOrder(x []float32) []int32 {
	places := make([]int32, len(x))
	for i := range places {
		places[i] = int32(i)
	}
	slices.SortStableFunc(places, func(i, j int32) int {
		a, b := x[i], x[j]
		switch {
		case a > b || a != a && b == b:
			return -1
		case a < b || b != b && a == a:
			return 1
		}
		return 0
	})
	return places
}

// selection puts arrays of the given sizes onto the card, at different offsets and strides, and makes the plan.
func (r *rig) selection(fill func(r *rig, i int) float32, sizes ...int) (s kernels.KthLargest, all []float32) {
	for i, n := range sizes {
		v := kernels.Part{Size: n, Strided: kernels.Strided{Off: i % 3, Strides: [3]int{1 + i%2}}}
		data := make([]float32, v.Off+n*v.Strides[0]+3)
		for j := range data {
			data[j] = guard
		}
		for j := range n {
			data[at(v.Strided, j, 0)] = fill(r, len(all))
			all = append(all, data[at(v.Strided, j, 0)])
		}
		v.Number = put(r, fmt.Sprint("part ", i), data)
		s.Parts = append(s.Parts, v)
	}
	return s, all
}

// kth runs the plan for every k of the list on one card and compares with sorting.
func (r *rig) kth(s kernels.KthLargest, all []float32, ks ...int) {
	order := kthOrder(all)
	for _, k := range ks {
		s.K = kernels.Strided{Number: put(r, "k", []int32{-9, int32(k), -9}), Off: 1}
		s.Out = kernels.Strided{Number: put(r, "out", []int32{-7, -7, -7}), Off: 1}
		s.Fault = kernels.Operand{Number: put(r, "fault", []int32{-1, -1})}
		r.run(s.Plan())
		want, fault := []int32{-7, -7, -7}, []int32{int32(k), 0}
		if k >= 1 && k <= len(all) {
			want[1], fault = order[k-1], []int32{-1, -1}
		}
		require.Equal(r.t, want, get[int32](r, s.Out.Number, 3), "k = %d of %d", k, len(all))
		require.Equal(r.t, fault, get[int32](r, s.Fault.Number, 2))
	}
}

func TestKthLargest(t *testing.T) {
	odd := []float32{
		0, float32(math.Copysign(0, -1)), 1, float32(math.NaN()), math.Float32frombits(0xffc00123),
		math.Float32frombits(0x7f800001), 1, float32(math.Inf(1)), float32(math.Inf(-1)), math.MaxFloat32,
		-math.MaxFloat32, 0x1p-149, -0x1p-149, 0x1p-126, -0x1p-126, -1,
	}
	fills := map[string]func(r *rig, i int) float32{
		"normal": func(r *rig, _ int) float32 { return float32(r.random.NormFloat64()) },
		"ties":   func(r *rig, _ int) float32 { return float32(r.random.IntN(2)) },
		"equal":  func(*rig, int) float32 { return -2.5 },
		"odd":    func(_ *rig, i int) float32 { return odd[i%len(odd)] },
		"bits":   func(r *rig, _ int) float32 { return math.Float32frombits(r.random.Uint32()) },
		"close":  func(r *rig, _ int) float32 { return math.Float32frombits(0x3f800000 + r.random.Uint32N(5000)) },
	}
	check := func(name string, opt ptx.Options, sizes ...int) {
		t.Run(fmt.Sprint(name, sizes, opt.Seed, opt.Float), func(t *testing.T) {
			t.Parallel()
			opt.Sanitize = true
			r := newRig(t, opt)
			s, all := r.selection(fills[name], sizes...)
			n := len(all)
			r.kth(s, all, slices.Compact([]int{1, (n + 2) / 3, n - n/10, n})...)
		})
	}
	for name := range fills {
		check(name, ptx.Options{}, 1)
		check(name, ptx.Options{}, 33)
		check(name, ptx.Options{}, 300, 0, 21)
		check(name, ptx.Options{}, 4097)
	}
	check("ties", ptx.Options{}, 3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5)        // two launches a pass
	check("normal", ptx.Options{}, 1, 1, 1, 1, 1, 1, 1, 1)               // one full launch
	check("ties", ptx.Options{}, 0, 0, 0, 0, 0, 0, 0, 0, 0, 70, 0, 9000) // several blocks, 6 digits
	for seed := range uint64(8) {
		check("ties", ptx.Options{Seed: seed + 1, Float: ptx.FloatMode(seed % 3)}, 5000, 77)
	}
}

func TestKthLargestOfBadK(t *testing.T) {
	r := newRig(t, ptx.Options{Sanitize: true})
	s, all := r.selection(func(r *rig, i int) float32 { return float32(i) }, 5, 40)
	r.kth(s, all, 0, -1, 46, math.MaxInt32, math.MinInt32, 45)
}

// Passes that look for the place read no elements whose places begin otherwise.
func TestKthLargestReads(t *testing.T) {
	const n = 1 << 16 // 32 bits of number and 16 of place: 5 digits, of the place 1, 11 and 4 bits
	r := newRig(t, ptx.Options{})
	s, all := r.selection(func(*rig, int) float32 { return 1 }, n/2-100, n/2+100)
	r.kth(s, all, n-n/3)
	var read []uint64
	for i, l := range r.launched {
		if l.Entry == "kth_count" {
			read = append(read, r.results[i].Counters.GlobalLoads.Bytes)
		}
	}
	require.Len(t, read, 5)
	const word = 4
	require.Equal(t, read[1], read[2])
	require.Equal(t, read[1]-word*n/2, read[3], "the place's first bit is known")
	require.Equal(t, read[1]-word*n+word*n>>12, read[4], "12 bits are known")
}
