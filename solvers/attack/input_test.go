package attack_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"bilevel/models"
	"bilevel/solvers/attack"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// What cannot work is refused before anything starts, with one sentence that names it.
func TestBadInput(t *testing.T) {
	l, s := digits(t, 5, 10)
	ex := refExecutor(t)
	m := l.model(t, ex)
	fine := attack.Ball{Norm: attack.Linf, Eps: 0.1}
	with := func(change func(s *attack.Samples)) attack.Samples {
		c := attack.Samples{Images: slices.Clone(s.Images), Labels: slices.Clone(s.Labels)}
		change(&c)
		return c
	}
	classes := func(n int) attack.Model { // the first n logits
		return attack.Model{Inputs: 64, Classes: n, Logits: func(x *tensor.Node) *tensor.Node {
			return m.Logits(x).Slice(1, 0, n)
		}}
	}
	zeros := with(func(s *attack.Samples) { clear(s.Labels) })
	softmax := m
	softmax.Logits = func(x *tensor.Node) *tensor.Node { return m.Logits(x).Softmax() }
	broken := m
	broken.Logits = func(x *tensor.Node) *tensor.Node { return m.Logits(x).Scale(0).Log() }
	wide := m
	wide.Classes = 11
	oblong := m
	oblong.Image = attack.Image{Height: 8, Width: 7, Channels: 1}
	row := m
	row.Image = attack.Image{Height: 1, Width: 64, Channels: 1}
	for _, c := range []struct {
		m    attack.Model
		ball attack.Ball
		s    attack.Samples
		k    []attack.Attack
		says string
	}{
		{m, attack.Ball{Norm: attack.Linf, Eps: 8}, s, nil, "eps 8: pixels are in [0, 1]; did you mean 8/255?"},
		{m, attack.Ball{Norm: attack.Linf, Eps: -0.1}, s, nil, "eps -0.1: wants a radius from 0 on"},
		{m, attack.Ball{Norm: attack.Linf, Eps: math.NaN()}, s, nil, "eps NaN"},
		{m, attack.Ball{Norm: attack.Linf, Eps: math.Inf(1)}, s, nil, "eps +Inf: pixels are in [0, 1], so that"},
		{m, attack.Ball{Norm: attack.L2, Eps: 8.5}, s, nil, "no two images are further apart than 8 in l2"},
		{m, attack.Ball{Norm: "linff", Eps: 0.1}, s, nil, `norm "linff": there are linf, l2; did you mean "linf"?`},
		{m, fine, with(func(s *attack.Samples) { s.Images[64+3] = 255 }), nil, "pixel 3 of image 1 is 255"},
		{m, fine, with(func(s *attack.Samples) { s.Images[5] = -0.5 }), nil, "pixel 5 of image 0 is -0.5"},
		{m, fine, with(func(s *attack.Samples) { s.Images[0] = float32(math.NaN()) }), nil,
			"pixel 0 of image 0 is NaN"},
		{m, fine, with(func(s *attack.Samples) { s.Labels[2] = 10 }), nil,
			"that of image 2 is 10, and the model has 10"},
		{m, fine, with(func(s *attack.Samples) { s.Labels[0] = -1 }), nil, "that of image 0 is -1"},
		{m, fine, with(func(s *attack.Samples) { s.Images = s.Images[1:] }), nil, "319 numbers for 5 labels"},
		{m, fine, attack.Samples{}, nil, "wants at least one image"},
		{m, fine, s, []attack.Attack{}, "no attacks are given"},
		{m, fine, s, []attack.Attack{attack.PGD{Steps: 5}}, "pgd-5-0: restarts 0: wants at least 1"},
		{m, fine, s, []attack.Attack{attack.PGD{Steps: -5, Restarts: 1}}, "steps -5"},
		{m, fine, s, []attack.Attack{attack.PGD{Step: -1, Restarts: 1}}, "step -1"},
		{m, fine, s, []attack.Attack{attack.APGD{}}, "apgd-ce: restarts 0"},
		{m, fine, s, []attack.Attack{attack.APGD{Restarts: 1, Steps: -1}}, "steps -1"},
		{m, fine, s, []attack.Attack{attack.APGD{Restarts: 1, Targets: -1}}, "targets -1"},
		{m, fine, s, []attack.Attack{attack.APGD{Restarts: 1, Loss: "kl"}}, `unknown loss "kl": there are ce, dlr`},
		{m, fine, s, []attack.Attack{attack.FAB{}}, "fab-t: restarts 0"},
		{m, fine, s, []attack.Attack{attack.FAB{Restarts: 1, Steps: -1}}, "steps -1"},
		{m, fine, s, []attack.Attack{attack.FAB{Restarts: 1, Targets: -1}}, "targets -1"},
		{m, fine, s, []attack.Attack{attack.Square{Queries: -1}}, "queries -1"},
		{m, fine, s, []attack.Attack{attack.Square{P: 2}}, "p 2"},
		{row, attack.Ball{Norm: attack.L2, Eps: 1}, s, []attack.Attack{attack.Square{}}, "at least 2 x 2 pixels"},
		{oblong, fine, s, []attack.Attack{attack.Square{}}, "8 x 7 pixels in 1 channels are not the 64 inputs"},
		{classes(3), fine, zeros, []attack.Attack{attack.APGD{Loss: "dlr-targeted", Restarts: 1}},
			"apgd-t: the loss dlr-targeted needs logits of at least 4 classes, and the model has 3"},
		{classes(3), fine, zeros, []attack.Attack{attack.APGD{Loss: "dlr", Restarts: 1}}, "at least 4 classes"},
		{softmax, fine, s, nil, "the model's outputs are probabilities for every image"},
		{broken, fine, s, nil, "the model's outputs for image 0 are not finite"},
		{wide, fine, s, nil, "wants logits of shape [5 11]"},
		{attack.Model{Inputs: 64, Classes: 10}, fine, s, nil, "no function that builds its logits"},
		{attack.Model{Classes: 10, Logits: m.Logits}, fine, s, nil, "a model of 0 inputs"},
		{attack.Model{Inputs: 64, Classes: 1, Logits: m.Logits}, fine, s, nil, "a model of 1 classes"},
	} {
		if c.k == nil {
			c.k = []attack.Attack{attack.FGSM{}}
		}
		started := false
		a, err := attack.New(ex, c.m, attack.Options{Progress: func(attack.Stage) { started = true }, Batch: 5})
		if err == nil {
			_, err = a.Run(context.Background(), c.ball, c.s, c.k...)
			require.NoError(t, a.Close())
		}
		require.ErrorContains(t, err, c.says, "wants: %s", c.says)
		require.True(t, strings.HasPrefix(err.Error(), "attack: "), err)
		require.False(t, started)
	}
	_, err := attack.New(ex, m, attack.Options{Batch: -1})
	require.ErrorContains(t, err, "batches of -1 images")
	_, err = attack.Image{}.In(63)
	require.ErrorContains(t, err, "63 pixels are no square of one channel")
}

// Attacks say in words what makes their result doubtful.
func TestWarnings(t *testing.T) {
	l, s := digits(t, 30, 10)
	ex := refExecutor(t)
	m := l.model(t, ex)
	change := func(of func(x *tensor.Node) *tensor.Node) attack.Model {
		c := m
		c.Logits = of
		return c
	}
	few := attack.Model{Inputs: 64, Classes: 4, Logits: func(x *tensor.Node) *tensor.Node {
		return m.Logits(x).Slice(1, 0, 4)
	}}
	four := attack.Samples{}
	for i, y := range s.Labels {
		if y < 4 {
			four.Images = append(four.Images, s.Images[i*64:(i+1)*64]...)
			four.Labels = append(four.Labels, y)
		}
	}
	seed, step := ex.Variable("seed", tensor.Int, 2).Node(), tensor.IntConst(0)
	once := []attack.Attack{attack.APGD{Steps: 5, Restarts: 1}}
	for _, c := range []struct {
		m    attack.Model
		s    attack.Samples
		eps  float64
		k    []attack.Attack
		says string // "": nothing to warn of
	}{
		{m, s, 0.05, []attack.Attack{attack.FGSM{}}, ""},
		{few, four, 0.05, []attack.Attack{attack.FAB{Restarts: 1, Targets: 3, Steps: 3}}, ""},
		{few, four, 0.05, []attack.Attack{attack.FAB{Restarts: 1, Steps: 3}},
			"fab-t: 9 target classes are wanted, and the model has 4 classes: each image is pushed to the 3 others"},
		{change(func(x *tensor.Node) *tensor.Node { return m.Logits(x).Softmax() }), s, 0.05, once,
			"the model's outputs are probabilities"},
		{change(func(x *tensor.Node) *tensor.Node {
			return m.Logits(x.Add(tensor.RandomNormal(seed, step, 7, x.Shape()...).Scale(0.01)))
		}), s, 0.05, once, "it draws random numbers, or normalizes by the batch"},
		{change(func(x *tensor.Node) *tensor.Node { return m.Logits(x.Sub(x.Mean(0))) }), s, 0.05, once,
			"it draws random numbers, or normalizes by the batch"},
		// A model of rounded pixels has no gradients, but a random search gets through.
		{change(func(x *tensor.Node) *tensor.Node {
			return m.Logits(x.Scale(16).AddConst(0.5).Floor().Scale(1.0 / 16))
		}), s, 0.15, once,
			"apgd-ce: the gradient was 0 at 28 of 28 start points, so that the attack could not move them"},
		{change(func(x *tensor.Node) *tensor.Node {
			return m.Logits(tensor.Where(x.Lt(tensor.Const(0.2)), x, x.Scale(8).AddConst(0.5).Floor().Scale(1.0/8)))
		}), s, 0.2, []attack.Attack{attack.FGSM{}, attack.Square{Queries: 300}},
			"square: it broke"},
		{m, s, 0.2, []attack.Attack{attack.APGD{Steps: 1, Restarts: 1}},
			"images were broken only after the last checkpoint: more steps would probably break more"},
	} {
		a := attacker(t, ex, c.m, attack.Options{AcceptProbabilities: true})
		r, err := a.Run(context.Background(), attack.Ball{Norm: attack.Linf, Eps: c.eps}, c.s, c.k...)
		require.NoError(t, err)
		all := strings.Join(r.Warnings, "\n")
		if c.says == "" {
			require.Empty(t, all)
		}
		require.Contains(t, all, c.says)
	}
}

// Square's windows cover the same pixels of an image whichever way its channels lie.
func TestImageLayouts(t *testing.T) {
	for _, ball := range []attack.Ball{{Norm: attack.Linf, Eps: 0.1}, {Norm: attack.L2, Eps: 0.5}} {
		layoutsAgree(t, ball)
	}
}

func layoutsAgree(t *testing.T, ball attack.Ball) {
	_, s := digits(t, 12, 10)
	// Four channels of 4 x 4 pixels.
	const side, channels = 4, 4
	at := func(last bool, c, i, j int) int {
		if last {
			return (i*side+j)*channels + c
		}
		return (c*side+i)*side + j
	}
	ex := refExecutor(t)
	results := map[bool]*attack.Result{}
	net := models.MLP{Widths: []int{64, 8, 3}, Activation: models.Tanh}
	p, _ := net.Init(4)
	for _, last := range []bool{false, true} {
		images, w := make([]float32, len(s.Images)), slices.Clone(p.Flat)
		for c := range channels {
			for i := range side {
				for j := range side {
					for n := range s.N() {
						images[n*64+at(last, c, i, j)] = s.Images[n*64+at(false, c, i, j)]
					}
					for h := range 8 {
						w[h*64+at(last, c, i, j)] = p.Flat[h*64+at(false, c, i, j)]
					}
				}
			}
		}
		weights := ex.Variable("w", tensor.Real, len(w))
		require.NoError(t, weights.Write(w))
		m := attack.Of(net, 64, 3, weights.Node(), nil)
		m.Image = attack.Image{Height: side, Width: side, Channels: channels, ChannelsLast: last}
		a := attacker(t, ex, m, attack.Options{})
		labels := make([]int32, s.N())
		r, err := a.Run(context.Background(), ball, attack.Samples{Images: images, Labels: labels},
			attack.Square{Queries: 40, Scaled: true})
		require.NoError(t, err)
		require.Positive(t, attack.Count(r.Clean))
		results[last] = r
	}
	changed := 0
	for n, clean := range results[false].Clean {
		require.Equal(t, results[false].Robust[n], results[true].Robust[n])
		require.InDelta(t, results[false].Loss[n], results[true].Loss[n], 1e-6)
		for i := range 64 {
			c, y, x := i/16, i/4%4, i%4
			first, last := results[false].Images[n*64+i], results[true].Images[n*64+at(true, c, y, x)]
			// Sums over pixels in another order may round to another float32 number.
			require.InDelta(t, first, last, 0x1p-22)
			if clean && first != s.Images[n*64+i] {
				changed++
			}
		}
	}
	require.Positive(t, changed)
}

// η of side 3 by hand: a pyramid of one row over one of two rows with the opposite sign, all of norm 1.
func TestEta(t *testing.T) {
	upper, lower := math.Sqrt(1.25*1.25+2*0.0625), math.Sqrt(1.25*1.25+5*0.0625)
	var want []float64
	for i, v := range []float64{0.25, 1.25, 0.25, -0.25, -0.25, -0.25, -0.25, -1.25, -0.25} {
		if i < 3 {
			v /= upper
		} else {
			v /= lower
		}
		want = append(want, v/math.Sqrt2)
	}
	require.InDeltaSlice(t, want, attack.Eta(3), 1e-15)
}
