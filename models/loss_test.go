package models_test

import (
	"math"
	"slices"
	"testing"

	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

func TestWeightedMean(t *testing.T) {
	got := eval(t, func(v func([]float64, ...int) *tensor.Node) []*tensor.Node {
		losses := v([]float64{1, 2, 4}, 3)
		return []*tensor.Node{
			models.WeightedMean(losses, nil),
			models.WeightedMean(losses, v([]float64{1, 3, 0}, 3)),
			models.SquaredNorm(losses),
		}
	})
	require.InDelta(t, 7.0/3, got[0][0], 1e-15)
	require.Equal(t, []float64{7.0 / 4}, got[1])
	require.Equal(t, []float64{21}, got[2])
}

// Rows of weight zero change neither the loss nor the gradients, whatever they hold.
func TestPaddedRows(t *testing.T) {
	m := models.MLP{Widths: []int{3, 4, 3}, Activation: models.Tanh}
	start, x := sequence(m.Params().Size(), 1.1), sequence(4*3, 0.7)
	run := func(rows int, x, weights []float64, labels []int32) [][]float64 {
		dev := ref.New()
		ex := tensor.NewExecutor(dev)
		defer ex.Close()
		p, in := ex.Variable("p", tensor.Real, len(start)), ex.Variable("x", tensor.Real, rows, 3)
		w, l := ex.Variable("w", tensor.Real, rows), ex.Variable("l", tensor.Int, rows)
		loss, grad := ex.Variable("loss", tensor.Real), ex.Variable("grad", tensor.Real, len(start))
		for _, err := range []error{p.Write(start), in.Write(x), w.Write(weights), l.WriteInts(labels)} {
			require.NoError(t, err)
		}
		f, err := ex.Compile("loss", func() []tensor.Update {
			z, _ := m.Apply(p.Node(), nil, in.Node(), params.Train)
			value := models.WeightedMean(tensor.CrossEntropy(z, l.Node()), w.Node())
			return []tensor.Update{{Var: loss, Value: value}, {Var: grad, Value: tensor.Grad(value, p.Node())[0]}}
		})
		require.NoError(t, err)
		require.NoError(t, f.Run(1))
		a, err := loss.Read()
		require.NoError(t, err)
		b, err := grad.Read()
		require.NoError(t, err)
		return [][]float64{a, b}
	}
	want := run(4, x, []float64{1, 2, 1, 0.5}, []int32{0, 1, 2, 1})
	padded := run(7, append(slices.Clone(x), 9, -9, 1, 0, 0, 0, 1e3, 5, -7),
		[]float64{1, 2, 1, 0.5, 0, 0, 0}, []int32{0, 1, 2, 1, 0, 0, 2})
	for i := range want {
		require.InDeltaSlice(t, want[i], padded[i], 1e-15)
	}
	require.NotZero(t, want[1][0])
}

func TestBinaryCrossEntropy(t *testing.T) {
	z, a := []float64{-30, -1, 0, 2, 800, -800}, []float64{0, 1, 1, 0, 1, 0}
	got := eval(t, func(v func([]float64, ...int) *tensor.Node) []*tensor.Node {
		zn := v(z, len(z))
		loss := models.BinaryCrossEntropy(zn, v(a, len(a)))
		return []*tensor.Node{loss, tensor.Grad(loss.Sum(), zn)[0]}
	})
	for i := range z {
		p := 1 / (1 + math.Exp(-z[i]))
		require.InDelta(t, p-a[i], got[1][i], 1e-15)
		if math.Abs(z[i]) < 100 {
			require.InDelta(t, -a[i]*math.Log(p)-(1-a[i])*math.Log1p(-p), got[0][i], 1e-14)
		} else {
			require.Zero(t, got[0][i], "the loss vanishes for extreme log-odds of the right sign")
		}
	}
}

// Among equal logits the first counts as the largest.
func TestMistakes(t *testing.T) {
	ex := tensor.NewExecutor(ref.New())
	defer ex.Close()
	logits := ex.Variable("z", tensor.Real, 4, 3)
	labels, out := ex.Variable("l", tensor.Int, 4), ex.Variable("m", tensor.Real, 4)
	require.NoError(t, logits.Write([]float64{1, 2, 3, 3, 2, 1, 5, 5, 0, 5, 5, 0}))
	require.NoError(t, labels.WriteInts([]int32{2, 2, 0, 1}))
	f, err := ex.Compile("mistakes", func() []tensor.Update {
		return []tensor.Update{{Var: out, Value: models.Mistakes(logits.Node(), labels.Node())}}
	})
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	got, err := out.Read()
	require.NoError(t, err)
	require.Equal(t, []float64{0, 1, 0, 1}, got)
}

func TestSmoothedCrossEntropy(t *testing.T) {
	const rows, classes, epsilon = 3, 4, 0.1
	z, labels := sequence(rows*classes, 1.9), []int32{2, 0, 3}
	ex := tensor.NewExecutor(ref.New())
	defer ex.Close()
	zv := ex.Variable("z", tensor.Real, rows, classes)
	lv, out := ex.Variable("l", tensor.Int, rows), ex.Variable("out", tensor.Real, rows)
	require.NoError(t, zv.Write(z))
	require.NoError(t, lv.WriteInts(labels))
	f, err := ex.Compile("smoothed", func() []tensor.Update {
		return []tensor.Update{{Var: out, Value: models.SmoothedCrossEntropy(zv.Node(), lv.Node(), epsilon)}}
	})
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	got, err := out.Read()
	require.NoError(t, err)
	for r := range rows {
		total, want := 0.0, 0.0
		for j := range classes {
			total += math.Exp(z[r*classes+j])
		}
		for j := range classes {
			target := epsilon / classes
			if int32(j) == labels[r] {
				target += 1 - epsilon
			}
			want -= target * math.Log(math.Exp(z[r*classes+j])/total)
		}
		require.InDelta(t, want, got[r], 1e-14)
	}
}
