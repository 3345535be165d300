//go:build !linux && !purego

package cpu

// mayUseTiles: only Linux's way to ask for tile registers is known here.
func mayUseTiles() bool { return false }
