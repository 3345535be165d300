package prune

import (
	"math"
	"math/rand/v2"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/data"
	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/tensor"
)

// Of softmax regression the gradient in a row is Wᵀ(p - y), so that the steps can be done by hand; rows stay in the
// ball and between black and white.
func TestPerturbed(t *testing.T) {
	const rows, dim, classes, steps = 7, 5, 3, 3
	r := rand.New(rand.NewPCG(1, 2))
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	sc := ex.Scope()
	put := func(values []float64, shape ...int) *tensor.Node {
		v := sc.Variable("v", tensor.Real, shape...)
		require.NoError(t, v.Write(values))
		return v.Node()
	}
	m := models.Softmax{Inputs: dim, Classes: classes}
	p, _ := m.Init(1)
	radius, black, white := make([]float64, dim), make([]float64, dim), make([]float64, dim)
	for i := range p.Flat {
		p.Flat[i] = r.NormFloat64()
	}
	for j := range dim {
		radius[j], black[j], white[j] = 0.3+0.1*float64(j), -1-0.1*float64(j), 1
	}
	x, labels := make([]float64, rows*dim), make([]int32, rows)
	for i := range x {
		x[i] = min(1, max(-1, r.NormFloat64()))
	}
	y := sc.Variable("labels", tensor.Int, rows)
	for i := range labels {
		labels[i] = int32(i % classes)
	}
	require.NoError(t, y.WriteInts(labels))
	b := ball{put(radius, dim), put(black, dim), put(white, dim), steps}
	z, in := put(p.Flat, p.Size()), put(x, rows, dim)
	to := sc.Variable("perturbed", tensor.Real, rows, dim)
	f := sc.Compile("perturbed", func() []tensor.Update {
		return []tensor.Update{{Var: to, Value: b.perturbed(in, func(x *tensor.Node) *tensor.Node {
			out, _ := m.Apply(z, nil, x, params.Train)
			return tensor.CrossEntropy(out, y.Node()).Mean()
		})}}
	})
	require.NoError(t, sc.Err())
	require.NoError(t, f.Run(1))
	got, err := to.Read()
	require.NoError(t, err)

	weight, bias := p.Flat[:classes*dim], p.Flat[classes*dim:] // [out, in] and [out], as PyTorch has them
	require.Equal(t, []int{classes, dim}, p.Layout[0].Shape)
	moved := 0
	for i := range rows {
		at := append([]float64{}, x[i*dim:(i+1)*dim]...)
		for range steps {
			d, sum := make([]float64, classes), 0.0
			for c := range d {
				d[c] = bias[c]
				for j, v := range at {
					d[c] += weight[c*dim+j] * v
				}
				d[c] = math.Exp(d[c])
				sum += d[c]
			}
			next := make([]float64, dim)
			for j := range next {
				g := -weight[int(labels[i])*dim+j]
				for c := range d {
					g += weight[c*dim+j] * d[c] / sum
				}
				v := at[j] + radius[j]*2.5/steps*math.Copysign(1, g)
				own := x[i*dim+j]
				next[j] = min(max(v, own-radius[j], black[j]), own+radius[j], white[j])
			}
			at = next
		}
		for j := range at {
			require.InDelta(t, at[j], got[i*dim+j], 1e-12)
			if at[j] != x[i*dim+j] {
				moved++
			}
		}
	}
	require.Greater(t, moved, rows*dim/2)
	require.NoError(t, sc.Close())
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
}

// Networks that are trained on perturbed rows and pruned by them are other ones, and settings that make no sense are
// refused.
func TestAdversarialLosses(t *testing.T) {
	accuracy := map[string]float64{}
	for _, loss := range []string{Clean, Adversarial} {
		c, set := small(t, "bip-no-implicit")
		c.PretrainEpochs, c.UpperLoss, c.LowerLoss = 3, loss, loss
		if loss == Adversarial {
			c.Eps, c.AttackSteps = 0.1, 1
		}
		r, err := run(t, c, set)
		require.NoError(t, err)
		accuracy[loss] = r.Scalars["val_loss"]
	}
	require.NotEqual(t, accuracy[Clean], accuracy[Adversarial])
	for says, change := range map[string]func(*Config){
		`lower_loss is "hard"`:         func(c *Config) { c.LowerLoss = "hard" },
		"eps is 0":                     func(c *Config) { c.UpperLoss = Adversarial },
		"no loss is adversarial":       func(c *Config) { c.Eps = 0.1 },
		"did you mean 8/255":           func(c *Config) { c.UpperLoss, c.Eps = Adversarial, 8 },
		"attack_steps is 100":          func(c *Config) { c.UpperLoss, c.Eps, c.AttackSteps = Adversarial, 0.1, 100 },
		"white is -1":                  func(c *Config) { c.UpperLoss, c.Eps, c.White = Adversarial, 0.1, -1 },
		"wants a number from 0 to 1":   func(c *Config) { c.UpperLoss, c.Eps = Adversarial, -1 },
		`upper_loss is "adversarial "`: func(c *Config) { c.UpperLoss = "adversarial " },
		`lower_loss is "soft"`:         func(c *Config) { c.LowerLoss, c.UpperLoss = "soft", "hard" }, // the first
	} {
		c, _ := small(t, "bip-no-implicit")
		change(&c)
		for range 8 {
			_, err := Experiment{}.Cells(c, []uint64{1})
			require.ErrorContains(t, err, says)
		}
	}
	c, set := small(t, "omp")
	c.LowerLoss, c.Eps, c.White = Adversarial, 0.1, 1
	_, err := run(t, c, set)
	require.ErrorContains(t, err, "is no pixel from 0 to 1")
}

// The digits have white pixels of 16, whether they are read as bytes or as numbers.
func TestWhitePixel(t *testing.T) {
	for _, bytes := range []bool{false, true} {
		set, err := data.OpenWith("digits", os.Getenv, data.Options{Bytes: bytes})
		require.NoError(t, err)
		require.Equal(t, bytes, set.Train.Bytes != nil)
		require.Equal(t, 16.0, whitePixel(set))
	}
}
