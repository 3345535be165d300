package main

import (
	"regexp"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"
)

// A profile names the operations of a loop, and their shares with what is between them add up to all of the time.
func TestBenchProfile(t *testing.T) {
	r := bilevel("bench convloops --profile --seconds 0 --only lenet_b64_grad")
	require.Equal(t, exitOK, r.code, r.stderr)
	require.Contains(t, r.stdout, "lenet_b64_grad")
	for _, kind := range []string{"Conv convolution", "Gemm", "Map", "Reduce"} {
		require.Regexp(t, "(?m)^"+kind, r.stdout)
	}
	sum := 0.0
	byKind := regexp.MustCompile(`(?s)what.*?the longest`).FindString(r.stdout)
	for _, share := range regexp.MustCompile(`(\d+\.\d) %`).FindAllStringSubmatch(byKind, -1) {
		v, err := strconv.ParseFloat(share[1], 64)
		require.NoError(t, err)
		sum += v
	}
	require.InDelta(t, 100, sum, 1)
}

// Other devices do not tell what their operations take, and a profile is no JSON.
func TestBenchProfileErrors(t *testing.T) {
	for flags, says := range map[string]string{
		"--profile --device ref": "--profile: the device ref cannot tell the time of its operations, cpu can",
		"--profile --json":       "leave out one of --profile and --json",
		"--only nothing-of-it":   `no loop has "nothing-of-it" in its name`,
	} {
		r := bilevel("bench hotloops --seconds 0 " + flags)
		require.Equal(t, exitUsage, r.code, flags)
		require.Contains(t, r.stderr, says)
	}
}
