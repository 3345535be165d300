package tensor

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"gorgonia.org/tensor"

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

func TestSetAndValue(t *testing.T) {
	ex := newRef(t)
	x, k, s := ex.Variable("x", Real, 2, 3), ex.Variable("k", Int, 4), ex.Variable("s", Real)
	for _, d := range []*Dense{
		tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float64{1, 2, 3, 4, 5, 6})),
		tensor.New(tensor.WithShape(2, 3), tensor.WithBacking([]float32{1, 2, 3, 4, 5, 6})),
		tensor.New(tensor.WithShape(6), tensor.WithBacking([]float64{1, 2, 3, 4, 5, 6})),
	} {
		require.NoError(t, x.Write(make([]float64, 6)))
		require.NoError(t, x.Set(d))
		got, err := x.Value()
		require.NoError(t, err)
		require.Equal(t, []float64{1, 2, 3, 4, 5, 6}, got.Data())
		require.Equal(t, tensor.Shape{2, 3}, got.Shape())
	}
	require.NoError(t, k.Set(tensor.New(tensor.WithBacking([]int32{4, 3, 2, 1}))))
	got, err := k.Value()
	require.NoError(t, err)
	require.Equal(t, []int32{4, 3, 2, 1}, got.Data())
	require.NoError(t, s.Set(tensor.New(tensor.FromScalar(2.5))))
	got, err = s.Value()
	require.NoError(t, err)
	require.Equal(t, 1, got.Size())
	require.NoError(t, s.Set(got), "what Value gives, Set takes")
	number, err := s.Number()
	require.NoError(t, err)
	require.Equal(t, 2.5, number)

	turned := tensor.New(tensor.WithShape(3, 2), tensor.WithBacking([]float64{1, 2, 3, 4, 5, 6}))
	require.NoError(t, turned.T())
	column := tensor.New(tensor.WithShape(3, 2), tensor.AsFortran([]float64{1, 2, 3, 4, 5, 6}))
	window, err := tensor.New(tensor.WithShape(2, 6), tensor.WithBacking(make([]float64, 12))).Slice(nil,
		tensor.S(0, 3))
	require.NoError(t, err)
	for name, d := range map[string]*Dense{
		"transposed": turned, "column-major": column, "a window": window.(*Dense),
		"too few":      tensor.New(tensor.WithBacking([]float64{1})),
		"int":          tensor.New(tensor.WithBacking([]int{1, 2, 3, 4, 5, 6})),
		"bool":         tensor.New(tensor.WithBacking([]bool{true, false, true, true, true, true})),
		"Int for Real": tensor.New(tensor.WithBacking([]int32{1, 2, 3, 4, 5, 6})),
	} {
		require.Error(t, x.Set(d), name)
	}
	require.Error(t, k.Set(tensor.New(tensor.WithBacking([]float32{1, 2, 3, 4}))))
	require.Error(t, x.WriteInts(make([]int32, 6)))
	require.Error(t, x.Write32(make([]float32, 5)))
	require.Error(t, x.ReadInto(make([]float64, 7)))
	_, err = k.Read()
	require.Error(t, err)
	_, err = x.ReadInts()
	require.Error(t, err)

	narrow := NewExecutor(null.New()).Variable("x", Real, 3)
	got, err = narrow.Value()
	require.NoError(t, err)
	require.Equal(t, []float32{0, 0, 0}, got.Data(), "the device's Real is float32")
	require.NoError(t, ex.Variable("none", Real, 0, 3).Write(nil))
	got, err = ex.Variable("none", Real, 0, 3).Value()
	require.NoError(t, err)
	require.Zero(t, got.DataSize())
}
