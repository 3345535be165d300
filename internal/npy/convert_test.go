package npy

import (
	"math"
	"testing"

	"github.com/stretchr/testify/require"
)

// half is the definition of binary16 (IEEE 754-2019, 3.4): (-1)^s · 2^(e-15) · (1 + f/1024), subnormal at e = 0.
func half(h uint16) float64 {
	sign, e, f := 1-2*float64(h>>15), int(h>>10)&31, float64(h&1023)
	switch {
	case e == 31 && f != 0:
		return math.NaN()
	case e == 31:
		return math.Inf(int(sign))
	case e == 0:
		return math.Copysign(math.Ldexp(f/1024, -14), sign)
	}
	return sign * math.Ldexp(1+f/1024, e-15)
}

func TestFloat16Everywhere(t *testing.T) {
	for h := range 1 << 16 {
		got, want := Float16(h).Float32(), half(uint16(h))
		if math.IsNaN(want) {
			require.True(t, got != got, "%#x", h)
			continue
		}
		if math.Float32bits(got) != math.Float32bits(float32(want)) {
			t.Fatalf("%#x is %v, want %v", h, got, want)
		}
	}
}

// roundTrip checks New, Values and the two conversions for one element type.
func roundTrip[T Elem](t *testing.T, d DType, values []T, reals []float32, ints []int64) {
	t.Helper()
	a, err := New(values, len(values), 1)
	require.NoError(t, err)
	require.Equal(t, d, a.DType)
	require.Equal(t, len(values), a.Len())
	back, err := Values[T](a)
	require.NoError(t, err)
	require.Equal(t, values, back)
	f, err := a.Float32s()
	require.NoError(t, err)
	require.Equal(t, reals, f)
	i, err := a.Int64s()
	require.Equal(t, d.IsInteger(), err == nil)
	require.Equal(t, ints, i)
}

func TestEveryType(t *testing.T) {
	roundTrip(t, Float16Type, []Float16{0x3c00, 0xc000}, []float32{1, -2}, nil)
	roundTrip(t, Float32Type, []float32{1.5, -2}, []float32{1.5, -2}, nil)
	roundTrip(t, Float64Type, []float64{0.1, 1e300}, []float32{0.1, float32(math.Inf(1))}, nil)
	roundTrip(t, Int8Type, []int8{-128, 127}, []float32{-128, 127}, []int64{-128, 127})
	roundTrip(t, Int16Type, []int16{-32768, 3}, []float32{-32768, 3}, []int64{-32768, 3})
	roundTrip(t, Int32Type, []int32{-5, 1<<24 + 1}, []float32{-5, 1 << 24}, []int64{-5, 1<<24 + 1})
	roundTrip(t, Int64Type, []int64{-5, 1 << 40}, []float32{-5, 1 << 40}, []int64{-5, 1 << 40})
	roundTrip(t, Uint8Type, []uint8{0, 255}, []float32{0, 255}, []int64{0, 255})
	roundTrip(t, Uint16Type, []uint16{0, 65535}, []float32{0, 65535}, []int64{0, 65535})
	roundTrip(t, Uint32Type, []uint32{0, 1 << 31}, []float32{0, 1 << 31}, []int64{0, 1 << 31})
	roundTrip(t, Uint64Type, []uint64{0, 1 << 62}, []float32{0, 1 << 62}, []int64{0, 1 << 62})
}

func TestInt64sRefuses(t *testing.T) {
	a, err := New([]uint64{0, 1 << 63}, 2)
	require.NoError(t, err)
	_, err = a.Int64s()
	require.EqualError(t, err, "npy: element 1, 9223372036854775808, is beyond int64")
	b, err := New([]float32{1}, 1)
	require.NoError(t, err)
	_, err = b.Int64s()
	require.EqualError(t, err, "npy: the array holds float32, not integers")
	_, err = Values[float64](b)
	require.EqualError(t, err, "npy: the array holds float32, not float64")
}
