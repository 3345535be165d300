//go:build !amd64 || purego

package cpu

// Detected is the best level of this processor: there is no assembly in this build.
func Detected() Level { return Generic }
