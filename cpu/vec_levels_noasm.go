//go:build purego || !(amd64 || arm64)

package cpu

func loopsOf(Level) *loops { return &genericLoops }

// tapeMachineOf has no steps to give.
func tapeMachineOf(Level) *tapeMachine { return nil }
