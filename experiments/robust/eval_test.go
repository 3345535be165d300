package robust

import (
	"context"
	"math"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"bilevel/data"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/internal/npy"
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
	net, err := train.ReadNetwork(file, train.Reading{White: 16, Pixels: true})
	require.NoError(t, err)
	right := 0
	z := outputs(t, net, images, 60)
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

// outputs are the logits of images on the reference device.
func outputs(t *testing.T, n train.Network, images []float32, rows int) []float64 {
	t.Helper()
	dev := ref.New()
	defer dev.Close()
	ex := tensor.NewExecutor(dev)
	defer ex.Close()
	sc := ex.Scope()
	m, err := on(n, sc)
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
