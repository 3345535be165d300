//go:build unix

package cputime

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Work takes processor time, and sleep takes next to none of it.
func TestSeconds(t *testing.T) {
	begin := Seconds()
	time.Sleep(50 * time.Millisecond)
	slept := Seconds() - begin
	x := uint64(1)
	for from := time.Now(); Seconds()-begin-slept <= slept+0.05 && time.Since(from) < 10*time.Second; {
		for range 1_000_000 {
			x = x*6364136223846793005 + 1442695040888963407
		}
	}
	require.NotZero(t, x)
	require.Greater(t, Seconds()-begin-slept, slept+0.05)
	require.Less(t, slept, 0.05)
}
