package robust

import (
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/device/ref"

	"github.com/stretchr/testify/require"
)

// The program with c = a moves along the hypergradient that the optimality conditions of its lower level certify; the
// control leaves the term out, and the authors' c lies between. Training is the same with and without certificates.
func TestCertificate(t *testing.T) {
	at := func(method string, settings ...string) TrainConfig {
		c := small(digits(t), method, settings...)
		c.Train, c.Val, c.Batch, c.Epochs, c.Certificate, c.Model, c.Eps = 64, 64, 32, 2, 2, "mlp:16", 0.2
		c.Examples = 10
		return c
	}
	exact := run(t, at("fast-bat-official", "step=8", "implicit=-1"), ref.New(), 3)
	official := run(t, at("fast-bat-official", "step=8"), ref.New(), 3)
	off := run(t, at("fast-bat-no-implicit", "step=8"), ref.New(), 3)
	require.EqualValues(t, 2, exact.Counts["direction.certified"])
	require.InDelta(t, 1, exact.Scalars["direction.cosine"], 1e-9)
	require.Less(t, exact.Scalars["direction.error"], 1e-6)
	require.Greater(t, official.Scalars["direction.cosine"], off.Scalars["direction.cosine"])
	require.Less(t, official.Scalars["direction.cosine"], 1.0)

	c := at("fast-bat-no-implicit", "step=8")
	with := run(t, c, cpudevice.New(1), 3)
	c.Certificate = 0
	without := run(t, c, cpudevice.New(1), 3)
	require.Equal(t, without.Models, with.Models)
	require.Equal(t, without.Counts["oracle.jvp"], with.Counts["oracle.jvp"])
	require.NotContains(t, without.Scalars, "direction.share")

	c.Method = "pgd"
	c.Set, c.Certificate = nil, 1
	cells, err := Train{}.Cells(c, []uint64{1})
	require.ErrorContains(t, err, "certificate: wants a Fast-BAT")
	require.Nil(t, cells)
	c.Certificate = 3
	_, err = Train{}.Cells(c, []uint64{1})
	require.ErrorContains(t, err, "certificate is 3: wants a number of epochs from 0 to the 2")
}
