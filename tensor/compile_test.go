package tensor

import (
	"fmt"
	"math"
	"testing"

	"github.com/stretchr/testify/require"

	reference "bilevel/device/ref"
)

// graphTolerance is relative to the largest element of an array (or 1). No value on the way exceeds 1e4, so that an
// absolute error is at most a few 1e-12 where a smooth function takes it in.
const graphTolerance = 1e-11

// checkGraph compiles random updates as one function, runs it once and then three more times at once, and compares
// every variable with the interpreter. Memory is poisoned.
func checkGraph(t testing.TB, data []byte, seed uint64) {
	dev := reference.New()
	ex := NewExecutor(poisoned{dev})
	g := newGenerator(t, ex, data, seed)
	g.grow(5 + g.r.IntN(40))
	updates := g.updates()
	f, err := ex.Compile("random", func() []Update { return updates })
	require.NoError(t, err)
	state := g.it.state
	for _, n := range []int{1, 3} {
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
		for i, v := range g.vars {
			compare(t, v, state[v], "seed %d, variable %d after Run(%d)", seed, i, n)
		}
	}
	checkPlan(t, ex, updates)
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
}

func compare(t testing.TB, v *Variable, want array, msg string, args ...any) {
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
		if !(math.Abs(got[i]-x) <= graphTolerance*scale) {
			require.Failf(t, "wrong value", msg+": element %d is %g, wants %g", append(args, i, got[i], x)...)
		}
	}
}

func TestRandomGraphs(t *testing.T) {
	for seed := range uint64(600) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) { checkGraph(t, nil, seed) })
	}
}

func FuzzCompile(f *testing.F) {
	for seed := range uint64(8) {
		f.Add([]byte{}, seed)
	}
	f.Add([]byte("each byte is one choice of the generator"), uint64(1))
	f.Fuzz(func(t *testing.T, data []byte, seed uint64) { checkGraph(t, data, seed) })
}
