package experimentstest

import (
	"context"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// Run is a cell of an experiment on a device, to be run again and again.
type Run struct {
	Device     tensor.Device
	Experiment experiments.Experiment
	Cell       experiments.Cell
	Data       *data.Dataset
	Stopped    func(done int) // told how far an attempt was when it was stopped; may be nil
}

// Attempt runs the cell, with a store where it is to be kept. It is stopped when it has told of its progress so often,
// never for 0. The error is then context.Canceled.
func (r Run) Attempt(t testing.TB, store *experiments.Store, stopAt int) (*experiments.Record, error) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	told := 0
	env := experiments.Env{Data: r.Data, Progress: func(done int) {
		if told++; told != stopAt {
			return
		}
		if r.Stopped != nil {
			r.Stopped(done)
		}
		stop()
	}}
	return experiments.RunCell(ctx, r.Device, env, r.Experiment, r.Cell, store)
}

// mostAttempts is far more than a test of stops needs.
const mostAttempts = 1000

// SameBits fails where a run that is stopped again and again, and goes on each time, does not end with the bits of one
// that never was. Each attempt is stopped so many steps of its progress later than the one before. It gives the record
// of the run that never was stopped.
func (r Run) SameBits(t testing.TB, later int) *experiments.Record {
	t.Helper()
	whole, err := r.Attempt(t, nil, 0)
	require.NoError(t, err)
	store := &experiments.Store{Dir: t.TempDir(), Resume: true, Every: time.Nanosecond}
	for stops := range mostAttempts {
		resumed, err := r.Attempt(t, store, 2+stops*later)
		if err == nil {
			require.Greater(t, stops, 1, "it was stopped too seldom")
			require.Equal(t, Untimed(whole), Untimed(resumed))
			return whole
		}
		require.ErrorIs(t, err, context.Canceled)
	}
	require.Fail(t, "the run does not end")
	return nil
}

// Untimed is a copy of a record without what the clock says, and with infinity in the place of what is no number, which
// would not be equal to itself.
func Untimed(r *experiments.Record) *experiments.Record {
	u := *r
	u.Scalars, u.Texts = map[string]float64{}, maps.Clone(r.Texts)
	for name, v := range r.Scalars {
		if !strings.Contains(name, "seconds") && !strings.HasPrefix(name, "latency.") {
			u.Scalars[name] = equal(v)
		}
	}
	delete(u.Texts, "break_even") // of latencies
	u.Curve.Rows = nil
	for _, row := range r.Curve.Rows {
		row = slices.Clone(row)
		for i, name := range r.Curve.Columns {
			if row[i] = equal(row[i]); name == "seconds" {
				row[i] = 0
			}
		}
		u.Curve.Rows = append(u.Curve.Rows, row)
	}
	if r.Implicit != nil {
		implicit := *r.Implicit
		implicit.Control = equal(implicit.Control)
		u.Implicit = &implicit
	}
	return &u
}

func equal(v float64) float64 {
	if math.IsNaN(v) {
		return math.Inf(1)
	}
	return v
}
