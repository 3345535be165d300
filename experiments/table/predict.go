package table

import (
	"context"
	"fmt"
	"runtime/metrics"
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
	Before   float64 `json:"before"`  // seconds until that stage began
	Memory   int64   `json:"memory"`  // the most that the process held, in bytes; 0: unknown
	Buffers  int64   `json:"buffers"` // the most that buffers of the device took of the process; 0: none are there
	Host     int64   `json:"host"`    // the most that the process took beside them
	FLOP     float64 `json:"flop"`    // operations of products and convolutions
	Busy     float64 `json:"busy"`    // seconds in which programs did them
	All      float64 `json:"all"`     // seconds until it ended
	Reason   string  `json:"reason"`  // why it failed
}

// A cell that tells of no progress is stopped after patience times as long as a trial takes, when a program has run by
// then, and in any case after patience times that. Large networks take minutes until an iteration is done.
const patience = 5

// Try runs a cell, and keeps nothing. It is stopped when it has told of progress for d, or has gone on for long without
// any. done says how many operations of products and convolutions programs have done, and in how many seconds.
func Try(
	ctx context.Context, dev tensor.Device, run *Run, c Cell, d time.Duration, done func() (flop, seconds float64),
) Trial {
	own, cancel := context.WithTimeout(ctx, patience*patience*d)
	defer cancel()
	enough := sync.OnceFunc(func() { time.AfterFunc(d, cancel) })
	var mu sync.Mutex // guards host
	begin, other := time.Now(), max(0, peakMemory()-collected())
	host := collected()
	look := time.NewTicker(d / 10)
	defer look.Stop()
	go func() {
		for {
			select {
			case <-own.Done():
				return
			case <-look.C:
				mu.Lock()
				host = max(host, collected())
				mu.Unlock()
				if flop, _ := done(); flop > 0 && time.Since(begin) > patience*d {
					enough()
				}
			}
		}
	}()
	var t Trial
	env := experiments.Env{
		Data: run.Data,
		Stage: func(name string, total int) {
			t.Stage, t.Total, t.Done, t.Before = name, total, 0, time.Since(begin).Seconds()
		},
		Progress: func(done int) {
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
	t.FLOP, t.Busy = done()
	t.All, t.Memory = time.Since(begin).Seconds(), peakMemory()
	t.Host = max(host, collected()) + other
	return t
}

// collected is the memory of the process that is the collector's. Large buffers of the processor's device are not.
func collected() int64 {
	m := []metrics.Sample{{Name: "/memory/classes/total:bytes"}, {Name: "/memory/classes/heap/released:bytes"}}
	metrics.Read(m)
	return int64(m[0].Value.Uint64() - m[1].Value.Uint64())
}

// What a prediction is made from.
const (
	fromCells = "its finished cells"
	fromRun   = "a whole cell run to try it"
	fromTrial = "a trial that was stopped in the stage %q; stages after it are not counted"
	fromWork  = "its work on the device, at the %.3g GFLOP/s of a trial"
	fromNone  = "nothing: the trial was too short for a figure"
)

// Need is what a cell of a row takes and does on the device, counted without doing it.
type Need struct {
	Work string // of all kinds; rows of a method with the same text have one trial
	FLOP float64
	Peak int64 // bytes of buffers
}

// Prediction is what a cell of a row is expected to take; 0 where nobody can say.
type Prediction struct {
	Seconds float64
	Memory  int64
	Basis   string
}

// predict makes a prediction of a trial. What the process takes beside its buffers is taken to stay as it was.
func (t Trial) predict(n Need) Prediction {
	memory := t.Memory
	if t.Buffers > 0 && memory > 0 {
		memory = t.Host + n.Peak
	}
	rate := t.FLOP / t.Busy
	switch {
	case t.Reason != "":
		return Prediction{0, memory, "its trial, which failed: " + t.Reason}
	case t.Finished:
		return Prediction{t.Seconds, memory, fromRun}
	case t.Done > 0 && t.Total > 0:
		each := (t.Seconds - t.Before) / float64(t.Done)
		return Prediction{t.Before + each*float64(t.Total), memory, fmt.Sprintf(fromTrial, t.Stage)}
	case t.FLOP > 0 && n.FLOP > 0:
		return Prediction{n.FLOP / rate, memory, fmt.Sprintf(fromWork, rate/1e9)}
	}
	return Prediction{0, memory, fromNone}
}

// enoughTrials is how many seconds of trials a plan has in all where the work of its rows can be told at the rate of
// one that was tried.
const enoughTrials = 60

// Predict gives a prediction for each row: the mean over its finished cells in the folder where there are any, else
// that of a trial of its first cell, which try makes. Rows of a method with the same work, which is what they do as a
// text, share a trial; so do the combinations of settings to choose from.
func (f *Folder) Predict(t *Table, needs []Need, try func(c Cell) (Trial, error)) ([]Prediction, error) {
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
	tried := map[string]Trial{}
	var last Trial
	spent := 0.0
	for _, o := range outcomes {
		if out[o.Cell.Row].Basis != "" {
			continue
		}
		row, need := t.Rows[o.Cell.Row], needs[o.Cell.Row]
		like := fmt.Sprintf("%q %q", row.likeness, row.Varied)
		if row.likeness == row.Method {
			like = fmt.Sprintf("%q %q", row.Method, need.Work)
		}
		trial, ok := tried[like]
		if !ok && spent > enoughTrials && last.FLOP > 0 && need.FLOP > 0 {
			trial = Trial{Memory: last.Memory, Buffers: last.Buffers, Host: last.Host, FLOP: last.FLOP, Busy: last.Busy}
		} else if !ok {
			var err error
			if trial, err = try(o.Cell); err != nil {
				return nil, err
			}
			tried[like], last = trial, trial
			spent += trial.All
		}
		out[o.Cell.Row] = trial.predict(need)
	}
	return out, nil
}

// State is what a cell is at: finished, failed, held by a process, begun, or to do.
func (f *Folder) State(c Cell) string {
	switch { // a process that was killed as it merged folders leaves a failure beside the record
	case f.Store.Finished(c.Key):
		return "finished"
	case f.done(c.Key):
		return "failed"
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
