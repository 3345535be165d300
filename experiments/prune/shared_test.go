package prune

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/cpudevice"
	"bilevel/experiments"
	"bilevel/experiments/experimentstest"
)

// Cells that begin alike do what they have in common once, and have the numbers of cells that are alone.
func TestCellsShareTheirBeginnings(t *testing.T) {
	dev := cpudevice.New(1)
	store := &experiments.Store{Dir: t.TempDir(), Resume: true, Share: true, Version: "1"}
	one := func(c Config, store *experiments.Store, seed uint64) (*experiments.Record, []string) {
		cells, err := Experiment{}.Cells(c, []uint64{seed})
		require.NoError(t, err)
		var stages []string
		_, set := small(t, "omp")
		env := experiments.Env{Data: set, Stage: func(name string, _ int) { stages = append(stages, name) }}
		records, err := experiments.Run(t.Context(), dev, env, Experiment{}, cells, store, experiments.Hooks{})
		require.NoError(t, err)
		return records[0], stages
	}
	cell := func(method string, keep float64, change func(*Config)) Config {
		c, _ := small(t, method)
		c.Keep, c.BatchNorm, c.Part = keep, true, 0.5
		if change != nil {
			change(&c)
		}
		return c
	}
	for _, of := range []struct {
		c      Config
		seed   uint64
		stages []string // that are left to do
	}{
		{cell("omp", 0.3, nil), 3, []string{"pretrain", "fine-tune"}},
		{cell("gradual", 0.3, nil), 3, []string{"prune", "fine-tune"}},
		{cell("imp", 0.3, nil), 3, []string{"round 2", "fine-tune"}},
		// The round before keeps a half for both, the last one another part.
		{cell("imp", 0.2, nil), 3, []string{"round 3", "fine-tune"}},
		{cell("imp", 0.1, nil), 3, []string{"round 4", "fine-tune"}},
		// Other rounds, another pretraining, other start values.
		{cell("imp", 0.1, func(c *Config) { c.Part = 0.6 }), 3, []string{"round 2", "round 3", "fine-tune"}},
		{cell("omp", 0.3, func(c *Config) { c.PretrainStep = 0.02 }), 3, []string{"pretrain", "fine-tune"}},
		{cell("omp", 0.3, func(c *Config) { c.Momentum = 0.8 }), 3, []string{"pretrain", "fine-tune"}},
		{cell("omp", 0.3, nil), 4, []string{"pretrain", "fine-tune"}},
	} {
		r, stages := one(of.c, store, of.seed)
		require.Equal(t, of.stages, stages, "%+v", of.c)
		alone, _ := one(of.c, nil, of.seed)
		require.Equal(t, experimentstest.Untimed(alone), experimentstest.Untimed(r), "%+v", of.c)
	}
	store.Version = "2" // whose bits may be others
	_, stages := one(cell("gradual", 0.2, nil), store, 3)
	require.Equal(t, []string{"pretrain", "prune", "fine-tune"}, stages)
	require.NoError(t, store.Unshare())
	_, stages = one(cell("gradual", 0.1, nil), store, 3)
	require.Equal(t, []string{"pretrain", "prune", "fine-tune"}, stages)
	require.NoError(t, dev.Close())
}

// Whatever a beginning is made of that its steps do not say is in its key: a new setting is, too, unless it is
// forgotten there on purpose.
func TestCommonSettings(t *testing.T) {
	c, _ := small(t, "imp")
	require.Equal(t, Config{
		Model: "mlp:20-10", Start: c.Start, Val: 300, Split: Drawn, Batch: 60, Momentum: 0.9, Schedule: "cosine",
	}, c.common())
}
