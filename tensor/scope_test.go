package tensor_test

import (
	"testing"

	"bilevel/device/null"
	"bilevel/device/ref"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

func TestScopeFreesWhatItMade(t *testing.T) {
	dev := null.New()
	ex := tensor.NewExecutor(dev)
	sc := ex.Scope()
	x, y := sc.Variable("x", tensor.Real, 3), sc.Number("y")
	f := sc.Compile("sum", func() []tensor.Update { return []tensor.Update{{Var: y, Value: x.Node().Sum()}} })
	owned := 0
	sc.Own(func() error { owned++; return nil })
	require.NoError(t, sc.Err())
	require.NoError(t, f.Run(1))
	require.NoError(t, sc.Close())
	require.NoError(t, sc.Close())
	require.Equal(t, 1, owned)
	require.Error(t, f.Run(1), "the function is closed")
	require.Error(t, x.Write([]float64{1, 2, 3}), "the variable is freed")
	require.NoError(t, dev.Close())
}

func TestScopeKeepsTheFirstError(t *testing.T) {
	sc := tensor.NewExecutor(ref.New()).Scope()
	x := sc.Variable("x", tensor.Real, 3)
	bad := func() []tensor.Update { return []tensor.Update{{Var: x, Value: tensor.Zeros(2)}} }
	require.Nil(t, sc.Compile("first", bad))
	first := sc.Err()
	require.ErrorContains(t, first, "first")
	require.Nil(t, sc.Compile("second", func() []tensor.Update { return nil }))
	require.Nil(t, sc.Loop("third", bad))
	require.Equal(t, first, sc.Err())
	require.NoError(t, sc.Close())
}

// A copy on the device, of every type and on every device, takes what earlier runs leave and is independent of later
// ones.
func TestCopyFrom(t *testing.T) {
	onDevices(t, func(t *testing.T, ex *tensor.Executor) {
		a, b := ex.Variable("a", tensor.Real, 2, 2), ex.Variable("b", tensor.Real, 4)
		require.NoError(t, a.Write([]float64{1, 2, 3, 4}))
		double, err := ex.Compile("double", func() []tensor.Update {
			return []tensor.Update{{Var: a, Value: a.Node().Scale(2)}}
		})
		require.NoError(t, err)
		require.NoError(t, double.Run(2))
		require.NoError(t, b.CopyFrom(a))
		require.NoError(t, double.Run(1))
		got, err := b.Read()
		require.NoError(t, err)
		require.Equal(t, []float64{4, 8, 12, 16}, got)

		from, to := ex.Variable("from", tensor.Int, 2), ex.Variable("to", tensor.Int, 2)
		require.NoError(t, from.WriteInts([]int32{1<<24 + 1, -7}))
		require.NoError(t, to.CopyFrom(from))
		ints, err := to.ReadInts()
		require.NoError(t, err)
		require.Equal(t, []int32{1<<24 + 1, -7}, ints)

		pixels, kept := ex.Variable("pixels", tensor.Byte, 3), ex.Variable("kept", tensor.Byte, 3)
		require.NoError(t, pixels.WriteBytes([]byte{0, 128, 255}))
		require.NoError(t, kept.CopyFrom(pixels))
		bytes, err := kept.ReadBytes()
		require.NoError(t, err)
		require.Equal(t, []byte{0, 128, 255}, bytes)

		require.ErrorContains(t, b.CopyFrom(ex.Variable("short", tensor.Real, 3)), "one type and size")
		require.ErrorContains(t, b.CopyFrom(ex.Variable("whole", tensor.Int, 4)), "one type and size")
		require.ErrorContains(t, b.CopyFrom(b), "to itself")
		require.ErrorContains(t, b.CopyFrom(tensor.NewExecutor(ref.New()).Variable("far", tensor.Real, 4)),
			"different executors")
	})
}
