package clean

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/cpudevice"
	"bilevel/experiments"
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
	c := Config{
		Algorithm: "soba", Corrupt: 0.5, Train: 20000, Val: 5000, Schedule: "sqrt", Step: 1, OuterStep: 1e4, Reg: 0.2,
		Iterations: 4096, Batch: 64, Records: 1,
	}
	dev := cpudevice.New(0)
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	d, err := data.Prepare(set, data.Preparation{Train: c.Train, Val: c.Val, Corrupt: c.Corrupt}, 1)
	require.NoError(t, err)
	b, err := newTask(ex, c, d, 1)
	require.NoError(t, err)
	defer b.close()
	r, env := experiments.NewRecord(), &experiments.Env{Data: set}
	require.NoError(t, b.solve(context.Background(), env, r))
	require.NoError(t, b.score(context.Background(), env, r))
	v := r.Scalars
	t.Logf("test error %.4f, auc %.4f, auc_drawn %.4f, %.2f s", v["test_error"], v["auc"], v["auc_drawn"], v["seconds"])
	require.LessOrEqual(t, v["test_error"], 0.145)
	require.GreaterOrEqual(t, v["auc"], 0.955)
	require.GreaterOrEqual(t, v["auc_drawn"], 0.905)
}
