package host_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/devicetest"
	"bilevel/device/host"
)

func TestConformance(t *testing.T) {
	for _, threads := range []int{1, 3} {
		dev := host.New(threads)
		for _, c := range devicetest.Cases() {
			t.Run(c.Name, func(t *testing.T) { require.NoError(t, c.Run(dev)) })
		}
		require.NoError(t, dev.Close())
	}
}
