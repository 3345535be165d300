package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/open"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/experiments/clean"
	"bilevel/experiments/prune"
	"bilevel/experiments/robust"
	"bilevel/experiments/train"
	"bilevel/tensor"
)

// measured is a device that remembers the most memory that was taken on it.
type measured struct {
	device.Device
	live, peak int64
}

func (m *measured) bytes(b device.Buffer) int64 {
	return int64(b.Len()) * m.Info().ElementBytes(b.Type())
}

func (m *measured) Alloc(t device.Type, n int) (device.Buffer, error) {
	b, err := m.Device.Alloc(t, n)
	if err == nil {
		m.live += m.bytes(b)
		m.peak = max(m.peak, m.live)
	}
	return b, err
}

func (m *measured) Free(b device.Buffer) {
	if b != nil {
		m.live -= m.bytes(b)
	}
	m.Device.Free(b)
}

// digitsCell is the first cell of an experiment on the embedded digits.
func digitsCell(t *testing.T, x experiments.Experiment, of func(*data.Dataset) any) (*data.Dataset, experiments.Cell) {
	t.Helper()
	set, err := data.Digits()
	require.NoError(t, err)
	cells, err := x.Cells(of(set), []uint64{1})
	require.NoError(t, err)
	return set, cells[0]
}

// What is predicted is what the run then takes, to the byte: the prediction allows so much and refuses with a byte
// less, and the run itself passes under a limit of so much.
func TestPredictedMemoryIsWhatARunTakes(t *testing.T) {
	guided := clean.Config{Weights: "table", Model: "softmax", Algorithm: "soba", Corrupt: 0.2, Iterations: 8}
	for name, c := range map[string]struct {
		experiments.Experiment
		of func(*data.Dataset) any
	}{
		"clean, plain": {clean.Experiment{}, func(set *data.Dataset) any { return clean.Defaults(set, 8) }},
		"clean, guided": {clean.Experiment{Guided: true}, func(set *data.Dataset) any {
			return clean.GuidedDefaults(set, guided, true)
		}},
		"train": {train.Experiment{}, func(set *data.Dataset) any {
			c := train.Defaults(set)
			c.Model, c.BatchNorm, c.Epochs = "mlp:40-20", true, 1
			return c
		}},
	} {
		for _, dev := range []device.Device{cpudevice.New(2), ref.New()} {
			if name == "clean, guided" && dev.Info().RealBits == 64 {
				continue // the same again, slowly
			}
			set, cell := digitsCell(t, c, c.of)
			m := &measured{Device: dev}
			run := func(limit int64) error {
				env := experiments.Env{Data: set, Memory: limit}
				_, err := experiments.Run(t.Context(), m, env, c, []experiments.Cell{cell}, nil, experiments.Hooks{})
				return err
			}
			require.NoError(t, run(0), name)
			require.Zero(t, m.live, name)
			need := m.peak
			require.Positive(t, need)
			_, err := checkMemory(t.Context(), dev.Info(), need, set, c, cell)
			require.NoError(t, err, name)
			_, err = checkMemory(t.Context(), dev.Info(), need-1, set, c, cell)
			require.ErrorIs(t, err, device.ErrMemory, name)
			var short *shortError
			require.True(t, errors.As(err, &short))
			require.Equal(t, need, short.need)
			require.Positive(t, short.arena)
			require.Less(t, short.arena, need)
			if name == "train" {
				require.NoError(t, run(need), name)
				err := run(need - 1)
				var refused *tensor.MemoryError
				require.True(t, errors.As(err, &refused), "what nobody predicted is refused where it does not fit: %v",
					err)
			}
			require.NoError(t, dev.Close())
		}
	}
}

// What a run takes is found out as fast for many epochs as for a few, and is the same.
func TestPredictionOfLongRuns(t *testing.T) {
	const few, many = 3, 1 << 30
	for name, c := range map[string]struct {
		x  experiments.Experiment
		of func(set *data.Dataset, epochs int) any
	}{
		"clean, plain": {clean.Experiment{}, func(set *data.Dataset, n int) any { return clean.Defaults(set, n) }},
		"clean, guided": {clean.Experiment{Guided: true}, func(set *data.Dataset, n int) any {
			c := clean.GuidedDefaults(set, clean.Config{Weights: "table", Model: "softmax", Corrupt: 0.2}, true)
			c.Iterations = n
			return c
		}},
		"train": {train.Experiment{}, func(set *data.Dataset, n int) any {
			c := train.Defaults(set)
			c.Model, c.Epochs = "mlp:20", n
			return c
		}},
		"robust train": {robust.Train{}, func(set *data.Dataset, n int) any {
			c := robust.Defaults(set)
			c.Model, c.Epochs, c.Certificate = "mlp:20", n, n/3
			c.Method = "fast-bat"
			return c
		}},
		"prune": {prune.Experiment{}, func(set *data.Dataset, n int) any {
			c := prune.Defaults(set)
			c.Model, c.PretrainEpochs, c.PruneEpochs, c.FinetuneEpochs = "mlp:20", n, n, n
			return c
		}},
	} {
		info := device.Info{Name: "card", RealBits: 32, Free: 1 << 40}
		set, short := digitsCell(t, c.x, func(set *data.Dataset) any { return c.of(set, few) })
		want, err := rehearse(t.Context(), info, set, c.x, short)
		require.NoError(t, err, name)
		_, long := digitsCell(t, c.x, func(set *data.Dataset) any { return c.of(set, many) })
		got, err := checkMemory(t.Context(), info, 0, set, c.x, long)
		require.NoError(t, err, name)
		require.Equal(t, want.PeakBytes, got.PeakBytes, name)
		require.Equal(t, want.LargestBytes, got.LargestBytes, name)
	}
}

func TestMemoryIsRefusedBeforeTheStart(t *testing.T) {
	dir := inNewFolder(t)
	for _, line := range []string{"clean --memory 1MB", "clean --weights plain --memory 1MB", "train --memory 1MB"} {
		refused(t, bilevel(line+" --out out"), exitEnvironment,
			"out of memory: the run would need ", " of the memory of cpu at its peak, and --memory allows 1.00 MB; ",
			`the most intermediate values, `, `: take a smaller --batch, fewer rows or a smaller model, or allow more`)
		require.Empty(t, listing(t, dir), line)
	}
	refused(t, bilevel("check quadratic --memory 1kB"), exitEnvironment, "check quadratic: ",
		"out of memory: it needs ", "of 1.0 kB in all; work on fewer rows at a time, or give it more memory")
	require.Zero(t, bilevel("train --memory 1GiB --epochs 1 --quiet --out out").code)
	require.Zero(t, bilevel("predict --memory 1GiB --model out/model.safetensors").code)
	refused(t, bilevel("predict --memory 1kB --model out/model.safetensors"), exitEnvironment,
		"out of memory: it needs ")
	settings, err := os.ReadFile("out/config.yaml")
	require.NoError(t, err)
	require.NotContains(t, string(settings), "memory", "another machine has another memory")
}

// Without --memory it is what the device has free that counts. A model whose start values the host cannot hold is
// refused before they are drawn.
func TestDeviceMemoryIsTheLimit(t *testing.T) {
	set, cell := digitsCell(t, train.Experiment{}, func(set *data.Dataset) any { return train.Defaults(set) })
	card := device.Info{Name: "card", RealBits: 32, Free: 1 << 20}
	_, err := checkMemory(t.Context(), card, 0, set, train.Experiment{}, cell)
	require.ErrorIs(t, err, device.ErrMemory)
	require.ErrorContains(t, err, "of the memory of card at its peak, of which 1.05 MB are free; ")
	require.ErrorContains(t, err, "or free some memory")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	card.Free = 1 << 40
	_, err = checkMemory(ctx, card, 0, set, train.Experiment{}, cell)
	require.ErrorIs(t, err, context.Canceled)
	refused(t, bilevel("train --model mlp:1048576-1048576 --out "+t.TempDir()), exitEnvironment,
		"the model mlp:1048576-1048576 has 1099", "parameters, whose start values would take 8796.",
		"take narrower layers")
}

// A card has no convolutions yet. Where auto chose it, such a run goes to the processor and says why; where it was
// asked for, the run is refused before it starts.
func TestAutoTakesADeviceThatHasTheOperations(t *testing.T) {
	set, cell := digitsCell(t, train.Experiment{}, func(set *data.Dataset) any {
		c := train.Defaults(set)
		c.Model = "lenet"
		return c
	})
	for name, want := range map[string]string{auto: "cpu", "cuda-sim": "cuda-sim:a100"} {
		dev, err := open.Open("cuda-sim", open.Options{})
		require.NoError(t, err)
		var said bytes.Buffer
		a := &app{stderr: &said}
		dev, _, err = a.fitting(t.Context(), &common{device: name}, dev, 0, set, train.Experiment{}, cell)
		require.Equal(t, want, strings.TrimSuffix(dev.Info().Name, " through cgo"))
		if name == auto {
			require.NoError(t, err)
			require.Contains(t, said.String(), "bilevel: running on cpu: ")
			require.Contains(t, said.String(), "has no Conv yet, devices cpu and ref have")
		} else {
			require.ErrorIs(t, err, device.ErrOperation)
			require.Empty(t, said.String())
		}
		require.NoError(t, dev.Close())
	}
}

// unclosed is a device that cannot be closed.
type unclosed struct{ device.Device }

func (unclosed) Close() error { return device.ErrLost }

// Where the card is closed and the processor cannot be opened in its place, no device is given back.
func TestAutoGivesNoClosedDevice(t *testing.T) {
	set, cell := digitsCell(t, train.Experiment{}, func(set *data.Dataset) any {
		c := train.Defaults(set)
		c.Model = "lenet"
		return c
	})
	sim := func() device.Device {
		dev, err := open.Open("cuda-sim", open.Options{})
		require.NoError(t, err)
		return dev
	}
	a, kept := &app{stderr: &bytes.Buffer{}}, sim()
	for _, c := range []struct {
		dev     device.Device
		threads int
		want    string
	}{{sim(), -1, "-1 threads"}, {unclosed{kept}, 0, device.ErrLost.Error()}} {
		dev, _, err := a.fitting(t.Context(), &common{device: auto, threads: c.threads}, c.dev, 0, set,
			train.Experiment{}, cell)
		require.ErrorContains(t, err, c.want)
		require.Nil(t, dev)
	}
	require.NoError(t, kept.Close())
}

// FuzzMemory holds that every word is a positive size or an error of usage.
func FuzzMemory(f *testing.F) {
	for _, word := range []string{
		"2GB", "1.5 GiB", "500mb", "7", "0", "-1", "1e9", "99999999999EB", "NaN", "inf", ".", ",",
		"9223372036854775808",
	} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		flags := common{memory: word}
		bytes, err := flags.limit()
		switch {
		case err != nil:
			require.True(t, isUsage(err), "%v", err)
			require.Zero(t, bytes)
			require.True(t, strings.HasPrefix(err.Error(), "--memory "))
		case word != "":
			require.Positive(t, bytes)
		}
	})
}
