package params

import "fmt"

// Mode says how a model that keeps running statistics is to be evaluated.
type Mode uint8

const (
	// Train normalizes by the statistics of the batch and updates the running ones.
	Train Mode = iota
	// TrainFrozen normalizes by the statistics of the batch and leaves the running ones as they are.
	TrainFrozen
	// Eval normalizes by the running statistics.
	Eval
)

func (m Mode) String() string {
	switch m {
	case Train:
		return "train"
	case TrainFrozen:
		return "train with frozen statistics"
	case Eval:
		return "evaluate"
	}
	return fmt.Sprintf("Mode(%d)", uint8(m))
}
