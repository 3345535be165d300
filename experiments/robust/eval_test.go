package robust

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"bilevel/data"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/internal/npy"
	"bilevel/internal/safetensors"
	"bilevel/models"
	"bilevel/models/params"
	adversary "bilevel/solvers/attack"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// nearestMean writes the classifier of the nearest mean on the digits, whose logits are linear in the pixels.
func nearestMean(t *testing.T, set *data.Dataset, path string) {
	t.Helper()
	d := set.Train.Dim
	v := params.Values{}.AndShaped("weight", []int{10, d}, make([]float64, 10*d)).And("bias", make([]float64, 10)...)
	counts := make([]float64, 10)
	for _, y := range set.Train.Labels {
		counts[y]++
	}
	for i, y := range set.Train.Labels {
		for j, x := range set.Train.Row(i) {
			v.Of("weight")[int(y)*d+j] += 2 * float64(x) / 16 / counts[y]
		}
	}
	for k := range 10 {
		for _, w := range v.Of("weight")[k*d : (k+1)*d] {
			v.Of("bias")[k] -= w * w / 4
		}
	}
	require.NoError(t, params.WriteNPZ(path, v))
}

func evaluate(t *testing.T, set *data.Dataset, c EvalConfig) (*experiments.Record, error) {
	t.Helper()
	dev := cpudevice.New(0)
	defer dev.Close()
	cells, err := Eval{}.Cells(c, []uint64{4})
	if err != nil {
		return nil, err
	}
	records, err := experiments.Run(context.Background(), dev, experiments.Env{Data: set}, Eval{}, cells, nil,
		experiments.Hooks{})
	if err != nil {
		return nil, err
	}
	return records[0], nil
}

func TestEvaluation(t *testing.T) {
	set, err := data.Digits()
	require.NoError(t, err)
	dir := t.TempDir()
	file := filepath.Join(dir, "net.npz")
	nearestMean(t, set, file)
	c := EvalDefaults(set)
	c.Model, c.Examples, c.Eps = file, 60, []string{"0.1", "16/255", "0"}
	c.Attack = []string{"fgsm", "pgd-5-2", "apgd-t"}
	r, err := evaluate(t, set, c)
	require.NoError(t, err)

	// The table is ascending in the radius; the worst case of all attacks is below each, and the main one is that of
	// 0.1.
	require.Equal(t, []float64{0, 16.0 / 255, 0.1}, r.Curve.Column("eps"))
	worst := r.Curve.Column("robust_acc")
	require.True(t, slices.IsSortedFunc(worst, func(a, b float64) int { return -int(math.Copysign(1, a-b)) }))
	for _, name := range c.Attack {
		for i, v := range r.Curve.Column(name) {
			require.LessOrEqual(t, worst[i], v)
		}
	}
	require.Equal(t, worst[0], r.Scalars["clean_acc"])
	require.Equal(t, worst[2], r.Scalars["robust_acc"])
	require.Less(t, worst[2], worst[1])
	require.Equal(t, "Linf", r.Texts["threat_model"])
	require.EqualValues(t, 60, r.Counts["n_examples"])
	p := r.Scalars["robust_acc"]
	require.InDelta(t, math.Sqrt(p*(1-p)/60), r.Scalars["robust_acc_std"], 1e-15)

	// The classes' rows add up to all.
	classes := r.Tables[2]
	require.Equal(t, "classes", classes.Name)
	rows, robust := 0.0, 0.0
	for _, line := range classes.Rows {
		n, err := strconv.ParseFloat(line[1], 64)
		require.NoError(t, err)
		share, err := strconv.ParseFloat(line[3], 64)
		require.NoError(t, err)
		rows, robust = rows+n, robust+n*share
	}
	require.EqualValues(t, 60, rows)
	require.InDelta(t, 60*p, robust, 1e-4)

	// The images that are written show it: they lie in the ball, and so many of them are misclassified.
	require.NoError(t, experiments.WriteResults(dir, experiments.Page{}, Eval{}.Report(), []*experiments.Record{r}, 1))
	for _, name := range []string{"accuracy.csv", "attacks.csv", "classes.csv", "adversarial.png", "accuracy-eps.svg",
		"result.json", "adversarial-0.npy"} {
		require.FileExists(t, filepath.Join(dir, name))
	}
	a, err := npy.ReadFile(filepath.Join(dir, "adversarial.npy"))
	require.NoError(t, err)
	require.Equal(t, []int{60, 8, 8}, a.Shape)
	images, err := npy.Values[float32](a)
	require.NoError(t, err)
	net, err := ReadNetwork(file, "", "", 16)
	require.NoError(t, err)
	right := 0
	z := net.outputs(t, images, 60)
	for i := range 60 {
		x0 := make([]float32, 64)
		for j, v := range set.Train.Row(i) {
			x0[j] = v / 16
		}
		require.LessOrEqual(t, adversary.Linf.Distance(images[i*64:(i+1)*64], x0), 0.1)
		if row := z[i*10 : (i+1)*10]; slices.Index(row, slices.Max(row)) == int(set.Train.Labels[i]) {
			right++
		}
	}
	require.InDelta(t, 60*p, float64(right), 1e-9)
	require.Contains(t, r.Warnings[len(r.Warnings)-1], "no test part")
}

// outputs are the logits of images on the reference device.
func (n *Trained) outputs(t *testing.T, images []float32, rows int) []float64 {
	t.Helper()
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	sc := ex.Scope()
	m, err := n.on(sc)
	require.NoError(t, err)
	x, z := ex.Variable("x", tensor.Real, rows, n.Inputs), ex.Variable("z", tensor.Real, rows, n.Classes)
	require.NoError(t, x.Write32(images))
	f, err := ex.Compile("outputs", func() []tensor.Update {
		return []tensor.Update{{Var: z, Value: m.Logits(x.Node())}}
	})
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	values, err := z.Read()
	require.NoError(t, err)
	return values
}

func TestEvaluationRefuses(t *testing.T) {
	set, err := data.Digits()
	require.NoError(t, err)
	file := filepath.Join(t.TempDir(), "net.npz")
	nearestMean(t, set, file)
	for _, c := range []struct {
		change func(c *EvalConfig)
		says   string
	}{
		{func(c *EvalConfig) { c.Model = "" }, "model: wants the file of a network"},
		{func(c *EvalConfig) { c.Model = "net.pt" }, "a network is a .safetensors or .npz file; PyTorch writes one by"},
		{func(c *EvalConfig) { c.Model = "none.npz" }, "none.npz"},
		{func(c *EvalConfig) { c.Eps = []string{"8"} }, "did you mean 8/255?"},
		{func(c *EvalConfig) { c.Eps = []string{"x"} }, `eps "x": wants a number such as 0.1 or 8/255`},
		{func(c *EvalConfig) { c.Eps = []string{"1/0"} }, `eps "1/0"`},
		{func(c *EvalConfig) { c.Eps = nil }, "at least one radius"},
		{func(c *EvalConfig) { c.Norm = "l1" }, `norm "l1": there are linf, l2`},
		{func(c *EvalConfig) { c.Norm, c.Eps = adversary.L2, []string{"9"} }, "further apart than 8 in l2"},
		{func(c *EvalConfig) { c.Attack = []string{"autoatack"} }, `did you mean "autoattack"?`},
		{func(c *EvalConfig) { c.Attack = []string{"pgd-5"} }, "wants pgd-STEPS-RESTARTS"},
		{func(c *EvalConfig) { c.Attack = []string{"pgd-5-0"} }, "wants pgd-STEPS-RESTARTS"},
		{func(c *EvalConfig) { c.Attack = []string{"fgsm", "fgsm"} }, `attack "fgsm" is given twice`},
		{func(c *EvalConfig) { c.Attack = nil }, "attack: wants at least one"},
		{func(c *EvalConfig) { c.Examples = 0 }, "n_examples 0"},
		{func(c *EvalConfig) { c.Examples = 1 << 20 }, "n_examples is 1048576, and there are 1797 rows"},
		{func(c *EvalConfig) { c.White = 0 }, "white 0"},
		{func(c *EvalConfig) { c.White = 10 }, "is no pixel from 0 to 10"},
		{func(c *EvalConfig) { c.Batch = -1 }, "batch -1"},
		{func(c *EvalConfig) { c.Net = "mlp:5" },
			"missing 0.weight, 0.bias, 2.weight, 2.bias; in no layer bias, weight"},
	} {
		config := EvalDefaults(set)
		config.Model, config.Examples, config.Attack = file, 5, []string{"fgsm"}
		c.change(&config)
		_, err := evaluate(t, set, config)
		require.ErrorContains(t, err, c.says)
	}
}

// wave fills an array with numbers that look random.
func wave(n int, phase float64) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = math.Sin(float64(i*i%101) + phase)
	}
	return v
}

func TestReadNetwork(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, v params.Values, drop ...string) string {
		kept := params.Values{}
		for _, a := range v.Layout {
			if !slices.Contains(drop, a.Name) {
				kept = kept.AndShaped(a.Name, a.Shape, v.Of(a.Name))
			}
		}
		path := filepath.Join(dir, name)
		require.NoError(t, params.WriteNPZ(path, kept))
		return path
	}
	small := params.Values{}.AndShaped("0.weight", []int{4, 3}, wave(12, 0)).And("0.bias", wave(4, 1)...).
		AndShaped("2.weight", []int{2, 4}, wave(8, 2)).And("2.bias", wave(2, 3)...)

	net, err := ReadNetwork(write("mlp.npz", small), "", models.Tanh, 255)
	require.NoError(t, err)
	require.Equal(t, models.MLP{Widths: []int{3, 4, 2}, Activation: models.Tanh}, net.Model)
	require.Equal(t, small.Flat, net.Params.Flat)
	require.Equal(t, []int{3, 2}, []int{net.Inputs, net.Classes})

	// All that does not fit is named at once.
	_, err = ReadNetwork(write("bad.npz", small.And("3.bias", 1), "0.bias"), "mlp:5", "", 255)
	require.EqualError(t, err, filepath.Join(dir, "bad.npz")+": its arrays do not fit: missing 0.bias; "+
		"in no layer 3.bias; 0.weight is [4 3], not [5 3], 2.weight is [2 4], not [2 5]")
	_, err = ReadNetwork(write("chain.npz", params.Values{}.AndShaped("0.weight", []int{4, 3}, wave(12, 0)).
		AndShaped("2.weight", []int{2, 5}, wave(10, 2))), "", "", 255)
	require.ErrorContains(t, err, "2.weight takes 5 inputs, and the layer before it (0.weight) gives 4")
	_, err = ReadNetwork(write("names.npz", params.Values{}.AndShaped("W1", []int{4, 3}, wave(12, 0))), "", "", 255)
	require.ErrorContains(t, err, "its arrays (W1) are not those of a network of linear maps")
	_, err = ReadNetwork(write("w.npz", small), "", "rellu", 255)
	require.ErrorContains(t, err, `did you mean "relu"?`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text.npz"), []byte("text"), 0o600))
	_, err = ReadNetwork(filepath.Join(dir, "text.npz"), "", "", 255)
	require.ErrorContains(t, err, "not a usable .npz file")

	// A linear map with a bias before a batch normalization, as PyTorch has it by default.
	norm := params.Values{}.AndShaped("0.weight", []int{4, 3}, wave(12, 0)).And("0.bias", wave(4, 1)...).
		And("1.weight", 1, 2, 3, 4).And("1.bias", wave(4, 5)...).And("1.running_mean", wave(4, 6)...).
		And("1.running_var", 1, 0.5, 2, 3).AndShaped("1.num_batches_tracked", nil, []float64{7}).
		AndShaped("3.weight", []int{2, 4}, wave(8, 2)).And("3.bias", wave(2, 3)...)
	net, err = ReadNetwork(write("norm.npz", norm), "", "", 255)
	require.NoError(t, err)
	x := []float32{0.2, 0.5, 0.9}
	want := slices.Clone(norm.Of("3.bias"))
	for i := range 4 {
		h := norm.Of("0.bias")[i]
		for j, v := range x {
			h += norm.Of("0.weight")[i*3+j] * float64(v)
		}
		h = (h - norm.Of("1.running_mean")[i]) / math.Sqrt(norm.Of("1.running_var")[i]+1e-5)
		h = max(0, h*norm.Of("1.weight")[i]+norm.Of("1.bias")[i])
		for k := range want {
			want[k] += norm.Of("3.weight")[k*4+i] * h
		}
	}
	require.InDeltaSlice(t, want, net.outputs(t, x, 1), 1e-6) // arrays of the file may be float32

	// A file of this program: what it is and how inputs are scaled stand in it.
	scaled := safetensors.File{Arrays: map[string]safetensors.Array{
		"weight": {Shape: []int{2, 3}, F64: wave(6, 0)}, "bias": {Shape: []int{2}, F64: wave(2, 1)},
		"scaler.mean":      {Shape: []int{3}, F64: []float64{10, 20, 30}},
		"scaler.deviation": {Shape: []int{3}, F64: []float64{2, 4, 8}},
	}, Metadata: map[string]string{"model": "softmax", "batch_norm": "false"}}
	path := filepath.Join(dir, "own.safetensors")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, safetensors.Write(f, scaled))
	require.NoError(t, f.Close())
	net, err = ReadNetwork(path, "", "", 100)
	require.NoError(t, err)
	want = wave(2, 1)
	for k := range want {
		for j, v := range x {
			mean, deviation := []float64{10, 20, 30}[j], []float64{2, 4, 8}[j]
			want[k] += wave(6, 0)[k*3+j] * (100*float64(v) - mean) / deviation
		}
	}
	require.InDeltaSlice(t, want, net.outputs(t, x, 1), 1e-12)
}
