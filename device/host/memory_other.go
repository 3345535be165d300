//go:build !linux

package host

import "bilevel/device"

// memoryBytes is the memory of the machine, and what of it programs can still take.
func memoryBytes() (total, free int64) { return device.UnknownMemory, device.UnknownMemory }
