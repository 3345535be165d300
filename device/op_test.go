package device

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestEveryOpHasARow(t *testing.T) {
	names := map[string]bool{}
	for op := range NumOp {
		row := Ops[op]
		require.NotEmpty(t, row.Name, "operation %d", op)
		require.False(t, names[row.Name], "%s stands for two operations", row.Name)
		names[row.Name] = true
		require.Equal(t, row.Name, op.String())
		require.NotNil(t, row.Check, "%s has no shape rule", op)
	}
	require.Equal(t, "Op(?)", NumOp.String())
}

func TestKindsHaveNames(t *testing.T) {
	require.Equal(t, "sum max", Sum.String()+" "+Maximum.String())
	require.Equal(
		t, "softmax log-softmax cross-entropy", Softmax.String()+" "+LogSoftmax.String()+" "+CrossEntropy.String(),
	)
	require.Equal(t, "arg-max k-th largest", ArgMax.String()+" "+KthLargest.String())
	require.Equal(
		t, "bits integers uniform normal", Bits.String()+" "+Integers.String()+" "+Uniform.String()+" "+Normal.String(),
	)
	names := map[string]bool{}
	for k := ConvForward; k <= ConvWeightGradient; k++ {
		names[k.String()] = true
	}
	for k := AveragePool; k <= MaxPoolAdjoint; k++ {
		names[k.String()] = true
	}
	require.Len(t, names, 8)
	require.True(t, names["convolution"] && names["max pool's tangent"])
}

func TestInfo(t *testing.T) {
	narrow, wide := Info{RealBits: 32, SumBlock: 8}, Info{RealBits: 64, SumBlock: 8}
	require.Equal(t, 0x1p-24, narrow.UnitRoundoff())
	require.Equal(t, 0x1p-53, wide.UnitRoundoff())
	for n, want := range map[int]float64{0: 1, 1: 2, 2: 4, 8: 12, 1024: 19} { // min(n, 8) + 1 + ⌈log2 n⌉
		require.Equal(t, want, narrow.SumError(n), "%d terms", n)
	}
}

func TestHost(t *testing.T) {
	require.Equal(t, Real, Float32s([]float32{}).Type())
	require.Equal(t, Real, Float64s(nil).Type())
	require.Equal(t, Int, Int32s([]int32{}).Type())
	require.Equal(t, 3, Int32s(make([]int32, 3)).Len())
}

// memory is a buffer without a device, all that Validate and the transfer checks look at.
type memory struct {
	t Type
	n int
}

func (m *memory) Type() Type { return m.t }
func (m *memory) Len() int   { return m.n }

func TestTransferChecks(t *testing.T) {
	reals, ints := &memory{Real, 4}, &memory{Int, 4}
	two := Float32s(make([]float32, 2))
	require.NoError(t, CheckUpload(reals, 2, two))
	require.NoError(t, CheckUpload(reals, 4, Float64s(nil)))
	require.NoError(t, CheckUpload(ints, 0, Int32s(nil)))
	require.ErrorContains(t, CheckUpload(reals, 3, two), "device: upload: 2 elements from 3 on of a buffer of 4")
	require.Error(t, CheckUpload(reals, -1, two))
	require.Error(t, CheckUpload(reals, 5, Float64s(nil)))
	require.ErrorContains(t, CheckDownload(two, ints, 0), "device: download: Real host memory and a Int buffer")
	require.ErrorContains(t, CheckDownload(HostSlice{F32: two.F32, I32: []int32{}}, reals, 0), "2 types at once")

	other := &memory{Real, 4}
	require.NoError(t, CheckCopy(reals, 0, other, 0, 4))
	require.NoError(t, CheckCopy(reals, 0, reals, 2, 2))
	require.NoError(t, CheckCopy(reals, 1, reals, 1, 0))
	require.Error(t, CheckCopy(reals, 0, reals, 1, 2), "overlap")
	require.Error(t, CheckCopy(reals, 0, ints, 0, 1), "types")
	require.Error(t, CheckCopy(reals, 3, other, 0, 2), "range")
	require.Error(t, CheckCopy(reals, 0, other, -1, 2), "range")
	require.Error(t, CheckCopy(reals, 0, other, 0, -1), "count")
}
