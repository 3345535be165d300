package main

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"
)

// The forms that progress is shown in.
const (
	progressAuto = "auto" // a bar on a terminal, plain lines elsewhere
	progressJSON = "json" // one JSON object a line
)

// plainEvery is the time between two plain or JSON lines of one stage or download.
const plainEvery = 5 * time.Second

// progress shows how far a run has come, on standard error.
type progress struct {
	w        io.Writer
	quiet    bool
	json     bool
	terminal bool
	prefix   string
	bar      *progressbar.ProgressBar
	name     string
	total    int
	done     int
	note     string // a number that the stage is about, such as the loss
	started  time.Time
	told     time.Time // of the last line
}

func newProgress(w io.Writer, quiet bool) *progress {
	return &progress{w: w, quiet: quiet, terminal: onTerminal(w)}
}

func onTerminal(w io.Writer) bool {
	f, isFile := w.(*os.File)
	return isFile && term.IsTerminal(int(f.Fd()))
}

// newBar is a bar of so many units, -1 where nobody knows how many, with what all bars have in common.
func newBar(w io.Writer, total int64, what string, more ...progressbar.Option) *progressbar.ProgressBar {
	return progressbar.NewOptions64(total, append(more,
		progressbar.OptionSetWriter(w), progressbar.OptionSetDescription(what), progressbar.OptionSetWidth(30),
		progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionClearOnFinish())...)
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
	p.name, p.total, p.done, p.note, p.started = name, total, 0, "", time.Now()
	p.told = p.started
	if p.quiet || p.json || !p.terminal {
		return
	}
	p.bar = newBar(p.w, int64(total), p.prefix+name, progressbar.OptionShowCount(), progressbar.OptionShowIts())
}

// say keeps a number that the stage is about, for the next line or the bar.
func (p *progress) say(note string) {
	p.note = note
	if p.bar != nil {
		p.bar.Describe(p.prefix + p.name + ", " + note)
	}
}

// set shows that so many units of the stage are done: at once in a bar, else in a line every few seconds.
func (p *progress) set(done int) {
	p.done = done
	if p.bar != nil {
		p.bar.Set(done)
		return
	}
	if p.quiet || time.Since(p.told) < plainEvery {
		return
	}
	p.told = time.Now()
	passed := p.told.Sub(p.started).Seconds()
	left := passed * float64(p.total-done) / float64(max(1, done))
	if p.json {
		p.line(map[string]any{"done": done, "total": p.total, "seconds": passed, "seconds_left": left})
		return
	}
	note := ""
	if p.note != "" {
		note = ", " + p.note
	}
	fmt.Fprintf(p.w, "%s%s: %d of %d, %.0f s left%s\n", p.prefix, p.name, done, p.total, left, note)
}

// line writes one JSON object.
func (p *progress) line(object map[string]any) {
	object["stage"] = p.prefix + p.name
	if p.note != "" {
		object["note"] = p.note
	}
	if text, err := json.Marshal(object); err == nil {
		fmt.Fprintf(p.w, "%s\n", text)
	}
}

// end ends the stage: it removes the bar, and prints how long the stage took.
func (p *progress) end() {
	if p.bar != nil {
		p.bar.Finish()
		p.bar = nil
	}
	switch passed := time.Since(p.started).Seconds(); {
	case p.name == "" || p.quiet:
	case p.json:
		p.line(map[string]any{"done": p.done, "total": p.total, "seconds": passed, "ended": true})
	default:
		fmt.Fprintf(p.w, "%s%s: %.1f s\n", p.prefix, p.name, passed)
	}
	p.name = ""
}
