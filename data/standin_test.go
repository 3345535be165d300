package data

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// Images that stand in for a set have its shape and classes, and are the same every time.
func TestStandIn(t *testing.T) {
	d, err := StandIn("cifar100", 300, 50)
	require.NoError(t, err)
	require.Equal(t, []int{32, 32, 3}, d.Shape)
	require.Equal(t, 100, d.Classes)
	require.Len(t, d.ClassNames, 100)
	require.NoError(t, d.Train.Check(d.Classes))
	require.NoError(t, d.Test.Check(d.Classes))
	require.Equal(t, 300, d.Train.N())
	require.Contains(t, d.Notes[0], "bilevel data get cifar100")
	again, err := StandIn("cifar100", 300, 50)
	require.NoError(t, err)
	require.Equal(t, d, again)
	for _, name := range []string{"adult", "digits", "cifar"} {
		_, err := StandIn(name, 1, 1)
		require.ErrorContains(t, err, name)
	}
}
