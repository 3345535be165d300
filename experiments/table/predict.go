package table

import (
	"context"
	"fmt"
	"sync"
	"time"

	"bilevel/experiments"
	"bilevel/tensor"
)

// Trial is what a short run of a cell showed.
type Trial struct {
	Finished bool    `json:"finished"` // else it was stopped
	Seconds  float64 `json:"seconds"`
	Stage    string  `json:"stage"` // that it was stopped in, with its units of work
	Done     int     `json:"done"`
	Total    int     `json:"total"`
	Before   float64 `json:"before"` // seconds until that stage began
	Memory   int64   `json:"memory"` // the most that the process held, in bytes; 0: unknown
	Reason   string  `json:"reason"` // why it failed
}

// patience is how many times as long as a trial a cell may take until it tells of progress for the first time.
const patience = 40

// Try runs a cell, and keeps nothing. It is stopped when it has told of progress for d, or after patience times d
// without any.
func Try(ctx context.Context, dev tensor.Device, run *Run, c Cell, d time.Duration) Trial {
	own, cancel := context.WithTimeout(ctx, patience*d)
	defer cancel()
	enough := sync.OnceFunc(func() { time.AfterFunc(d, cancel) })
	begin := time.Now()
	var mu sync.Mutex // progress may still be told while a run that was stopped is left
	var t Trial
	env := experiments.Env{
		Data: run.Data,
		Stage: func(name string, total int) {
			mu.Lock()
			defer mu.Unlock()
			t.Stage, t.Total, t.Done, t.Before = name, total, 0, time.Since(begin).Seconds()
		},
		Progress: func(done int) {
			mu.Lock()
			defer mu.Unlock()
			enough()
			t.Done = done
			t.Seconds = time.Since(begin).Seconds()
		},
	}
	_, err := experiments.RunCell(own, dev, env, run.Experiment, c.Cell, nil)
	mu.Lock()
	defer mu.Unlock()
	if t.Finished = err == nil; t.Finished {
		t.Seconds = time.Since(begin).Seconds()
	} else if own.Err() == nil {
		t.Reason = err.Error()
	}
	t.Memory = peakMemory()
	return t
}

// What a prediction is made from.
const (
	fromCells = "its finished cells"
	fromRun   = "a whole cell run to try it"
	fromTrial = "a trial that was stopped in the stage %q; stages after it are not counted"
	fromNone  = "nothing: the trial was too short for a figure"
)

// Prediction is what a cell of a row is expected to take; 0 where nobody can say.
type Prediction struct {
	Seconds float64
	Memory  int64
	Basis   string
}

// predict makes a prediction of a trial.
func (t Trial) predict() Prediction {
	switch {
	case t.Reason != "":
		return Prediction{0, t.Memory, "its trial, which failed: " + t.Reason}
	case t.Finished:
		return Prediction{t.Seconds, t.Memory, fromRun}
	case t.Done == 0 || t.Total == 0:
		return Prediction{0, t.Memory, fromNone}
	}
	rate := (t.Seconds - t.Before) / float64(t.Done)
	return Prediction{t.Before + rate*float64(t.Total), t.Memory, fmt.Sprintf(fromTrial, t.Stage)}
}

// Predict gives a prediction for each row: the mean over its finished cells in the folder where there are any, else
// that of a trial of its first cell, which try makes. Rows of a method with the same work, which is what they do as a
// text, share a trial; so do the combinations of settings to choose from.
func (f *Folder) Predict(t *Table, work []string, try func(c Cell) (Trial, error)) ([]Prediction, error) {
	outcomes, err := f.Outcomes(t)
	if err != nil {
		return nil, err
	}
	out := make([]Prediction, len(t.Rows))
	n := make([]float64, len(t.Rows))
	for _, o := range outcomes {
		if row := o.Cell.Row; o.Record != nil && o.Cost.Seconds > 0 {
			n[row]++
			out[row].Seconds += (o.Cost.Seconds - out[row].Seconds) / n[row]
			out[row].Memory, out[row].Basis = max(out[row].Memory, o.Cost.Memory), fromCells
		}
	}
	tried := map[string]Prediction{}
	for _, o := range outcomes {
		if out[o.Cell.Row].Basis != "" {
			continue
		}
		row := t.Rows[o.Cell.Row]
		like := fmt.Sprintf("%q %q", row.likeness, row.Varied)
		if row.likeness == row.Method {
			like = fmt.Sprintf("%q %q", row.Method, work[o.Cell.Row])
		}
		if _, ok := tried[like]; !ok {
			trial, err := try(o.Cell)
			if err != nil {
				return nil, err
			}
			tried[like] = trial.predict()
		}
		out[o.Cell.Row] = tried[like]
	}
	return out, nil
}

// State is what a cell is at: finished, failed, held by a process, begun, or to do.
func (f *Folder) State(c Cell) string {
	var why failure
	if f.read(c.Key, failureFile, &why); why.Reason != "" {
		return "failed"
	}
	if f.Store.Finished(c.Key) {
		return "finished"
	}
	dir := f.Store.Folder(c.Key)
	n, err := latest(dir)
	if err != nil || n == 0 {
		return "to do"
	}
	if by, free, err := holder(dir, n, self()); err == nil && !free {
		return "at work: " + by.String()
	}
	return "begun"
}
