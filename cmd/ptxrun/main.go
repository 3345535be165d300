// Command ptxrun runs a CUDA kernel, compiled to PTX, on the processor, and checks it. `ptxrun -h` says how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"bilevel/internal/nearest"
	"bilevel/internal/ptx"
)

// Exit statuses. A signal ends the command with 128 and its number.
const (
	exitClean   = 0
	exitReports = 1 // the kernel is at fault, or its results are not those expected
	exitRefused = 2 // usage, malformed or unsupported PTX, or a file in the way: nothing is known about the kernel
)

// patience is how long a run may take to end after a signal before the process ends without it.
const patience = 50 * time.Millisecond

func main() {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go func() {
		s := <-signals
		cancel(interrupted{s})
		select { // a second signal ends the process at once
		case <-signals:
		case <-time.After(patience):
		}
		// Whether the run has begun to write files is not known here.
		fmt.Fprintf(os.Stderr, "ptxrun: %s; each file is as it was, or new as a whole\n", interrupted{s}.cause())
		os.Exit(interrupted{s}.status())
	}()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

// An interrupted is the error of a run that a signal ended.
type interrupted struct{ os.Signal }

func (i interrupted) Error() string {
	return i.cause() + " before the kernel was done; no file is written"
}

func (i interrupted) cause() string { return fmt.Sprintf("ended by a signal (%v)", i.Signal) }

func (i interrupted) status() int {
	if n, ok := i.Signal.(syscall.Signal); ok {
		return 128 + int(n)
	}
	return exitRefused
}

// run is the whole command, without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 && args[0] == "explain" {
		return explain(args[1:], stdout, stderr)
	}
	opt, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, help)
		return exitClean
	}
	faulty := false
	if err == nil {
		faulty, err = execute(ctx, opt, stdout, stderr)
	}
	var signal interrupted
	switch {
	case errors.As(err, &signal):
		fmt.Fprintf(stderr, "ptxrun: %v\n", signal)
		return signal.status()
	case err != nil:
		fmt.Fprintf(stderr, "ptxrun: %v\n", err)
		return exitRefused
	case faulty:
		return exitReports
	}
	return exitClean
}

// A launch is one start of a kernel.
type launch struct {
	entry       string
	grid, block [3]int
	shared      int
	cooperative bool
	repeat      int
	args        []argument
}

// check refuses what no kernel can be launched with.
func (l *launch) check() error {
	switch {
	case l.entry == "":
		return errors.New("the name of the kernel (entry) is missing")
	case l.grid == [3]int{} || l.block == [3]int{}:
		return errors.New("grid or block is missing")
	case l.shared < 0:
		return fmt.Errorf("-shared %d: want a number of bytes", l.shared)
	case l.repeat < 1:
		return fmt.Errorf("-repeat %d: want a number from 1 on", l.repeat)
	}
	return nil
}

// options are what the command line says.
type options struct {
	ptx        string
	launchFile string
	launches   []launch
	buffers    []namedBuffer
	constants  []constant
	expected   []expectation
	rtol, atol float64
	limit      limit
	sanitize   bool
	counters   bool
	float      ptx.FloatMode
	seed       uint64
	checks     checks
	json       bool
	card       *ptx.Card // nil: not named
	resources  string    // file with what ptxas -v prints
}

// A limit ends a kernel that does not end by itself. Zeros: what the simulator allows.
type limit struct {
	instructions uint64 // of warps
	duration     time.Duration
}

// parseLimit reads a number of warp instructions, or a duration such as 10s.
func parseLimit(text string) (limit, error) {
	if n, err := strconv.ParseUint(text, 10, 64); err == nil && n > 0 {
		return limit{instructions: n}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d > 0 {
		return limit{duration: d}, nil
	}
	return limit{}, errors.New("want a number of warp instructions, or a time such as 10s")
}

// floatModes are the readings of floating-point instructions.
var floatModes = []struct {
	name string
	mode ptx.FloatMode
}{{"exact", ptx.Exact}, {"pessimistic", ptx.Pessimistic}, {"contract", ptx.Contract}}

// parse reads the command line. Its error is flag.ErrHelp when help is asked for.
func parse(args []string) (*options, error) {
	opt := &options{}
	given := map[string]bool{}
	var launches []launch
	for first := true; first || len(args) > 0; first = false {
		part := args
		args = nil
		if i := slices.IndexFunc(part, func(s string) bool { return s == "-then" || s == "--then" }); i >= 0 {
			part, args = part[:i], part[i+1:]
			if len(args) == 0 {
				return nil, errors.New("--then: the next launch is missing")
			}
		}
		l, err := opt.parseLaunch(part, given)
		if err != nil {
			return nil, err
		}
		launches = append(launches, l)
	}
	if opt.launchFile != "" {
		for _, name := range []string{"entry", "grid", "block", "arg", "shared", "repeat", "cooperative"} {
			if given[name] {
				return nil, fmt.Errorf("-%s: the launches are those of the file that -launch names", name)
			}
		}
		if err := readLaunchFile(opt.launchFile, opt); err != nil {
			return nil, err
		}
	} else {
		if !given["ptx"] {
			return nil, errors.New("-ptx is missing (ptxrun -h shows an example)")
		}
		opt.launches = launches
		for _, l := range opt.launches {
			for _, missing := range []struct {
				name string
				yes  bool
			}{{"entry", l.entry == ""}, {"grid", l.grid == [3]int{}}, {"block", l.block == [3]int{}}} {
				if missing.yes {
					return nil, fmt.Errorf("-%s is missing (ptxrun -h shows an example)", missing.name)
				}
			}
			if err := l.check(); err != nil {
				return nil, err
			}
		}
	}
	if opt.resources != "" && !(opt.counters && opt.card != nil) {
		return nil, errors.New("-resources is for an estimate, which --counters and --card ask for")
	}
	if err := opt.checks.sound(opt.sanitize); err != nil {
		return nil, err
	}
	if (given["rtol"] || given["atol"]) && len(opt.expected) == 0 {
		return nil, errors.New("--rtol and --atol are for --expect")
	}
	if !(opt.rtol >= 0 && opt.atol >= 0) {
		return nil, errors.New("--rtol and --atol are numbers from 0 on")
	}
	return opt, nil
}

// parseLaunch reads the flags up to the next --then, and notes in given which there are. Flags that are not about a
// launch count for all.
func (opt *options) parseLaunch(args []string, given map[string]bool) (launch, error) {
	l := launch{}
	set := flag.NewFlagSet("ptxrun", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&opt.ptx, "ptx", opt.ptx, "")
	set.StringVar(&opt.launchFile, "launch", opt.launchFile, "")
	set.StringVar(&l.entry, "entry", "", "")
	set.IntVar(&l.shared, "shared", 0, "")
	set.IntVar(&l.repeat, "repeat", 1, "")
	set.BoolVar(&l.cooperative, "cooperative", false, "")
	set.Func("grid", "", into(&l.grid, parseSizes))
	set.Func("block", "", into(&l.block, parseSizes))
	set.Func("arg", "", appended(&l.args, func(text string) (argument, error) { return parseArg(text, "") }))
	set.Func("buffer", "", appended(&opt.buffers,
		func(text string) (namedBuffer, error) { return parseNamedBuffer(text, "") }))
	set.Func("const", "", appended(&opt.constants, parseConstant))
	set.Func("expect", "", appended(&opt.expected, parseExpectation))
	set.Float64Var(&opt.rtol, "rtol", opt.rtol, "")
	set.Float64Var(&opt.atol, "atol", opt.atol, "")
	set.Func("limit", "", into(&opt.limit, parseLimit))
	set.BoolVar(&opt.sanitize, "sanitize", opt.sanitize, "")
	set.BoolVar(&opt.counters, "counters", opt.counters, "")
	set.BoolVar(&opt.json, "json", opt.json, "")
	set.Uint64Var(&opt.seed, "seed", opt.seed, "")
	opt.checks.flags(set)
	set.Func("float", "", into(&opt.float, parseFloatMode))
	set.Func("card", "", into(&opt.card, parseCard))
	set.StringVar(&opt.resources, "resources", opt.resources, "")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return l, err
		}
		return l, fmt.Errorf("%w (ptxrun -h lists the flags)", err)
	}
	if set.NArg() > 0 {
		hint := ""
		if strings.HasPrefix(set.Arg(0), "struct") {
			hint = "; quote the braces of a structure, which the shell takes for itself"
		}
		return l, fmt.Errorf("%q: only flags are taken (ptxrun -h lists them)%s", set.Arg(0), hint)
	}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	return l, nil
}

// into makes a flag's function that stores what parse makes of its text.
func into[T any](dst *T, parse func(string) (T, error)) func(string) error {
	return func(text string) (err error) {
		*dst, err = parse(text)
		return err
	}
}

// appended makes a flag's function that appends what parse makes of its text.
func appended[T any](dst *[]T, parse func(string) (T, error)) func(string) error {
	return func(text string) error {
		v, err := parse(text)
		*dst = append(*dst, v)
		return err
	}
}

func parseFloatMode(text string) (ptx.FloatMode, error) {
	var names []string
	for _, f := range floatModes {
		if f.name == text {
			return f.mode, nil
		}
		names = append(names, f.name)
	}
	return 0, fmt.Errorf("want %s", strings.Join(names, ", "))
}

func parseCard(text string) (*ptx.Card, error) {
	c, err := ptx.FindCard(text)
	if err == nil {
		return &c, nil
	}
	var names []string
	for _, c := range ptx.Cards() {
		names = append(names, c.Name)
	}
	return nil, fmt.Errorf("unknown card%s (there are %s)", nearest.Hint(text, names), strings.Join(names, ", "))
}
