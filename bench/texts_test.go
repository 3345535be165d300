package bench

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/sim"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// recorder is a driver that keeps the PTX texts it is given.
type recorder struct {
	driver.Driver
	texts map[string]bool
}

type recordedContext struct {
	driver.Context
	r *recorder
}

func (r *recorder) Open(i int) (driver.Context, error) {
	c, err := r.Driver.Open(i)
	return &recordedContext{c, r}, err
}

func (c *recordedContext) Load(ptx string) (driver.Module, error) {
	c.r.texts[ptx] = true
	return c.Context.Load(ptx)
}

// The texts that a card makes for the hot loops go to the folder BILEVEL_TEXTS, for scripts/machine-code.
func TestTextsOfHotLoops(t *testing.T) {
	folder := os.Getenv("BILEVEL_TEXTS")
	if folder == "" {
		t.Skip("BILEVEL_TEXTS names no folder")
	}
	drv, err := sim.New("h100")
	require.NoError(t, err)
	drv.Plain = true
	rec := &recorder{drv, map[string]bool{}}
	card, err := cuda.New(rec, cuda.Options{Name: "cuda-sim"})
	require.NoError(t, err)
	for _, w := range slices.Concat(networks(), cleaning()) {
		ex := tensor.NewExecutor(card)
		_, err := w.Prepare(ex)
		require.NoError(t, err, w.Key)
		require.NoError(t, ex.Close())
	}
	require.NoError(t, card.Close())
	require.NotEmpty(t, rec.texts)
	for text := range rec.texts {
		_, body, _ := strings.Cut(text, ".entry ")
		name, _, _ := strings.Cut(body, "(")
		require.NoError(t, os.WriteFile(filepath.Join(folder, name+".ptx"), []byte(text), 0o644))
	}
}
