package bench

import (
	"encoding/json"
	"flag"
	"math"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/sim"
	"bilevel/tensor"
)

var update = flag.Bool("update", false, "write testdata/graphs.json anew")

const graphsFile = "testdata/graphs.json"

// counted is a card that runs nothing and counts the kernels that it was told to run, and those that wait for others:
// the longest chains of the graphs, one after the other.
type counted struct {
	*cuda.Device
	kernels, depth int
}

type countedRunner struct {
	device.Runner
	d *counted
}

func (d *counted) Prepare(p *device.Program) (device.Runner, error) {
	r, err := d.Device.Prepare(p)
	return countedRunner{r, d}, err
}

func (r countedRunner) Run(n int) error {
	r.d.kernels += n * len(cuda.Kernels(r.Runner))
	r.d.depth += n * cuda.Depth(r.Runner)
	return nil
}

func (r countedRunner) Close() error { return r.Runner.Close() }

// Chain is what an iteration of a hot loop costs a card beside the work itself.
type Chain struct {
	Kernels float64 `json:"kernels"`
	Depth   float64 `json:"depth"` // of them in the longest chain
}

// The kernels of every hot loop and their longest chains are as committed: neither may grow unnoticed.
func TestGraphsOfHotLoops(t *testing.T) {
	drv, err := sim.New("h100")
	require.NoError(t, err)
	drv.Plain = true
	card, err := cuda.New(drv, cuda.Options{Name: "cuda-sim"})
	require.NoError(t, err)
	found := map[string]Chain{}
	for _, w := range slices.Concat(networks(), cleaning()) {
		d := &counted{Device: card}
		ex := tensor.NewExecutor(d)
		p, err := w.Prepare(ex)
		require.NoError(t, err, w.Key)
		d.kernels, d.depth = 0, 0
		require.NoError(t, p.Call(), w.Key)
		per := func(n int) float64 { return math.Round(100*float64(n)/float64(p.Per)) / 100 }
		found[w.Key] = Chain{per(d.kernels), per(d.depth)}
		require.NoError(t, ex.Close())
	}
	require.NoError(t, card.Close())
	if *update {
		text, err := json.MarshalIndent(found, "", " ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(graphsFile, append(text, '\n'), 0o644))
	}
	text, err := os.ReadFile(graphsFile)
	require.NoError(t, err)
	var want map[string]Chain
	require.NoError(t, json.Unmarshal(text, &want))
	require.Equal(t, want, found, "run go test ./bench -run GraphsOfHotLoops -update")
}
