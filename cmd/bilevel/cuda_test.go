package main

import (
	"errors"
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
)

// A run of bilevel clean takes the same minibatches on a card as on the processor, and ends with the same numbers: each
// iteration adds at most about 20 rounding errors of 2⁻²⁴ on either device, and nothing amplifies them. The minibatches
// of another seed give other numbers. The device's name says how the simulated card was reached.
func TestCUDACleansAsTheProcessor(t *testing.T) {
	if testing.Short() {
		t.Skip("long: a whole experiment on a simulated card")
	}
	iterations, size := 10, "./few --corrupt 0.5 --train 64 --val 48 --batch 16 --reg 0.3 --step 0.3 --outer-step 600"
	if os.Getenv("BILEVEL_LONG") != "" {
		iterations, size = 200, "digits"
	}
	card, name := "cuda-sim:h100", "cuda-sim:h100"+wayToTheCard
	if os.Getenv("REQUIRE_GPU") != "" {
		card, name = "cuda:0", "cuda:0"
	}
	inNewFolder(t)
	const few = 200
	digits, err := data.Digits()
	require.NoError(t, err)
	writeFiles(t, "few", map[string][]byte{
		"train_x.npy": array(t, digits.Train.Features[:few*digits.Train.Dim], few, digits.Train.Dim),
		"train_y.npy": array(t, digits.Train.Labels[:few], few),
	})
	clean := func(device string, seed int) map[string]any {
		r := bilevel(fmt.Sprintf("clean --weights plain --algo soba --quiet --json --out out --iters %d "+
			"--seed %d --device %s --data %s", iterations, seed, device, size))
		require.Equal(t, exitOK, r.code, r.stderr)
		require.Empty(t, r.stderr)
		return lastLine(t, r)
	}
	got, want, other := clean(card, 3), clean("cpu", 3), clean("cpu", 4)
	require.Equal(t, name, got["device"])
	require.Equal(t, want["oracle"], got["oracle"])

	roundOff := 2 * 20 * float64(iterations) * 0x1p-24
	require.InEpsilon(t, want["val_loss"], got["val_loss"], roundOff)
	a, b := want["hypergradient"].(map[string]any), got["hypergradient"].(map[string]any)
	for _, key := range []string{"norm", "stationarity"} { // these come from a linear solve, which amplifies rounding
		require.InEpsilon(t, a[key], b[key], 10*roundOff, key)
	}
	for _, key := range []string{"auc", "test_error"} { // rounding may change the order of two rows
		require.InDelta(t, want[key], got[key], 2e-3, key)
	}
	ratio := want["val_loss"].(float64) / other["val_loss"].(float64)
	require.Greater(t, max(ratio, 1/ratio), 1+50*roundOff)
}

// Where auto takes the processor in a build with CUDA, it says why in one line, which --quiet suppresses. A card that
// is named must exist.
func TestCUDANotice(t *testing.T) {
	inNewFolder(t)
	const line = "clean --weights plain --iters 5 --json --out out"
	r := bilevel(line)
	require.Equal(t, exitOK, r.code, r.stderr)
	if device := lastLine(t, r)["device"]; device == "cpu" && hasCUDA {
		require.Regexp(t, `(?m)^bilevel: running on cpu: device not available: cuda:0: the.+$`, r.stderr)
		require.Empty(t, bilevel(line+" --quiet").stderr)
	} else {
		require.NotContains(t, r.stderr, "bilevel: ")
	}
	refused(t, bilevel(line+" --device cuda:99"), exitEnvironment, "device not available: cuda:99: ")
}

// Where a card was lost, the error says how the run goes on, if there is a checkpoint to go on from.
func TestCUDALostCardsLeaveACheckpoint(t *testing.T) {
	lost := fmt.Errorf("clean digits: cuda:0: %w", device.ErrLost)
	require.EqualError(t, goOn(lost, true, "clean", "results/a"), "clean digits: cuda:0: the card is lost to this "+
		"process; the last checkpoint is kept, go on with: bilevel clean --resume results/a")
	require.Equal(t, lost, goOn(lost, false, "clean", "results/a"))
	other := errors.New("another error")
	require.Equal(t, other, goOn(other, true, "clean", "results/a"))
}
