//go:build !cuda

package cuda_test

import (
	"testing"

	"bilevel/device/cuda/driver"
)

// through is the way to a driver: straight in this build, with the tag cuda through cu, cgo and the table of entry points.
func through(_ testing.TB, d driver.Driver) driver.Driver { return d }
