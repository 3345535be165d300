//go:build !linux

package hostmemory

// Total is the memory of the machine.
func Total() int64 { return Unknown }

// Bytes is the memory of the machine, and what of it programs can still take.
func Bytes() (total, free int64) { return Unknown, Unknown }

// Available is the memory that programs can take without swapping; ok is false where the system does not say.
func Available() (bytes int64, ok bool) { return 0, false }
