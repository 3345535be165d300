package data

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRows(t *testing.T) {
	s := &Set{Features: []float32{1, 2, 3, 4, 5, 6}, Labels: []int32{7, 8, 9}, Dim: 2}
	sub, err := s.Rows([]int32{2, 0, 2})
	require.NoError(t, err)
	require.Equal(t, &Set{Features: []float32{5, 6, 1, 2, 5, 6}, Labels: []int32{9, 7, 9}, Dim: 2}, sub)
	sub.Features[0] = 99
	require.Equal(t, float32(5), s.Features[4])
	_ = append(s.Row(0), 99) // a row does not reach into the next
	require.Equal(t, float32(3), s.Features[2])

	none, err := s.Rows(nil)
	require.NoError(t, err)
	require.Zero(t, none.N())

	for _, i := range []int32{-1, 3} {
		_, err := s.Rows([]int32{0, i})
		require.ErrorContains(t, err, "of a set of 3 rows")
	}
	_, err = (&Set{Features: []float32{1}, Labels: []int32{1}, Dim: 2}).Rows([]int32{0})
	require.ErrorContains(t, err, "1 features and 1 labels are no set of rows of 2 features")
}

func TestCheck(t *testing.T) {
	good := func() *Set {
		return &Set{Features: []float32{1, 2, 3, math.MaxFloat32}, Labels: []int32{0, 1}, Dim: 2}
	}
	require.NoError(t, good().Check(2))
	for _, c := range []struct {
		spoil func(*Set)
		want  string
	}{
		{func(s *Set) { s.Dim = 0 }, "no set of rows"},
		{func(s *Set) { s.Dim = -2 }, "no set of rows"},
		{func(s *Set) { s.Features = s.Features[:3] }, "no set of rows"},
		{func(s *Set) { s.Labels = s.Labels[:1] }, "no set of rows"},
		{func(s *Set) { s.Features[2] = float32(math.NaN()) }, "row 1, column 0 (counted from 0) is NaN"},
		{func(s *Set) { s.Features[1] = float32(math.Inf(1)) }, "row 0, column 1 (counted from 0) is +Inf"},
		{func(s *Set) { s.Labels[1] = 2 }, "the label of row 1 (counted from 0) is 2; it must be in 0 … 1"},
		{func(s *Set) { s.Labels[0] = -1 }, "the label of row 0 (counted from 0) is -1"},
	} {
		s := good()
		c.spoil(s)
		require.ErrorContains(t, s.Check(2), c.want)
	}
}

// Numbers take the place of bytes in a copy, whose other parts and the set itself stay as they are.
func TestWidened(t *testing.T) {
	set := &Dataset{Name: "x", Train: &Set{Bytes: []byte{1, 255}, Labels: []int32{0, 1}, Dim: 1},
		Test: &Set{Features: []float32{0.5}, Labels: []int32{0}, Dim: 1}}
	wide := set.Widened()
	require.Equal(t, &Set{Features: []float32{1, 255}, Labels: []int32{0, 1}, Dim: 1}, wide.Train)
	require.Nil(t, wide.Val)
	require.Same(t, set.Test, wide.Test)
	require.Equal(t, "x", wide.Name)
	require.Equal(t, &Set{Bytes: []byte{1, 255}, Labels: []int32{0, 1}, Dim: 1}, set.Train)
}
