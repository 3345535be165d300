package tensor

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/null"
	reference "bilevel/device/ref"
)

func TestUpdatesAreChecked(t *testing.T) {
	ex, other := newRef(t), newRef(t)
	x, k := filled(t, ex, 3), integers(t, ex, []int32{1, 2, 3}, 3)
	foreign, freed := filled(t, other, 3), filled(t, ex, 3)
	freedNode := freed.Node()
	freed.Free()
	freed.Free()
	for name, updates := range map[string][]Update{
		"wrong shape":               {{x, Zeros(4)}},
		"no broadcasting":           {{x, Const(0)}},
		"wrong type":                {{x, k.Node()}},
		"twice":                     {{x, Zeros(3)}, {x, Zeros(3)}},
		"another executor's value":  {{x, foreign.Node()}},
		"another executor's target": {{foreign, x.Node()}},
		"a freed value":             {{x, freedNode.Exp()}},
		"a freed target":            {{freed, x.Node()}},
		"no variable":               {{nil, x.Node()}},
		"no value":                  {{x, nil}},
	} {
		_, err := ex.Compile("wrong", func() []Update { return updates })
		require.Error(t, err, name)
		require.Contains(t, err.Error(), "tensor: compile wrong: ", name)
	}
	require.NoError(t, compiled(t, ex).Run(1), "no updates are fine")

	neighbour := NewExecutor(ex.dev) // on the same device
	_, err := neighbour.Compile("wrong", func() []Update { return []Update{{x, Zeros(3)}} })
	require.ErrorContains(t, err, "variable x belongs to another executor")
}

func TestLifetimes(t *testing.T) {
	dev := reference.New()
	ex := NewExecutor(dev)
	x := filled(t, ex, 3)
	f := compiled(t, ex, Update{x, x.Node().Exp().Softmax()})
	g := compiled(t, ex, Update{x, x.Node().Scale(2)})
	require.NoError(t, f.Run(0))
	require.Error(t, f.Run(-1))
	require.NoError(t, f.Close())
	require.NoError(t, f.Close())
	require.Error(t, f.Run(1))
	require.NoError(t, g.Run(1), "the other goes on")
	require.NoError(t, ex.Sync())
	require.NoError(t, ex.Close())
	require.NoError(t, ex.Close())
	require.Error(t, g.Run(1))
	require.Error(t, x.Write([]float64{1, 2, 3}))
	_, err := x.Read()
	require.Error(t, err)
	x.Free()
	require.NoError(t, dev.Close())

	ex = NewExecutor(reference.New())
	x, y := filled(t, ex, 3), filled(t, ex, 3)
	f = compiled(t, ex, Update{x, y.Node().Exp()})
	y.Free()
	require.Error(t, f.Run(1), "a function outlives its variable")
	require.NoError(t, ex.Close())
}

// scarce refuses allocations from a number on.
type scarce struct {
	device.Device
	left *int
}

func (s scarce) Alloc(t Type, n int) (device.Buffer, error) {
	if *s.left--; *s.left < 0 {
		return nil, device.ErrMemory
	}
	return s.Device.Alloc(t, n)
}

// Whichever allocation fails, Compile says so and gives back what it took.
func TestOutOfMemory(t *testing.T) {
	for left := 0; ; left++ {
		dev, n := null.New(), left
		ex := NewExecutor(scarce{dev, &n})
		x, k := ex.Variable("x", Real, 4, 4), ex.Variable("k", Int, 4)
		build := func() []Update {
			e := x.Node().MatMul(x.Node()).Softmax()
			return []Update{{x, Gather(e, e.ArgMax()).Add(Zeros(4, 4)).MatMul(Full(1, 4, 4))}, {k, e.ArgMax()}}
		}
		_, err := ex.Compile("f", build)
		var l *Loop
		if err == nil {
			l, err = ex.CompileLoop("loop", func() []Update { return build()[1:] })
		}
		if err == nil {
			require.NoError(t, l.Setup())
			require.NoError(t, ex.Close())
			require.Greater(t, left, 5)
			break
		}
		require.True(t, errors.Is(err, device.ErrMemory), "%v", err)
		require.NoError(t, ex.Close())
		require.Zero(t, dev.Stats().LiveBuffers)
		require.Zero(t, dev.Stats().LiveRunners)
	}
}

func TestEmptyAndScalar(t *testing.T) {
	ex := newRef(t)
	none, one := ex.Variable("none", Real, 0, 3), filled(t, ex)
	out := values(t, ex, none.Node().Exp(), none.Node().Sum(), none.Node().Sum(0), none.Node().Mean(),
		none.Node().T().MatMul(none.Node()),
		Concat(0, none.Node(), Full(1, 1, 3)), Gather(Full(1, 2, 3), Iota(0, 0)), one.Node().Mul(one.Node()),
		none.Node().Softmax(),
		Grad(none.Node().Square().Sum(), none.Node())[0], CrossEntropy(none.Node(), Iota(0, 0)))
	for i, n := range []int{0, 1, 3, 1, 9, 3, 0, 1, 0, 0, 0} {
		require.Len(t, out[i], n, "%d", i)
	}
	require.Equal(t, []float64{0, 0, 0}, out[2])
	require.Equal(t, make([]float64, 9), out[4])
}

// What does not fit a variable is refused.
func TestTransfersRefuse(t *testing.T) {
	ex := newRef(t)
	x, k := ex.Variable("x", Real, 2, 3), ex.Variable("k", Int, 4)
	require.Error(t, x.WriteInts(make([]int32, 6)))
	require.Error(t, x.Write32(make([]float32, 5)))
	require.Error(t, x.ReadInto(make([]float64, 7)))
	_, err := k.Read()
	require.Error(t, err)
	_, err = x.ReadInts()
	require.Error(t, err)
	_, err = k.Read32()
	require.Error(t, err)
	require.NoError(t, x.Write([]float64{1, 2, 3, 4, 5, 0.1}))
	got, err := x.Read32()
	require.NoError(t, err)
	require.Equal(t, []float32{1, 2, 3, 4, 5, 0.1}, got)
	require.Equal(t, 64, x.RealBits())
	require.Equal(t, 32, NewExecutor(null.New()).Variable("x", Real).RealBits())
}
