//go:build cuda

package shim

import (
	"errors"
	"testing"
	"unsafe"

	"github.com/stretchr/testify/require"
	"gorgonia.org/cu"
)

func TestWithoutATableThereIsNoCard(t *testing.T) {
	require.Nil(t, door.table) // cu's initialisation has passed by now
	_, err := cu.NumDevices()
	require.EqualError(t, err, cu.NoDevice.Error())
}

func TestTablesAreSelectedAndHeld(t *testing.T) {
	empty, err := New(nil, nil)
	require.NoError(t, err)
	require.NoError(t, empty.Select(true, func() error {
		_, err := cu.NumDevices()
		require.EqualError(t, err, cu.NotSupported.Error())
		return nil
	}))
	var never byte // an address that the test does not call
	entered := 0
	other, err := New(map[string]unsafe.Pointer{"cuDeviceGetCount": unsafe.Pointer(&never)}, func() { entered++ })
	require.NoError(t, err)
	require.ErrorIs(t, other.Select(false, func() error { t.Error("called"); return nil }), ErrBusy)
	Release()
	failed := errors.New("failed")
	require.ErrorIs(t, other.Select(true, func() error { return failed }), failed)
	require.Equal(t, 1, entered)
	nothing := func() error { return nil }
	require.NoError(t, empty.Select(false, nothing)) // what failed holds nothing
	require.NoError(t, other.Select(false, nothing)) // nor what did not ask to
	require.Equal(t, 2, entered)
}

func TestNamesAreChecked(t *testing.T) {
	_, err := New(map[string]unsafe.Pointer{"cuMemAlloc": nil, "cuMemAlloc_v2": nil}, nil) // cuda.h renames the first
	require.EqualError(t, err, "1 of 2 functions are no entry points of the driver")
}
