package tensortest

import (
	"os"
	"runtime/debug"
	"testing"

	"bilevel/tensor"
)

// Tests keep little memory and give back much, so that at its usual rate the collector takes a quarter of the time of
// tests on small problems. Where the environment says how often it is to run, that holds.
func init() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}

// Executor is a fresh executor on a device; both are closed when the test ends.
func Executor(t testing.TB, dev tensor.Device) *tensor.Executor {
	t.Helper()
	ex := tensor.NewExecutor(dev)
	t.Cleanup(func() {
		for _, end := range []func() error{ex.Close, dev.Close} {
			if err := end(); err != nil {
				t.Errorf("closing %s: %v", dev.Info().Name, err)
			}
		}
	})
	return ex
}
