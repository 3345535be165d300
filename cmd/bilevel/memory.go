package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"runtime/debug"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/null"
	"bilevel/device/open"
	"bilevel/experiments"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"
)

// registerMemory adds the flag that bounds what a command takes on the device. limit turns it into bytes.
func (f *common) registerMemory(c *cobra.Command) {
	c.Flags().StringVar(&f.memory, "memory", "",
		"most memory to take on the device, such as 500MB or 2GB (default: what the device has free)")
}

// limit is --memory in bytes, 0 where the flag was not given.
func (f *common) limit() (int64, error) {
	if f.memory == "" {
		return 0, nil
	}
	bytes, err := humanize.ParseBytes(f.memory)
	if err != nil || bytes < 1 || bytes > math.MaxInt64 {
		return 0, usagef("--memory %s: wants a size such as 500MB, 2GB or 1.5GiB", f.memory)
	}
	return int64(bytes), nil
}

// shortError says that a run would need more memory than there is for it. It wraps device.ErrMemory.
type shortError struct {
	need, have int64
	limited    bool // by --memory, else by what the device has free
	device     string
	program    string // with the most intermediate values
	arena      int64  // that many bytes of them
}

func (e *shortError) Unwrap() error { return device.ErrMemory }

func (e *shortError) Error() string {
	have, more := "of which "+inUnits(e.have)+" are free", "free some memory"
	if e.limited {
		have, more = "and --memory allows "+inUnits(e.have), "allow more"
	}
	return fmt.Sprintf(
		"%v: the run would need %s of the memory of %s at its peak, %s; the most intermediate values, %s, are those "+
			"of %q: take a smaller --batch, fewer rows or a smaller model, or %s",
		device.ErrMemory, inUnits(e.need), e.device, have, inUnits(e.arena), e.program, more,
	)
}

func inUnits(bytes int64) string { return humanize.BytesN(uint64(bytes), 3) }

// fitting finds out what a cell of an experiment needs, as checkMemory does. Where --device auto opened a card and the
// cell has operations that the card lacks, it closes the card, opens the processor instead and says why. The device is
// nil where the card is closed and no other is open.
func (a *app) fitting(
	ctx context.Context, f *common, dev device.Device, limit int64, set *data.Dataset, x experiments.Experiment,
	c experiments.Cell,
) (device.Device, null.Stats, error) {
	need, err := checkMemory(ctx, dev.Info(), limit, set, x, c)
	if f.device != auto || !errors.Is(err, device.ErrOperation) {
		return dev, need, err
	}
	why := err
	if err := dev.Close(); err != nil {
		return nil, need, err
	}
	if dev, err = open.Open("cpu", open.Options{Threads: f.threads}); err != nil {
		return nil, need, err
	}
	if !f.quiet {
		fmt.Fprintf(a.stderr, "bilevel: running on %s: %v\n", dev.Info().Name, why)
	}
	need, err = checkMemory(ctx, dev.Info(), limit, set, x, c)
	return dev, need, err
}

// checkMemory finds out what a cell of an experiment needs, and refuses it where that is more than limit, or, where
// limit is 0, than the device has free. How long the cell's run is makes no difference to it.
func checkMemory(
	ctx context.Context, info device.Info, limit int64, set *data.Dataset, x experiments.Experiment, c experiments.Cell,
) (need null.Stats, err error) {
	if s, ok := x.(experiments.Shortener); ok {
		c.Config = s.Shorten(c.Config)
	}
	r, err := rehearse(ctx, info, set, x, c)
	if need = r.Stats; err != nil {
		return need, err
	}
	have, limited := info.Free, false
	if limit > 0 && limit < have {
		have, limited = limit, true
	}
	if int64(need.PeakBytes) > have {
		err = &shortError{int64(need.PeakBytes), have, limited, info.Name, need.Largest, int64(need.LargestBytes)}
	}
	return need, err
}

// rehearse finds out what a cell needs. It does the cell on a null device, which computes nothing and answers 0 to
// everything, so that whatever the experiment compiles and uploads is counted and nothing of it is there. An experiment
// that cannot go on with zeros is counted as far as it comes. The error wraps device.ErrOperation where the cell needs
// an operation that the device lacks.
func rehearse(
	ctx context.Context, info device.Info, set *data.Dataset, x experiments.Experiment, c experiments.Cell,
) (r rehearsal, err error) {
	dev := null.Like(info)
	_, r.ended = experiments.RunCell(ctx, dev, experiments.Env{Data: set}, x, c, nil)
	r.Stats = dev.Stats()
	err = errors.Join(ctx.Err(), dev.Close())
	debug.FreeOSMemory() // the rows that were prepared for it
	if err == nil {
		err = r.Lacked
	}
	return r, err
}

// rehearsal is what was counted, and the error that ended the cell before its end: as a rule it comes of the zeros.
type rehearsal struct {
	null.Stats
	ended error
}

// worthSaying is the peak in bytes from which on a run says what it needs before it starts.
const worthSaying = 64 << 20
