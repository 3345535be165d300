package dense_test

import (
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

	"bilevel/device/null"
	"bilevel/device/ref"
	bilevel "bilevel/tensor"
	"bilevel/tensor/dense"
)

func TestWriteAndRead(t *testing.T) {
	ex := bilevel.NewExecutor(ref.New())
	x, k := ex.Variable("x", bilevel.Real, 2, 3), ex.Variable("k", bilevel.Int, 4)
	s, b := ex.Variable("s", bilevel.Real), ex.Variable("b", bilevel.Byte, 2)
	for _, a := range []*dense.Array{
		tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float64{1, 2, 3, 4, 5, 6})),
		tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float32{1, 2, 3, 4, 5, 6})),
		tensor.New(tensor.WithShape(6), tensor.WithBacking([]float64{1, 2, 3, 4, 5, 6})),
	} {
		require.NoError(t, x.Write(make([]float64, 6)))
		require.NoError(t, dense.Write(x, a))
		got, err := dense.Read(x)
		require.NoError(t, err)
		require.Equal(t, []float64{1, 2, 3, 4, 5, 6}, got.Data())
		require.Equal(t, tensor.Shape{2, 3}, got.Shape())
	}
	require.NoError(t, dense.Write(k, tensor.New(tensor.WithBacking([]int32{4, 3, 2, 1}))))
	got, err := dense.Read(k)
	require.NoError(t, err)
	require.Equal(t, []int32{4, 3, 2, 1}, got.Data())
	require.NoError(t, dense.Write(b, tensor.New(tensor.WithBacking([]byte{255, 7}))))
	got, err = dense.Read(b)
	require.NoError(t, err)
	require.Equal(t, []byte{255, 7}, got.Data())
	require.NoError(t, dense.Write(s, tensor.New(tensor.FromScalar(2.5))))
	got, err = dense.Read(s)
	require.NoError(t, err)
	require.Equal(t, 1, got.Size())
	require.NoError(t, dense.Write(s, got), "what Read gives, Write takes")
	number, err := s.Number()
	require.NoError(t, err)
	require.Equal(t, 2.5, number)

	narrow := bilevel.NewExecutor(null.New()).Variable("x", bilevel.Real, 3)
	got, err = dense.Read(narrow)
	require.NoError(t, err)
	require.Equal(t, []float32{0, 0, 0}, got.Data(), "the device's Real is float32")
	none := ex.Variable("none", bilevel.Real, 0, 3)
	require.NoError(t, none.Write(nil))
	got, err = dense.Read(none)
	require.NoError(t, err)
	require.Zero(t, got.DataSize())
}

func TestWriteRefuses(t *testing.T) {
	ex := bilevel.NewExecutor(ref.New())
	x, k := ex.Variable("x", bilevel.Real, 2, 3), ex.Variable("k", bilevel.Int, 4)
	turned := tensor.New(tensor.WithShape(3, 2), tensor.WithBacking([]float64{1, 2, 3, 4, 5, 6}))
	require.NoError(t, turned.T())
	column := tensor.New(tensor.WithShape(3, 2), tensor.AsFortran([]float64{1, 2, 3, 4, 5, 6}))
	window, err := tensor.New(tensor.WithShape(2, 6), tensor.WithBacking(make([]float64, 12))).Slice(nil,
		tensor.S(0, 3))
	require.NoError(t, err)
	for name, a := range map[string]*dense.Array{
		"transposed": turned, "column-major": column, "a window": window.(*dense.Array),
		"too few":      tensor.New(tensor.WithBacking([]float64{1})),
		"int":          tensor.New(tensor.WithBacking([]int{1, 2, 3, 4, 5, 6})),
		"bool":         tensor.New(tensor.WithBacking([]bool{true, false, true, true, true, true})),
		"Int for Real": tensor.New(tensor.WithBacking([]int32{1, 2, 3, 4, 5, 6})),
	} {
		require.Error(t, dense.Write(x, a), name)
	}
	require.Error(t, dense.Write(k, tensor.New(tensor.WithBacking([]float32{1, 2, 3, 4}))))
	x.Free()
	_, err = dense.Read(x)
	require.ErrorContains(t, err, "freed")
}
