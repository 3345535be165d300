package data

import (
	"crypto/sha256"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// The digests are those of digits/README.md, the sums those of the UCI file.
func TestDigits(t *testing.T) {
	d, err := Open("digits", noEnv)
	require.NoError(t, err)
	require.Equal(t, []int{8, 8}, d.Shape)
	require.Equal(t, 10, d.Classes)
	require.Equal(t, "embedded", d.Source)
	require.Equal(t, 1797, d.Train.N())
	require.Equal(t, 64, d.Train.Dim)
	require.Nil(t, d.Val)
	require.Nil(t, d.Test)
	require.NoError(t, d.Train.Check(10))

	x, y := make([]byte, len(d.Train.Features)), make([]byte, len(d.Train.Labels))
	for i, v := range d.Train.Features {
		x[i] = byte(v)
		require.Equal(t, float32(x[i]), v)
	}
	for i, v := range d.Train.Labels {
		y[i] = byte(v)
	}
	require.Equal(t, "8f26b2bd9d135c256808f68f14fdabddde6d9c7f869ae419704b051f0f14b3b3",
		fmt.Sprintf("%x", sha256.Sum256(x)))
	require.Equal(t, "8ba4f891220f5e4c9c819638d1602d74b83618f167043c6da52a2a247841ddf0",
		fmt.Sprintf("%x", sha256.Sum256(y)))

	for _, c := range []struct {
		row, label int32
		sum        float32
	}{{0, 0, 294}, {1, 1, 313}, {2, 2, 344}, {500, 8, 383}, {898, 8, 409}, {1796, 8, 392}} {
		sum := float32(0)
		for _, v := range d.Train.Row(int(c.row)) {
			sum += v
		}
		require.Equal(t, c.sum, sum, "row %d", c.row)
		require.Equal(t, c.label, d.Train.Labels[c.row], "row %d", c.row)
	}
	require.Equal(t, []float32{0, 0, 5, 13, 9, 1, 0, 0}, d.Train.Row(0)[:8])
}

func TestDigitsIsACopy(t *testing.T) {
	a, err := Digits()
	require.NoError(t, err)
	a.Train.Features[5] = 99
	a.Train.Labels[5] = 99
	b, err := Digits()
	require.NoError(t, err)
	require.NoError(t, b.Train.Check(10))
	require.Equal(t, float32(1), b.Train.Features[5])
}
