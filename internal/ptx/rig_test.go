package ptx_test

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
)

// A rig runs kernels of one module on a machine of its own and gathers the reports. The first failure stays in err,
// and later launches do nothing: mutants run to their end like the clean kernels.
type rig struct {
	module  *ptx.Module
	machine *ptx.Machine
	fast    bool // compiled with --use_fast_math: approximations, subnormals count as zero
	float   ptx.FloatMode
	random  *rand.Rand
	reports []ptx.Report
	warps   uint64 // warp instructions executed
	err     error
}

func newRig(module *ptx.Module, opt ptx.Options) *rig {
	return &rig{
		module: module, machine: ptx.NewMachine(opt), fast: strings.Contains(module.Name, ".fast."), float: opt.Float,
		random: rand.New(rand.NewPCG(1, 2)),
	}
}

func (r *rig) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// blank reserves n elements of type T, uninitialised.
func blank[T any](r *rig, label string, n int) uint64 {
	var zero T
	addr, err := r.machine.Alloc(max(int64(n), 1)*int64(binary.Size(zero)), label)
	r.fail(err)
	return addr
}

// upload reserves memory for data and copies it there.
func upload[T any](r *rig, label string, data []T) uint64 {
	addr := blank[T](r, label, len(data))
	bytes, err := binary.Append(nil, binary.LittleEndian, data)
	r.fail(err)
	r.fail(r.machine.Write(addr, bytes))
	return addr
}

func download[T any](r *rig, addr uint64, n int) []T {
	data := make([]T, n)
	bytes := make([]byte, n*binary.Size(*new(T)))
	r.fail(r.machine.Read(addr, bytes))
	_, err := binary.Decode(bytes, binary.LittleEndian, data)
	r.fail(err)
	return data
}

// launch runs a kernel; an int argument is an i32.
func (r *rig) launch(kernel string, grid, block [3]int, shared int, args ...any) {
	if r.err != nil {
		return
	}
	k := r.module.Kernel(kernel)
	if k == nil {
		r.fail(fmt.Errorf("%s has no kernel %s", r.module.Name, kernel))
		return
	}
	l := ptx.Launch{Kernel: k, Grid: grid, Block: block, Shared: shared}
	for _, arg := range args {
		if i, ok := arg.(int); ok {
			arg = int32(i)
		}
		bytes, err := binary.Append(nil, binary.LittleEndian, arg)
		r.fail(err)
		l.Args = append(l.Args, bytes)
	}
	res, err := r.machine.Run(context.Background(), l)
	r.fail(err)
	if res != nil {
		r.reports = append(r.reports, res.Reports...)
		r.warps += res.Counters.WarpInstructions
	}
}

// line is a grid or block of one dimension.
func line(n int) [3]int { return [3]int{n, 1, 1} }

// cover is the number of blocks of size b for n elements, at least one: a grid cannot be empty.
func cover(n, b int) int { return max(1, (n+b-1)/b) }

func (r *rig) normals(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.random.NormFloat64())
	}
	return x
}

func (r *rig) integers(n, below int) []int32 {
	x := make([]int32, n)
	for i := range x {
		x[i] = int32(r.random.IntN(2*below) - below)
	}
	return x
}

// A scenario is a kernel with its inputs and its oracle. run returns what is wrong with the results.
type scenario struct {
	kernel string // its name
	source string // stem of the .cu
	shapes [][]int
	run    func(r *rig, shape []int) error
}

// equal compares bits; NaN equals NaN.
func equal[T comparable](what string, want, got []T) error {
	for i := range want {
		if want[i] != got[i] && (want[i] == want[i] || got[i] == got[i]) {
			return fmt.Errorf("%s[%d] is %v, want %v", what, i, got[i], want[i])
		}
	}
	return nil
}

// within compares with float64 values, each with its bound.
func within(what string, want []float64, got []float32, bound func(i int) float64) error {
	for i, w := range want {
		if d := math.Abs(float64(got[i]) - w); !(d <= bound(i)) {
			return fmt.Errorf("%s[%d] is %v, want %v: off by %.3g, bound %.3g", what, i, got[i], w, d, bound(i))
		}
	}
	return nil
}

func firstError(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// ulp is the distance of float32 numbers at x.
func ulp(x float64) float64 {
	_, e := math.Frexp(x)
	return math.Ldexp(1, max(e-24, -149))
}

// A build is one row of the manifest of compiled kernels.
type build struct {
	Source       string
	Output       string
	Compiler     string
	Version      string
	Arch         string
	Options      []string
	SourceSHA256 string `json:"source_sha256"`
	OutputSHA256 string `json:"output_sha256"`
}

// builds reads the manifest.
func builds(t testing.TB) []build {
	text, err := os.ReadFile("testdata/manifest.json")
	require.NoError(t, err)
	var list []build
	require.NoError(t, json.Unmarshal(text, &list))
	require.NotEmpty(t, list)
	return list
}

// outputsOf lists the compiled texts of a kernel's source; the first is nvcc's.
func outputsOf(t testing.TB, source string) []string {
	var list []string
	for _, b := range builds(t) {
		if b.Source == "kernels/"+source+".cu" {
			list = append(list, b.Output)
		}
	}
	require.NotEmpty(t, list, source)
	require.Contains(t, list[0], ".nvcc.")
	return list
}

var loaded sync.Map // modules by file: many tests share them

func load(t testing.TB, file string) *ptx.Module {
	if m, ok := loaded.Load(file); ok {
		return m.(*ptx.Module)
	}
	text, err := os.ReadFile(filepath.Join("testdata", file))
	require.NoError(t, err)
	m, err := ptx.Load(filepath.Base(file), string(text))
	require.NoError(t, err)
	loaded.Store(file, m)
	return m
}
