package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// progress shows how far a run is: by a bar on a terminal, by a line at the end of each stage elsewhere, and not at all
// when it is quiet.
type progress struct {
	w        io.Writer
	quiet    bool
	terminal bool
	prefix   string
	bar      *progressbar.ProgressBar
	name     string
	started  time.Time
}

func newProgress(w io.Writer, quiet bool) *progress {
	f, isFile := w.(*os.File)
	return &progress{w: w, quiet: quiet, terminal: isFile && term.IsTerminal(int(f.Fd()))}
}

// seed announces that the work for seed number i of n begins, counted from 0.
func (p *progress) seed(i, n int, seed uint64) {
	p.prefix = ""
	if n > 1 {
		p.prefix = fmt.Sprintf("seed %d (%d of %d): ", seed, i+1, n)
	}
}

// stage begins a stage of the work, which consists of so many units.
func (p *progress) stage(name string, total int) {
	p.end()
	p.name, p.started = name, time.Now()
	if p.quiet || !p.terminal {
		return
	}
	p.bar = progressbar.NewOptions(total,
		progressbar.OptionSetWriter(p.w), progressbar.OptionSetDescription(p.prefix+name),
		progressbar.OptionShowCount(), progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())
}

// set shows that so many units of the stage are done.
func (p *progress) set(done int) {
	if p.bar != nil {
		p.bar.Set(done)
	}
}

// end ends the stage: it removes the bar, and prints how long the stage took.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Finish()
		p.bar = nil
	}
	if p.name != "" && !p.quiet {
		fmt.Fprintf(p.w, "%s%s: %.1f s\n", p.prefix, p.name, time.Since(p.started).Seconds())
	}
	p.name = ""
}
