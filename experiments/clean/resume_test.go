package clean

import (
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/cpudevice"
	"bilevel/experiments/experimentstest"
)

// A cell that is stopped again and again and goes on each time ends with the bits of one that never was.
func TestStoppedCellsGoOnToTheSameBits(t *testing.T) {
	set, err := data.Open("digits", nil)
	require.NoError(t, err)
	none := data.Dataset{Name: set.Name, Train: set.Train, Classes: set.Classes, Shape: set.Shape}
	plain := Defaults(set, 600)
	short := func(form, model string) Config {
		c := guidedConfig(form, model)
		c.Iterations = 20
		return c
	}
	for name, c := range map[string]struct {
		config Config
		data   *data.Dataset
	}{
		"table":              {short(formTable, "softmax"), set},
		"chosen":             {short(Auto, Auto), set},
		"confident learning": {Config{Weights: Auto, Model: "softmax", Reg: 0.005, Batch: 64}, &none},
		"plain":              {plain, set},
	} {
		t.Run(name, func(t *testing.T) {
			dev := cpudevice.New(1)
			defer func() { require.NoError(t, dev.Close()) }()
			cells, err := Experiment{Guided: !c.config.plain()}.Cells(c.config, []uint64{3})
			require.NoError(t, err)
			experimentstest.Run{Device: dev, Experiment: Experiment{}, Cell: cells[0], Data: c.data}.SameBits(t, 3)
		})
	}
}
