//go:build cuda

package open

import (
	"errors"
	"fmt"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/real"
	"bilevel/device/cuda/real/bridge"
	"bilevel/device/cuda/shim"
)

// openCUDA opens card number n through the driver of this machine.
func openCUDA(name string, n int) (device.Device, error) {
	d, err := real.New()
	if errors.Is(err, shim.ErrMissing) {
		return nil, fmt.Errorf("%w: %w", device.ErrMissing, err)
	}
	if err != nil {
		return nil, err
	}
	return cuda.New(d, cuda.Options{Name: name, Card: n})
}

// through is the way to a simulated driver: the one to a real card, through cu, cgo and the table of entry points.
func through(d driver.Driver) (driver.Driver, error) { return bridge.Open(d) }
