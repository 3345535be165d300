//go:build !cuda

package open

import (
	"fmt"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
)

const (
	hasCUDA = false
	way     = ""
)

// openCUDA says how to get what this build has not.
func openCUDA(o cuda.Options) (device.Device, error) {
	return nil, fmt.Errorf(
		"%w: %s: this build has no support for the CUDA driver (go build -tags cuda has)", device.ErrMissing, o.Name,
	)
}

// firstCard is openCUDA for the first card.
func firstCard(Options) (device.Device, error) { return openCUDA(cuda.Options{Name: "cuda:0"}) }

// through leaves a simulated driver as it is: this build has no other path to it.
func through(d driver.Driver) (driver.Driver, error) { return d, nil }
