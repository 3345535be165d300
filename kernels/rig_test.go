package kernels_test

import (
	"context"
	"encoding/binary"
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// A rig is one simulated card with operands in its memory.
type rig struct {
	t        testing.TB
	machine  *ptx.Machine
	operands []uint64
	random   *rand.Rand
	results  []*ptx.Result
	launched []kernels.Launch
}

func newRig(t testing.TB, opt ptx.Options) *rig {
	opt.Watchdog = 1 << 23 // a broken loop ends soon
	return &rig{t: t, machine: ptx.NewMachine(opt), random: rand.New(rand.NewPCG(3, 5))}
}

var modules sync.Map // by name: tests share them

func module(t testing.TB, name string) *ptx.Module {
	if m, ok := modules.Load(name); ok {
		return m.(*ptx.Module)
	}
	text, err := kernels.PTX(name)
	require.NoError(t, err)
	m, err := ptx.Load(name+".ptx", text)
	require.NoError(t, err)
	modules.Store(name, m)
	return m
}

// put makes the next operand from data and returns its number.
func put[T any](r *rig, label string, data []T) int {
	bytes, err := binary.Append(nil, binary.LittleEndian, data)
	require.NoError(r.t, err)
	addr, err := r.machine.Alloc(max(int64(len(bytes)), 4), label)
	require.NoError(r.t, err)
	require.NoError(r.t, r.machine.Write(addr, bytes))
	r.operands = append(r.operands, addr)
	return len(r.operands) - 1
}

// blank makes the next operand of n words that nothing has written.
func (r *rig) blank(label string, n int) int {
	addr, err := r.machine.Alloc(max(4*int64(n), 4), label)
	require.NoError(r.t, err)
	r.operands = append(r.operands, addr)
	return len(r.operands) - 1
}

func get[T any](r *rig, number, n int) []T {
	data, bytes := make([]T, n), make([]byte, 4*n)
	require.NoError(r.t, r.machine.Read(r.operands[number], bytes))
	_, err := binary.Decode(bytes, binary.LittleEndian, data)
	require.NoError(r.t, err)
	return data
}

// run does a plan.
func (r *rig) run(p kernels.Plan) {
	r.t.Helper()
	var scratch []uint64
	for _, n := range p.Workspace {
		addr, err := r.machine.Alloc(int64(n), "workspace")
		require.NoError(r.t, err)
		scratch = append(scratch, addr)
	}
	zeros := make([]byte, 4*max(1, p.Counters))
	counters, err := r.machine.Alloc(int64(len(zeros)), "counters")
	require.NoError(r.t, err)
	require.NoError(r.t, r.machine.Write(counters, zeros))
	scratch = append(scratch, counters)
	for _, l := range p.Launches {
		launch := ptx.Launch{
			Kernel: module(r.t, l.Module).Kernel(l.Entry), Grid: l.Grid, Block: l.Block, Shared: l.Shared,
		}
		require.NotNil(r.t, launch.Kernel, l.Entry)
		for _, arg := range l.Args {
			if o, ok := arg.(kernels.Operand); ok {
				if o.Number == kernels.Counter {
					arg = counters + 4*uint64(o.Off)
				} else if o.Number < 0 {
					arg = scratch[-1-o.Number] + 4*uint64(o.Off)
				} else {
					arg = r.operands[o.Number] + 4*uint64(o.Off)
				}
			}
			bytes, err := binary.Append(nil, binary.LittleEndian, arg)
			require.NoError(r.t, err)
			launch.Args = append(launch.Args, bytes)
		}
		result, err := r.machine.Run(context.Background(), launch)
		require.NoError(r.t, err, "%s", l.Entry)
		require.Empty(r.t, result.Reports, "%s", l.Entry)
		r.results, r.launched = append(r.results, result), append(r.launched, l)
	}
	after := make([]byte, len(zeros))
	require.NoError(r.t, r.machine.Read(counters, after))
	require.Equal(r.t, zeros, after, "counters are left as they were")
	for _, addr := range scratch {
		require.NoError(r.t, r.machine.Free(addr))
	}
}

func (r *rig) normals(n int) []float32 {
	x := make([]float32, n)
	for i := range x {
		x[i] = float32(r.random.NormFloat64())
	}
	return x
}
