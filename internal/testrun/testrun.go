// Package testrun is what tests of all packages share: how much they do, and how often they collect garbage.
package testrun

import (
	"os"
	"runtime/debug"
)

// Size is the usual one of two sizes, and the other where BILEVEL_LONG is set: for tests that prove as much in seconds
// as anyone waits for, and can try more.
func Size[T any](usual, long T) T {
	if os.Getenv("BILEVEL_LONG") != "" {
		return long
	}
	return usual
}

// CollectLess lets more garbage lie. Tests on small problems keep little memory and give back much, so that at its
// usual rate the collector takes a quarter of their time. Where the environment says how often it runs, that holds.
func CollectLess() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
}
