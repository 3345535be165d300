package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"bilevel/device"
	"bilevel/device/cuda/report"
	"bilevel/device/devicetest"
	"bilevel/internal/atomicfile"
)

// findings is the JSON object of doctor --device. For a CUDA card, real or simulated, it also has the keys of
// report.Report: card, timing, model, kernels and modules.
type findings struct {
	Program     string    `json:"program"` // name, version, commit, compiler, system
	Processors  int       `json:"processors"`
	Time        time.Time `json:"time"`
	Device      string    `json:"device"`
	Detail      string    `json:"detail"`
	DriverCache string    `json:"driver_cache,omitempty"` // for cards: that the driver compiles a module at every load
	Conformance suite     `json:"conformance"`
	*report.Report
}

// suite is the result of the conformance suite against the reference device.
type suite struct {
	Cases   int       `json:"cases"`
	Passed  int       `json:"passed"`
	Seconds float64   `json:"seconds"`
	Failed  []failure `json:"failed"`
}

type failure struct {
	Name  string `json:"name"`
	Error string `json:"error"`
}

// NVIDIA's driver keeps compiled modules in a folder. With this setting it does not, so that it compiles a module at
// every load and the report can tell how long that takes.
const cacheVariable, cacheOff = "CUDA_CACHE_DISABLE", "1"

var errStopped = errors.New("stopped by Ctrl-C or SIGTERM: no report was written")

// examineDevice runs the conformance suite on the device that the flags name, and measures the kernels if it is a card.
// It writes the report even where a case or a measurement failed, and then returns an error that says which.
func (a *app) examineDevice(ctx context.Context, f *common, cases []devicetest.Case, o report.Options) error {
	if f.out != "" {
		if err := checkWritable(f.out); err != nil {
			return err
		}
	}
	if err := os.Setenv(cacheVariable, cacheOff); err != nil { // the driver reads it when it is first used
		return err
	}
	dev, err := f.openDevice()
	if err != nil {
		return err
	}
	defer dev.Close()
	info := dev.Info()
	found := &findings{
		Program: versionText(), Processors: runtime.NumCPU(), Time: time.Now().UTC().Truncate(time.Second),
		Device: info.Name, Detail: info.Detail,
	}
	p := newProgress(a.stderr, f.quiet)
	found.Conformance, err = runSuite(ctx, dev, cases, p)
	if err == nil {
		stage := false
		o.Progress = func(done, of int) {
			if !stage {
				p.stage("kernels", of)
				stage = true
			}
			p.set(done)
		}
		if found.Report, err = report.Make(ctx, dev, o); errors.Is(err, report.ErrNoCard) {
			err = nil
		} else {
			found.DriverCache = "off: " + cacheVariable + "=" + cacheOff
		}
		p.end()
	}
	if ctx.Err() != nil {
		return errStopped
	}
	return cmp.Or(a.write(f, found), err, found.verdict())
}

// runSuite runs the cases and records those that fail. It returns an error where the context is cancelled, or where a
// case leaves the device unusable, such as a card that is lost.
func runSuite(ctx context.Context, dev device.Device, cases []devicetest.Case, p *progress) (suite, error) {
	s := suite{Cases: len(cases), Failed: []failure{}}
	begin := time.Now()
	p.stage("conformance", len(cases))
	defer p.end()
	for i, c := range cases {
		if ctx.Err() != nil {
			return s, context.Cause(ctx)
		}
		if err := c.Run(dev); err != nil {
			s.Failed = append(s.Failed, failure{c.Name, err.Error()})
			if err := dev.Sync(); err != nil {
				return s, fmt.Errorf("doctor: the suite ended at case %d of %d, %s: %w", i+1, len(cases), c.Name, err)
			}
		} else {
			s.Passed++
		}
		s.Seconds = time.Since(begin).Seconds()
		p.set(i + 1)
	}
	return s, nil
}

// verdict is an error that says how many cases or measurements failed, or nil where none did.
func (r *findings) verdict() error {
	if n := len(r.Conformance.Failed); n > 0 {
		return fmt.Errorf("doctor: %s computes wrong results in %d of %d cases, such as %s",
			r.Device, n, r.Conformance.Cases, r.Conformance.Failed[0].Name)
	}
	if r.Report == nil {
		return nil
	}
	n, first := 0, ""
	for _, k := range r.Kernels {
		if k.Error != "" {
			if n++; n == 1 {
				first = fmt.Sprintf("%s (%s): %s", k.Name, k.Size, k.Error)
			}
		}
	}
	if n > 0 {
		return fmt.Errorf("doctor: %d of %d measurements failed, such as %s", n, len(r.Kernels), first)
	}
	return nil
}

// write prints the report for people and for programs, and writes it to a file where --out says so.
func (a *app) write(f *common, r *findings) error {
	if !f.quiet {
		var w io.Writer = a.stdout
		if f.json {
			w = a.stderr
		}
		if err := r.writeTable(w); err != nil {
			return err
		}
	}
	text, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if f.out != "" {
		if err := os.MkdirAll(f.out, 0o777); err != nil {
			return err
		}
		file := filepath.Join(f.out, "report.json")
		if err := atomicfile.WriteFile(file, append(text, '\n')); err != nil {
			return err
		}
		if !f.quiet {
			fmt.Fprintf(a.stderr, "report: %s\n", file)
		}
	}
	if f.json {
		_, err = fmt.Fprintf(a.stdout, "%s\n", text)
	}
	return err
}

func (r *findings) writeTable(w io.Writer) error {
	s := r.Conformance
	fmt.Fprintf(w, "%s: %s\n", r.Device, r.Detail)
	fmt.Fprintf(w, "%d of %d conformance cases passed in %.1f s\n", s.Passed, s.Cases, s.Seconds)
	for _, c := range s.Failed {
		fmt.Fprintf(w, "  WRONG  %s: %s\n", c.Name, c.Error)
	}
	if r.Report == nil {
		return nil
	}
	fmt.Fprintln(w)
	return r.WriteTable(w)
}
