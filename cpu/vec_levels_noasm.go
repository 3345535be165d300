//go:build !amd64 || purego

package cpu

func loopsOf(Level) *loops { return &genericLoops }
