package tensortest

import (
	"testing"

	"bilevel/internal/testrun"
	"bilevel/tensor"
)

func init() { testrun.CollectLess() }

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
