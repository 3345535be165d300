package experiments

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/host"
	"bilevel/solvers"
	"bilevel/tensor"
)

// The setting that implementations of hyper-cleaning are compared in (Dagréou et al., NeurIPS 2022, section 4): half of
// MNIST's labels redrawn, 4,096 iterations. Certificate and baselines, which take longer than the run, are left out.
func TestCleanMNIST(t *testing.T) {
	if testing.Short() {
		t.Skip("a run on MNIST takes seconds: skipped with -short")
	}
	if os.Getenv(data.EnvFolder) == "" {
		t.Skip("set BILEVEL_DATA to a folder with mnist in it to run on real images")
	}
	set, err := data.Open("mnist", os.Getenv)
	require.NoError(t, err)
	soba, err := solvers.AlgorithmByName("soba")
	require.NoError(t, err)
	sqrt, err := solvers.ScheduleByName("sqrt")
	require.NoError(t, err)
	c := Clean{Corrupt: 0.5, Train: 20000, Val: 5000, Algorithm: soba, Schedule: sqrt, Step: 1, OuterStep: 1e4, Reg: 0.2, Iterations: 4096, Batch: 64, Records: 1}

	dev := host.New(0)
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	d, err := c.prepare(set, 1)
	require.NoError(t, err)
	b, err := c.build(ex, d, 1)
	require.NoError(t, err)
	defer b.close()
	run := &CleanRun{Seed: 1, data: d}
	require.NoError(t, c.solve(context.Background(), ex, b, run, CleanEvents{}))
	require.NoError(t, run.score(b))
	t.Logf("test error %.4f, auc %.4f, auc_drawn %.4f, %.2f s", run.TestError, *run.AUC, *run.AUCDrawn, run.Seconds)
	require.LessOrEqual(t, run.TestError, 0.145)
	require.GreaterOrEqual(t, *run.AUC, 0.955)
	require.GreaterOrEqual(t, *run.AUCDrawn, 0.905)
}
