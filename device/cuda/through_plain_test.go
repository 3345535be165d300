//go:build !cuda

package cuda_test

import "bilevel/device/cuda/driver"

// reach is the way to a driver: straight in this build, with the tag cuda through cu, cgo and the table of entry
// points.
func reach(d driver.Driver) (driver.Driver, error) { return d, nil }
