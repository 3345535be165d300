//go:build cuda

package cuda_test

import (
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/real/bridge"
)

// reach is the way to a driver: here through cu, cgo and the table of entry points.
func reach(d driver.Driver) (driver.Driver, error) { return bridge.Open(d) }
