//go:build purego || !(amd64 || arm64)

package cpu

// kernelsOf are the kernels of a level: this build has one.
func kernelsOf(Level) *kernels { return &genericKernels }
