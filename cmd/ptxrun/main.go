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
	"strings"
	"syscall"

	"bilevel/internal/nearest"
	"bilevel/internal/ptx"
)

// Exit statuses.
const (
	exitClean   = 0
	exitReports = 1 // the kernel is at fault
	exitRefused = 2 // usage, malformed or unsupported PTX, or a file in the way: nothing is known about the kernel
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop) // a second Ctrl-C ends the process at once
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run is the whole command, without the process around it.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	opt, err := parse(args)
	if errors.Is(err, flag.ErrHelp) {
		fmt.Fprint(stdout, help)
		return exitClean
	}
	faulty := false
	if err == nil {
		faulty, err = execute(ctx, opt, stdout)
	}
	switch {
	case err != nil:
		fmt.Fprintf(stderr, "ptxrun: %v\n", err)
		return exitRefused
	case faulty:
		return exitReports
	}
	return exitClean
}

// options are what the command line says.
type options struct {
	ptx, entry  string
	grid, block [3]int
	shared      int
	args        []argument
	constants   []constant
	sanitize    bool
	counters    bool
	float       ptx.FloatMode
	seed        uint64
	checks      checks
	json        bool
	card        *ptx.Card // nil: not named
	resources   string    // file with what ptxas -v prints
}

// floatModes are the readings of floating-point instructions.
var floatModes = []struct {
	name string
	mode ptx.FloatMode
}{{"exact", ptx.Exact}, {"pessimistic", ptx.Pessimistic}, {"contract", ptx.Contract}}

// parse reads the command line. Its error is flag.ErrHelp when help is asked for.
func parse(args []string) (*options, error) {
	opt := &options{}
	set := flag.NewFlagSet("ptxrun", flag.ContinueOnError)
	set.SetOutput(io.Discard)
	set.StringVar(&opt.ptx, "ptx", "", "")
	set.StringVar(&opt.entry, "entry", "", "")
	set.IntVar(&opt.shared, "shared", 0, "")
	set.BoolVar(&opt.sanitize, "sanitize", false, "")
	set.BoolVar(&opt.counters, "counters", false, "")
	set.BoolVar(&opt.json, "json", false, "")
	set.Uint64Var(&opt.seed, "seed", 0, "")
	opt.checks.flags(set)
	set.Func("grid", "", into(&opt.grid, parseSizes))
	set.Func("block", "", into(&opt.block, parseSizes))
	set.Func("arg", "", appended(&opt.args, parseArg))
	set.Func("const", "", appended(&opt.constants, parseConstant))
	set.Func("float", "", into(&opt.float, parseFloatMode))
	set.Func("card", "", into(&opt.card, parseCard))
	set.StringVar(&opt.resources, "resources", "", "")
	if err := set.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil, err
		}
		return nil, fmt.Errorf("%w (ptxrun -h lists the flags)", err)
	}
	if set.NArg() > 0 {
		return nil, fmt.Errorf("%q: only flags are taken (ptxrun -h lists them)", set.Arg(0))
	}
	given := map[string]bool{}
	set.Visit(func(f *flag.Flag) { given[f.Name] = true })
	for _, name := range []string{"ptx", "entry", "grid", "block"} {
		if !given[name] {
			return nil, fmt.Errorf("-%s is missing (ptxrun -h shows an example)", name)
		}
	}
	if opt.resources != "" && !(opt.counters && opt.card != nil) {
		return nil, errors.New("-resources is for an estimate, which --counters and --card ask for")
	}
	if err := opt.checks.sound(opt.sanitize); err != nil {
		return nil, err
	}
	if opt.shared < 0 {
		return nil, fmt.Errorf("-shared %d: want a number of bytes", opt.shared)
	}
	return opt, nil
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

const help = `ptxrun runs a CUDA kernel, compiled to PTX, on the processor, and checks it. No card or driver is needed.

    nvcc -ptx -arch=compute_80 -lineinfo axpy.cu
    ptxrun -ptx axpy.ptx -entry axpy -grid 8 -block 256 \
        -arg i32:2000 -arg f32:0.5 -arg in:x.npy -arg inout:y.npy --sanitize

The kernel:
    -ptx FILE           its text, from nvcc -ptx or NVRTC; with -lineinfo reports name lines of the .cu
    -entry NAME         its name, as in the PTX (extern "C" keeps it readable)
    -grid X,Y,Z         blocks
    -block X,Y,Z        threads of a block
    -shared BYTES       dynamic shared memory

Arguments, in the order of its parameters:
    -arg in:FILE.npy    a pointer to the elements of the file
    -arg out:FILE.npy:TYPE:SHAPE
                        a pointer to zeros; the file is written when the kernel is done. SHAPE is 64x10
    -arg inout:FILE.npy a pointer to the elements of the file, which is rewritten when the kernel is done
    -arg TYPE:NUMBER    a number, such as i32:5 or f32:0.5; u64:0 is a null pointer
    -const NAME=FILE.npy
                        sets a __constant__ or __device__ variable
Types are f32 f64 f16 i32 i64 u8 u16 u32 u64.

What to do:
    --sanitize          check accesses, initialisation, races and barriers, and report
    --counters          print counts of instructions, memory traffic and more
    --float MODE        exact (default): correctly rounded; pessimistic: approximate instructions are off by what their
                        documentation allows; contract: mul and add are fused where ptxas may fuse them
    --seed N            run blocks and warps in another order
    --warps ORDER       how the warps of a block take turns: in-step, one instruction of each; random, a few instructions of
                        one drawn by chance; or a number, the random order of that seed. If not said, each runs until it waits
    --strict-volatile   volatile accesses are ordinary ones for --sanitize: they order nothing, and race
    --strict-order      a float sum of atomics that depends on their order counts as a report. If not said it is a note
    --card NAME         whose limits hold; A100 if not said. With --counters also an estimate of the time on that card
    --resources FILE    what ptxas -v prints, for the registers and shared memory of that estimate
    --json              print one object with "reports" and "counters", and "estimate" where there is one

Exit status: 0, or 1 when there are reports (notes are none), or 2 for malformed or unsupported PTX, for wrong usage and for files that
cannot be read or written. A run that cannot be finished (status 1: a trap, the watchdog, an illegal address without
--sanitize) and status 2 leave all files as they were.
`
