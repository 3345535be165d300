//go:build !cuda

package open

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

func TestBuildWithoutCUDASaysSo(t *testing.T) {
	for given, name := range map[string]string{"cuda": "cuda:0", "cuda:1": "cuda:1"} {
		d, err := Open(given, Options{})
		require.Nil(t, d)
		require.ErrorIs(t, err, device.ErrMissing)
		require.EqualError(
			t,
			err,
			"device not available: "+name+": this build has no support for the CUDA driver (go build -tags cuda has); "+
				"use --device cpu, or cuda-sim for a simulated card",
		)
	}
}

func TestAutoIsTheProcessor(t *testing.T) {
	d, why := Auto(Options{Threads: 3})
	require.NoError(t, why)
	require.Equal(t, "cpu", d.Info().Name)
	require.Equal(t, 3, d.Info().Threads)
	require.NoError(t, d.Close())
}
