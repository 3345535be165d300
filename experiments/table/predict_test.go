package table

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A trial that saw progress tells the time of its stage, one that saw none that of the work that was counted. The
// process is the buffers of the whole cell and what the trial took beside its own.
func TestPredictionOfATrial(t *testing.T) {
	trial := Trial{Seconds: 12, Before: 2, Done: 5, Total: 50, Stage: "train", FLOP: 4e9, Busy: 2, Memory: 700,
		Buffers: 300, Host: 350}
	need := Need{FLOP: 60e9, Peak: 500}
	p := trial.predict(need)
	require.Equal(t, 2+50*10./5, p.Seconds)
	require.EqualValues(t, 850, p.Memory)
	require.Contains(t, p.Basis, `in the stage "train"`)

	trial.Done = 0
	p = trial.predict(need)
	require.Equal(t, 30., p.Seconds)
	require.Contains(t, p.Basis, "at the 2 GFLOP/s of a trial")

	trial.FLOP, trial.Buffers = 0, 0 // a card's buffers are not the process's
	p = trial.predict(need)
	require.Zero(t, p.Seconds)
	require.Equal(t, fromNone, p.Basis)
	require.EqualValues(t, 700, p.Memory)
}
