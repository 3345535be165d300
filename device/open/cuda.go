//go:build cuda

package open

import (
	"fmt"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/real"
	"bilevel/device/cuda/real/bridge"
)

const (
	hasCUDA = true
	way     = " through cgo" // to a simulated card
)

// openCUDA opens a card through the driver of this machine.
func openCUDA(o cuda.Options) (device.Device, error) {
	drv, err := real.New()
	if err != nil {
		return nil, fmt.Errorf("%w: %s: %w", device.ErrMissing, o.Name, err)
	}
	return card(drv, o)
}

// firstCard opens the first card of this machine that can run the kernels.
func firstCard(o Options) (device.Device, error) {
	drv, err := real.New()
	if err != nil {
		return nil, fmt.Errorf("%w: cuda:0: %w", device.ErrMissing, err)
	}
	n, err := cuda.Choose(drv)
	if err != nil {
		return nil, err
	}
	return card(drv, cuda.Options{Name: fmt.Sprintf("cuda:%d", n), Card: n, TensorCores: o.TF32})
}

// through wraps a simulated driver so that calls take the real card's path: package cu, cgo and the table of entry
// points.
func through(d driver.Driver) (driver.Driver, error) { return bridge.Open(d) }
