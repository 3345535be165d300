package attack_test

import (
	"context"
	"errors"
	"math"
	"slices"
	"testing"

	"bilevel/device/ref"
	"bilevel/solvers/attack"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// curved is the classifier of the nearest mean with a wave added to its logits, so that its gradients turn.
func (l linear) curved(t *testing.T, ex *tensor.Executor) attack.Model {
	m := l.model(t, ex)
	straight := m.Logits
	v := make([]float64, m.Inputs*m.Classes)
	for i := range v {
		v[i] = 3 * math.Sin(float64(i*i%977))
	}
	w := ex.Variable("wave", tensor.Real, m.Inputs, m.Classes)
	require.NoError(t, w.Write(v))
	m.Logits = func(x *tensor.Node) *tensor.Node {
		return straight(x).Add(x.MatMul(w.Node()).Sin().Scale(0.5))
	}
	return m
}

// few are all attacks, with few steps.
func few() []attack.Attack {
	return []attack.Attack{
		attack.FGSM{}, attack.PGD{Steps: 7, Restarts: 2}, attack.APGD{Steps: 12, Restarts: 2},
		attack.APGD{Loss: "dlr", Steps: 12, Restarts: 1},
		attack.APGD{Loss: "dlr-targeted", Steps: 8, Restarts: 1, Targets: 3},
		attack.FAB{Steps: 6, Restarts: 2, Targets: 2}, attack.Square{Queries: 60},
	}
}

// Every point that comes out is in the ball and in [0, 1] and is what the result says of it, on a device of float32
// numbers and on one of float64; the worst case over attacks is worse than each for every image.
func TestContracts(t *testing.T) {
	l, s := digits(t, 24, 10)
	d := 64
	for _, open := range []func(*testing.T) *tensor.Executor{refExecutor, cpuExecutor} {
		for _, ball := range []attack.Ball{{Norm: attack.Linf, Eps: 0.07}, {Norm: attack.L2, Eps: 0.4}} {
			ex := open(t)
			m := l.curved(t, ex)
			a := attacker(t, ex, m, attack.Options{Seed: 3})
			run := func(ball attack.Ball, attacks ...attack.Attack) *attack.Result {
				r, err := a.Run(context.Background(), ball, s, attacks...)
				require.NoError(t, err)
				return r
			}
			together := run(ball, few()...)
			verify(t, together, s, m, l.curved)
			left := attack.Count(together.Clean)
			for k, one := range few() {
				tally := together.Attacks[k]
				require.Equal(t, left, tally.Attacked)
				left -= tally.Broken
				require.Equal(t, left, tally.Robust)
				r := run(ball, one)
				verify(t, r, s, m, l.curved)
				broken := 0
				for i := range s.N() {
					require.True(t, r.Robust[i] || !together.Robust[i], "%s alone breaks image %d", one.Name(), i)
					if r.Robust[i] && together.Robust[i] {
						require.GreaterOrEqual(t, together.Loss[i], r.Loss[i])
					}
					if together.By[i] == k {
						broken++
					}
				}
				require.Equal(t, tally.Broken, broken)
				// More restarts never do worse.
				if p, ok := one.(attack.PGD); ok {
					p.Restarts++
					more := run(ball, p)
					require.LessOrEqual(t, attack.Count(more.Robust), attack.Count(r.Robust))
				}
			}
			require.Equal(t, left, attack.Count(together.Robust))
			require.Less(t, left, attack.Count(together.Clean), "nothing was broken")
			require.Positive(t, left, "nothing is left")

			none := run(attack.Ball{Norm: ball.Norm}, few()...)
			require.Equal(t, s.Images, none.Images)
			require.Equal(t, none.Clean, none.Robust)
			// A radius that is almost 0 leaves the images where they are too.
			tiny := run(attack.Ball{Norm: ball.Norm, Eps: 1e-8}, few()...)
			for i := range s.N() {
				x, x0 := tiny.Images[i*d:(i+1)*d], s.Images[i*d:(i+1)*d]
				require.LessOrEqual(t, ball.Norm.Distance(x, x0), 1e-8)
			}
		}
	}
}

// Results depend neither on the size of batches nor on broken images leaving early, nor on who else is attacked.
func TestBatchesDoNotMatter(t *testing.T) {
	l, s := digits(t, 24, 10)
	run := func(ball attack.Ball, batch int, keep bool, s attack.Samples, attacks ...attack.Attack) *attack.Result {
		dev := ref.New()
		ex := tensor.NewExecutor(dev)
		defer func() { require.NoError(t, closeAll(ex, dev)) }()
		a, err := attack.New(ex, l.curved(t, ex), attack.Options{Seed: 3, Batch: batch})
		require.NoError(t, err)
		if keep {
			a.KeepAll()
		}
		r, err := a.Run(context.Background(), ball, s, attacks...)
		require.NoError(t, err)
		for i := range r.Attacks {
			r.Attacks[i].Duration = 0
		}
		return r
	}
	for _, ball := range []attack.Ball{{Norm: attack.Linf, Eps: 0.07}, {Norm: attack.L2, Eps: 0.4}} {
		attacks := few()
		want := run(ball, 0, false, s, attacks...)
		for _, got := range []*attack.Result{
			run(ball, 0, true, s, attacks...), run(ball, 7, false, s, attacks...),
		} {
			got.Warnings = want.Warnings // keepAll counts otherwise
			require.Equal(t, want, got)
		}
		part := attack.Samples{Images: s.Images[:3*64], Labels: s.Labels[:3]}
		require.Equal(t, want.Images[:3*64], run(ball, 1, false, part, attacks...).Images)
	}
}

// Another seed gives other points; the same seed the same.
func TestSeeds(t *testing.T) {
	l, s := digits(t, 20, 10)
	for _, k := range []attack.Attack{attack.PGD{Steps: 2, Restarts: 1}, attack.APGD{Steps: 3, Restarts: 1},
		attack.Square{Queries: 20}} {
		images := func(seed uint64) []float32 {
			ex := refExecutor(t)
			a := attacker(t, ex, l.curved(t, ex), attack.Options{Seed: seed})
			r, err := a.Run(context.Background(), attack.Ball{Norm: attack.Linf, Eps: 0.05}, s, k)
			require.NoError(t, err)
			return r.Images
		}
		one := images(1)
		require.Equal(t, one, images(1))
		require.NotEqual(t, one, images(2), k.Name())
	}
}

func TestSweep(t *testing.T) {
	l, s := digits(t, 60, 10)
	ex := cpuExecutor(t)
	m := l.curved(t, ex)
	a := attacker(t, ex, m, attack.Options{})
	// A single step that is too long misses what a shorter one finds.
	levels, err := a.Sweep(context.Background(), attack.Linf, []float64{0.4, 0.02, 0, 0.1, 0.05}, s, attack.FGSM{})
	require.NoError(t, err)
	require.Len(t, levels, 5)
	carried := 0
	for i, l := range levels {
		require.Equal(t, []float64{0, 0.02, 0.05, 0.1, 0.4}[i], l.Ball.Eps)
		for j := range s.N() {
			require.False(t, l.Robust[j] && !l.Raw.Robust[j])
			if i > 0 {
				require.False(t, l.Robust[j] && !levels[i-1].Robust[j], "robust again at a larger radius")
			}
			if l.Raw.Robust[j] && !l.Robust[j] {
				carried++
				require.Equal(t, levels[i-1].Images[j*64:(j+1)*64], l.Images[j*64:(j+1)*64])
			}
		}
	}
	require.Equal(t, levels[0].Raw.Clean, levels[0].Robust)
	require.Positive(t, carried, "no example of a smaller radius was missed at a larger one: the test says nothing")
	_, err = a.Sweep(context.Background(), attack.Linf, []float64{0.1, 8}, s, attack.FGSM{})
	require.ErrorContains(t, err, "did you mean 8/255?")
	_, err = a.Sweep(context.Background(), attack.Linf, nil, s, attack.FGSM{})
	require.ErrorContains(t, err, "no radii")
}

func TestCheckpoints(t *testing.T) {
	// Croce and Hein's rule for 100 steps, computed by hand.
	require.Equal(t, []int{22, 41, 57, 70, 80, 87, 93, 99}, attack.Checkpoints(100))
	require.Equal(t, []int{3, 5, 6, 7, 8, 9}, attack.Checkpoints(10))
	require.Empty(t, attack.Checkpoints(1))
}

func TestCancel(t *testing.T) {
	l, s := digits(t, 20, 10)
	ex := refExecutor(t)
	a := attacker(t, ex, l.model(t, ex), attack.Options{})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := a.Run(ctx, attack.Ball{Norm: attack.Linf, Eps: 0.1}, s, attack.FGSM{})
	require.True(t, errors.Is(err, context.Canceled))
	require.True(t, slices.Contains(attack.Standard(), attack.Attack(attack.Square{})))
}

// A misclassified point is taken even where another one of a larger cross-entropy has been seen before.
func TestMisclassifiedComesFirst(t *testing.T) {
	ex := refExecutor(t)
	// From 0.5 the loss of class 0 rises to almost log 3; above 0.55 the image is misclassified at a loss of log 2.
	m := attack.Model{Inputs: 1, Classes: 3, Logits: func(x *tensor.Node) *tensor.Node {
		rise := x.AddConst(-0.5).Scale(4)
		below := tensor.Concat(1, tensor.Full(0.25, x.Shape()[0], 1), rise, rise)
		above := tensor.Concat(1, rise.Scale(0), rise.Scale(0).AddConst(0.001), rise.Scale(0).AddConst(-30))
		return tensor.Where(x.Lt(tensor.Const(0.55)), below, above)
	}}
	s := attack.Samples{Images: []float32{0.5}, Labels: []int32{0}}
	for _, k := range []attack.Attack{attack.PGD{Steps: 8, Restarts: 1}, attack.APGD{Steps: 8, Restarts: 1}} {
		for seed := range uint64(10) { // some starts lie above 0.55 already
			a := attacker(t, ex, m, attack.Options{Seed: seed})
			r, err := a.Run(context.Background(), attack.Ball{Norm: attack.Linf, Eps: 0.1}, s, k)
			require.NoError(t, err)
			require.False(t, r.Robust[0], "%s, seed %d", k.Name(), seed)
			require.InDelta(t, math.Log(2), r.Loss[0], 1e-3)
		}
	}
}
