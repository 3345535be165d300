package solvers

import "fmt"

// Status says how a run ended.
type Status uint8

const (
	// Finished: all iterations were done.
	Finished Status = iota
	// Cancelled: the caller's context ended; the state is that of the last whole chunk.
	Cancelled
	// NotFinite: a NaN or an infinity came up in the state; Result.Iterations names the iteration.
	NotFinite
)

var statusText = [...]struct{ name, advice string }{
	Finished:  {"finished", ""},
	Cancelled: {"cancelled", "run again with more time"},
	NotFinite: {"not finite", "use smaller step sizes, or look for very large values in the data"},
}

func (s Status) String() string {
	if int(s) < len(statusText) {
		return statusText[s].name
	}
	return fmt.Sprintf("Status(%d)", uint8(s))
}

// Advice says what to try; it is empty when there is nothing to say.
func (s Status) Advice() string {
	if int(s) < len(statusText) {
		return statusText[s].advice
	}
	return ""
}
