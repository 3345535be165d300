package check

import (
	"bytes"
	"context"
	"errors"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/tensor"
)

// Every check passes in float64 and in float32, and frees all memory of its device.
func TestChecksPass(t *testing.T) {
	for _, c := range Checks() {
		for _, dev := range []device.Device{ref.New(), cpudevice.New(2)} {
			ex := tensor.NewExecutor(dev)
			found, err := c.Run(context.Background(), ex, 1)
			require.NoError(t, err, c.Name)
			require.NotEmpty(t, found)
			for _, f := range found {
				require.True(t, f.OK(), "%s on %s: %+v", c.Name, dev.Info().Name, f)
				require.NotEmpty(t, f.Why)
			}
			require.NoError(t, ex.Close())
			require.NoError(t, dev.Close())
		}
	}
}

func TestCheckCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	ex := tensor.NewExecutor(ref.New())
	_, err := quadratic(ctx, ex, 1)
	require.Error(t, err)
}

func TestNames(t *testing.T) {
	c, err := ByName("quadratic")
	require.NoError(t, err)
	require.Equal(t, "quadratic", c.Name)
	_, err = ByName("quadratik")
	require.ErrorContains(t, err, `did you mean "quadratic"?`)
}

func TestAlgorithmsAreListed(t *testing.T) {
	var b bytes.Buffer
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	require.NoError(t, WriteAlgorithms(context.Background(), &b, ex))
	require.Regexp(t, `(?m)^soba +1 ∇G, 1 ∇F, 1 Hv, 1 Cv +set of x, running statistics +Dagréou`, b.String())
	require.Regexp(t, `(?m)^f2sa +22 ∇G, 11 ∇F +set of x, set of y, running statistics +Kwon`, b.String())
	require.Regexp(t, `(?m)^stocbio +10 ∇G, 1 ∇F, 10 Hv, 1 Cv`, b.String())
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
}

func TestWrite(t *testing.T) {
	var b bytes.Buffer
	failed, err := Write(&b, []Finding{
		{"first", 1, 2, "because"}, {"second", 3, 2, "because"},
		{"third", math.NaN(), 2, "because"}, {"fourth", 0, 0, "because"},
	})
	require.NoError(t, err)
	require.Equal(t, 2, failed, "a value above its bound fails, and so does NaN")
	require.Regexp(t, `(?m)^first +1 +2 +ok`, b.String())
	require.Regexp(t, `(?m)^third +NaN +2 +FAILS`, b.String())
	_, err = Write(full{}, []Finding{{What: "x"}})
	require.Error(t, err)
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("full") }
