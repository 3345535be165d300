package tensor

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/cpudevice"
	reference "bilevel/device/ref"
)

// Tolerances after one run and after three more, relative to the largest element of an array (or 1). No value on the
// way exceeds 1e4, so that an absolute error is a few 1e-12 (on the host 1e-3) where a smooth function takes it in.
// Each repetition starts from the errors of the one before and may amplify them tenfold; float32 leaves no room for
// that, there the seeds are fixed.
var (
	graphTolerance = [2]float64{1e-11, 1e-8}
	hostTolerance  = [2]float64{1e-2, 1e-2}
)

// checkGraph compiles random updates as one function, runs it once and then three more times at once, and compares
// every variable with the interpreter. Memory is poisoned.
func checkGraph(t testing.TB, dev Device, data []byte, seed uint64) {
	ex := NewExecutor(poisoned{dev})
	g := newGenerator(t, ex, data, seed)
	g.grow(5 + g.r.IntN(40))
	updates := g.updates()
	f, err := ex.Compile("random", func() []Update { return updates })
	require.NoError(t, err)
	state := g.it.state
	tolerance := graphTolerance
	if ex.info.RealBits == 32 {
		tolerance = hostTolerance
	}
	for i, n := range []int{1, 3} {
		tame := true
		for range n {
			var ok bool
			state, ok = repetition(state, updates)
			tame = tame && ok
		}
		if !tame { // numbers explode: nothing to compare
			break
		}
		require.NoError(t, f.Run(n))
		for k, v := range g.vars {
			compare(t, v, state[v], tolerance[i], "seed %d, variable %d after Run(%d)", seed, k, n)
		}
	}
	if ex.info.RealBits == 64 { // the plan does not depend on the device, and constants are read back exactly
		checkPlan(t, ex, updates)
	}
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
}

func compare(t testing.TB, v *Variable, want array, tolerance float64, msg string, args ...any) {
	if v.typ == Int {
		got, err := v.ReadInts()
		require.NoError(t, err)
		require.Equal(t, want.ints, got, append([]any{msg}, args...)...)
		return
	}
	got, err := v.Read()
	require.NoError(t, err)
	scale := 1.0
	for _, x := range want.real {
		scale = max(scale, math.Abs(x))
	}
	for i, x := range want.real {
		if !(math.Abs(got[i]-x) <= tolerance*scale) {
			require.Failf(t, "wrong value", msg+": element %d is %g, wants %g", append(args, i, got[i], x)...)
		}
	}
}

func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(600) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkGraph(t, reference.New(), nil, seed) })
	}
}

// On the host an instruction works in blocks, in place where the plan says so.
func TestRandomGraphsOnHost(t *testing.T) {
	for seed := range uint64(300) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkGraph(t, cpudevice.New(1), nil, seed) })
	}
}

func FuzzCompile(f *testing.F) {
	for seed := range uint64(8) {
		f.Add([]byte{}, seed)
	}
	f.Add([]byte("each byte is one choice of the generator"), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) { checkGraph(t, reference.New(), data, seed) })
}
