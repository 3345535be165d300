package cpu

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// operandIterCases are views of every kind.
func operandIterCases() []Array {
	r := rng(3)
	var list []Array
	for _, shape := range [][]int{{}, {1}, {7}, {3, 5}, {1, 4}, {4, 1}, {2, 3, 4}, {2, 1, 3, 2}, {2, 2, 2, 2, 3}} {
		for _, how := range layouts {
			list = append(list, scattered(r, how, shape...))
		}
		for axis := range shape {
			list = append(list, repeated(r, shape, axis))
			if axis > 0 {
				list = append(list, repeated(r, shape, 0, axis))
			}
		}
	}
	return list
}

func TestOperandIters(t *testing.T) {
	for _, a := range operandIterCases() {
		n := size(a.Shape)
		l := iterOf(&a)
		for lo := range n {
			for _, count := range []int{1, 2, n - lo} {
				count = min(count, n-lo)
				dst := newGuarded(count, lo%4)
				load(&l, dst.v, a.Real, lo)
				require.True(t, dst.intact())
				index := make([]int32, count)
				l.loadIota(index, lo)
				for i := range count {
					off := offsetOf(&a, lo+i)
					require.Equal(t, a.Real[off], dst.v[i], "%v %v from %d, element %d", a.Shape, a.Strides, lo, i)
					require.EqualValues(t, off, index[i])
				}
			}
		}
	}
}

// Stores reach the right elements and no others.
func TestLaneStores(t *testing.T) {
	for _, a := range operandIterCases() {
		n := size(a.Shape)
		repeats := false
		for i, s := range a.Strides {
			repeats = repeats || s == 0 && a.Shape[i] > 1
		}
		if repeats {
			continue // not an output
		}
		l := iterOf(&a)
		for lo := range n {
			got := append([]float32(nil), a.Real...)
			want := append([]float32(nil), a.Real...)
			src := normals(rng(4), min(5, n-lo))
			for i, v := range src {
				want[offsetOf(&a, lo+i)] = v
			}
			store(&l, got, src, lo)
			require.Equal(t, want, got, "%v %v from %d", a.Shape, a.Strides, lo)
		}
	}
}

func TestLaneKinds(t *testing.T) {
	for _, c := range []struct {
		shape, strides []int
		want           iterKind
	}{
		{nil, nil, dense},
		{[]int{1, 1}, []int{9, 9}, dense},
		{[]int{3, 4}, []int{4, 1}, dense},
		{[]int{3, 1, 4}, []int{4, 77, 1}, dense},
		{[]int{3, 4}, []int{0, 0}, uniform},
		{[]int{3, 4}, []int{0, 1}, cycle},
		{[]int{2, 3, 4}, []int{0, 0, 1}, cycle},
		{[]int{2, 3, 4}, []int{0, 4, 1}, cycle},
		{[]int{3, 4}, []int{1, 0}, stretch},
		{[]int{2, 3, 4}, []int{3, 1, 0}, stretch},
		{[]int{3, 4}, []int{2, 0}, general},
		{[]int{3, 4}, []int{1, 3}, general},
		{[]int{3, 4}, []int{5, 1}, general},
		{[]int{4}, []int{2}, general},
	} {
		require.Equal(t, c.want, newOperandIter(c.shape, c.strides, 0).kind, fmt.Sprint(c))
	}
}
