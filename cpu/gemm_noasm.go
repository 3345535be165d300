//go:build !amd64 || purego

package cpu

// kernelsOf are the kernels of a level: this build has one.
func kernelsOf(Level) *kernels { return &genericKernels }
