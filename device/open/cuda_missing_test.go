//go:build !cuda

package open

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
)

func TestBuildWithoutCUDASaysSo(t *testing.T) {
	for _, name := range []string{"cuda", "cuda:1"} {
		d, err := Open(name, 0)
		require.Nil(t, d)
		require.ErrorIs(t, err, device.ErrMissing)
		require.ErrorContains(t, err, "device not available: "+name+": this build has no support for the CUDA driver")
	}
}
