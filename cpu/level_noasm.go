//go:build purego || !(amd64 || arm64)

package cpu

// Levels lists what this build offers: there is no assembly in it.
func Levels() []Level { return []Level{Generic} }
