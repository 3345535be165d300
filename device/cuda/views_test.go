package cuda

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

// No axis of a view is lost on its way to a kernel: kernels of up to three axes refuse more, others take all.
func TestViewsKeepTheirAxes(t *testing.T) {
	for rank := range 7 {
		shape := []int{2, 3, 4, 5, 6, 7}[:rank]
		v := device.Dense(0, 9, shape...)
		all := view(3, v)
		require.Equal(t, v.Strides, all.Strides)
		require.Equal(t, 3, all.Number)
		require.Equal(t, 9, all.Off)
		if rank > 3 {
			require.Panics(t, func() { strided(3, v) }, "rank %d", rank)
			continue
		}
		s := strided(3, v)
		require.Equal(t, v.Strides, s.Strides[:rank])
		require.Equal(t, []int{3, 9}, []int{s.Number, s.Off})
	}
}
