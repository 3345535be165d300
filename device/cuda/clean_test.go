package cuda_test

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/host"
	"bilevel/experiments"
	"bilevel/solvers"
	"bilevel/tensor"
)

// A whole experiment, hyper-cleaning with SOBA, takes the same minibatches on a card as on the processor and ends with the
// same numbers: each iteration adds about 20 roundings of 2⁻²⁴ at most, on both sides, and nothing amplifies them. Other
// minibatches, those of another seed, end elsewhere.
func TestCleanAsOnTheProcessor(t *testing.T) {
	if testing.Short() {
		t.Skip("long: a whole experiment")
	}
	t.Parallel()
	soba, err := solvers.AlgorithmByName("soba")
	require.NoError(t, err)
	linear, err := solvers.ScheduleByName("linear")
	require.NoError(t, err)
	set, err := data.Digits()
	require.NoError(t, err)
	clean := experiments.Clean{Corrupt: 0.5, Train: 64, Val: 48, Algorithm: soba, Schedule: linear, Step: 0.1, OuterStep: 60, Reg: 0.3,
		Iterations: 20, Batch: 16, Records: 4}
	run := func(d device.Device, seed uint64) *experiments.CleanRun {
		ex := tensor.NewExecutor(d)
		r, err := clean.Run(context.Background(), ex, set, seed, experiments.CleanEvents{})
		require.NoError(t, err)
		require.NoError(t, ex.Close())
		return r
	}
	card, _ := open(t)
	got := run(card, 3)
	shut(t, card)
	cpu := host.New(1)
	want, other := run(cpu, 3), run(cpu, 4)
	require.NoError(t, cpu.Close())

	const roundOff = 20 * 2 * 20 * 0x1p-24
	require.InEpsilon(t, want.ValLoss, got.ValLoss, roundOff)
	require.InEpsilon(t, *want.Hypergradient.Norm, *got.Hypergradient.Norm, 10*roundOff, "a linear solve in between")
	require.InDelta(t, *want.AUC, *got.AUC, 1e-3, "two rows may change places")
	require.Greater(t, max(other.ValLoss/want.ValLoss, want.ValLoss/other.ValLoss), 1+100*roundOff)
	require.Len(t, got.Curve, len(want.Curve))
}
