//go:build !purego

package cpu

// tapeMachineOf gives the steps of a level; nil where there are none.
func tapeMachineOf(l Level) *tapeMachine {
	switch l {
	case AVX512, AMX:
		return &tapeMachine{tapeCodeAVX512()[:], tapeRunAVX512, 64}
	case AVX2:
		return &tapeMachine{tapeCodeAVX2()[:], tapeRunAVX2, 32}
	}
	return nil
}
