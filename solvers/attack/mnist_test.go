package attack_test

import (
	"context"
	"encoding/json"
	"os"
	"slices"
	"testing"

	"bilevel/data"
	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/models/params"
	"bilevel/solvers/attack"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// authors is what the authors' program (github.com/fra31/auto-attack) came to on the network of testdata.
type authors struct {
	Logits [][]float64 `json:"logits_first2"`
	Alone  []struct {
		Robust map[string]int   `json:"robust"`
		Broken map[string][]int `json:"broken_or_wrong_index"`
	} `json:"alone"`
}

func loadAuthors(t *testing.T) (a authors) {
	t.Helper()
	text, err := os.ReadFile("testdata/mnist_mlp_256_256_aa.json")
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(text, &a))
	return a
}

// mnistModel is the network 784-256-256-10 of testdata, which was trained against perturbations of 0.1.
func mnistModel(t *testing.T, ex *tensor.Executor) attack.Model {
	t.Helper()
	l := params.Layout{}.With("W1", 256, 784).With("b1", 256).With("W2", 256, 256).With("b2", 256).
		With("W3", 10, 256).With("b3", 10)
	values, err := params.ReadNPZ("testdata/mnist_mlp_256_256_eps0.1.npz", l)
	require.NoError(t, err)
	v := ex.Variable("network", tensor.Real, l.Size())
	require.NoError(t, v.Write(values[0].Flat))
	w := l.Vars(v.Node())
	return attack.Model{Inputs: 784, Classes: 10, Logits: func(x *tensor.Node) *tensor.Node {
		x = x.MatMul(w["W1"].T()).Add(w["b1"]).Relu()
		x = x.MatMul(w["W2"].T()).Add(w["b2"]).Relu()
		return x.MatMul(w["W3"].T()).Add(w["b3"])
	}}
}

// mnistTest is the first n test images of MNIST; the test is skipped where the data are not on this machine.
func mnistTest(t *testing.T, n int) attack.Samples {
	t.Helper()
	if os.Getenv(data.EnvFolder) == "" {
		t.Skip(data.EnvFolder + " names no folder of data sets")
	}
	set, err := data.Open("mnist", os.Getenv)
	require.NoError(t, err)
	s := attack.Samples{Images: make([]float32, n*784), Labels: set.Test.Labels[:n]}
	for i := range s.Images {
		s.Images[i] = set.Test.Features[i] / 255
	}
	return s
}

// judge classifies images on the reference device, in float64.
func judge(t *testing.T, images []float32, n int, model func(*testing.T, *tensor.Executor) attack.Model) []float64 {
	t.Helper()
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	m := model(t, ex)
	x, z := ex.Variable("x", tensor.Real, n, m.Inputs), ex.Variable("z", tensor.Real, n, m.Classes)
	require.NoError(t, x.Write32(images))
	f, err := ex.Compile("judge", func() []tensor.Update {
		return []tensor.Update{{Var: z, Value: m.Logits(x.Node())}}
	})
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	values, err := z.Read()
	require.NoError(t, err)
	return values
}

// verify holds every contract that a result has, and classifies all points again on the reference device.
func verify(t *testing.T, r *attack.Result, s attack.Samples, m attack.Model,
	model func(*testing.T, *tensor.Executor) attack.Model) {
	t.Helper()
	z := judge(t, r.Images, s.N(), model)
	for i := range s.N() {
		x := r.Images[i*m.Inputs : (i+1)*m.Inputs]
		require.LessOrEqual(t, r.Ball.Norm.Distance(x, s.Images[i*m.Inputs:(i+1)*m.Inputs]), r.Ball.Eps)
		require.GreaterOrEqual(t, slices.Min(x), float32(0))
		require.LessOrEqual(t, slices.Max(x), float32(1))
		logits := z[i*m.Classes : (i+1)*m.Classes]
		right := slices.Index(logits, slices.Max(logits)) == int(s.Labels[i])
		require.Equal(t, r.Robust[i], right, "image %d", i)
		require.Equal(t, r.By[i] >= 0, r.Clean[i] && !r.Robust[i])
	}
}

func cpuExecutor(t *testing.T) *tensor.Executor {
	t.Helper()
	dev := cpudevice.New(0)
	ex := tensor.NewExecutor(dev)
	t.Cleanup(func() { require.NoError(t, closeAll(ex, dev)) })
	return ex
}

func closeAll(ex *tensor.Executor, dev device.Device) error {
	if err := ex.Close(); err != nil {
		return err
	}
	return dev.Close()
}

func TestAutoAttackOnMNIST(t *testing.T) {
	s, ex := mnistTest(t, 500), cpuExecutor(t)
	m := mnistModel(t, ex)
	for _, seed := range []uint64{0} {
		a, err := attack.New(ex, m, attack.Options{Seed: seed})
		require.NoError(t, err)
		for _, k := range attack.Standard() {
			r, err := a.Run(context.Background(), attack.Ball{Norm: attack.Linf, Eps: 0.1}, s, k)
			require.NoError(t, err)
			t.Logf("seed %d %s: clean %d robust %d in %v; %v", seed, k.Name(), attack.Count(r.Clean),
				attack.Count(r.Robust), r.Attacks[0].Duration, r.Warnings)
			verify(t, r, s, m, mnistModel)
		}
		require.NoError(t, a.Close())
	}
}
