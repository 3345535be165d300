//go:build cuda

package cuda_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/real/bridge"
)

// through is the way to a driver: here through cu, cgo and the table of entry points.
func through(t testing.TB, d driver.Driver) driver.Driver {
	t.Helper()
	b, err := bridge.Open(d)
	require.NoError(t, err)
	return b
}
