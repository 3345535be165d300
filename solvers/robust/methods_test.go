package robust_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/open"
	"bilevel/device/ref"
	"bilevel/internal/philox"
	"bilevel/models"
	"bilevel/solvers/engine"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/solvers/robust"
	"bilevel/tensor"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// The perturbation of a sign method is constant near θ, so that its update is the gradient of the loss that the
// iteration reports, as a function of θ alone: random start, minibatch, attack and all. Central differences along
// random directions, with batch normalization and without.
func TestUpdatesAreGradients(t *testing.T) {
	const h = 1e-5
	for _, name := range []string{"standard", "fast-at", "n-fgsm", "free", "pgd", "trades", "backward-smoothing",
		"fast-bat-no-implicit"} {
		for _, norm := range []bool{false, true} {
			settings := []string{"steps=3"}
			if !slices.Contains(entry(t, name).Fields(), "steps") {
				settings = nil
			}
			if name == "fast-bat-no-implicit" {
				settings = []string{"step=1000"} // δ* is on the bounds, where it does not move with θ
			}
			m, task := method(t, name, settings...), small(norm)
			e := start(t, task, m, 1, 1)
			step(t, e, 0, 1)
			update := moved(task.Start, read(t, e, robust.Parameters))
			loss := func(theta []float64) float64 {
				shifted := task
				shifted.Start = task.Start.Like(theta)
				e := start(t, shifted, m, 1, 1)
				step(t, e, 0, 1)
				metrics, err := e.Metrics()
				require.NoError(t, err)
				return metrics.Loss
			}
			for direction := range 2 {
				up, down, slope := slices.Clone(task.Start.Flat), slices.Clone(task.Start.Flat), 0.0
				for i, g := range update {
					d := math.Sin(float64(3*i + 17*direction + 1))
					up[i], down[i], slope = up[i]+h*d, down[i]-h*d, slope+g*d
				}
				difference := (loss(up) - loss(down)) / (2 * h)
				// h²/6 times a third derivative along a direction of length 5, and rounding: about 1e-9.
				require.InDelta(t, difference, slope, 1e-7*(1+math.Abs(slope)), "%s, norm %v", name, norm)
			}
		}
	}
}

func entry(t *testing.T, name string) robust.Entry {
	e, err := robust.ByName(name)
	require.NoError(t, err)
	return e
}

// The regularizer of gradient alignment: central differences of mean CE(θ, x + δ) + λ (1 - mean cos(g₁, g₂(θ))) with δ
// and g₁ held fixed, one row of which has no gradient at all.
func TestGradientAlignment(t *testing.T) {
	const h, lambda = 1e-5, 3.0
	task := small(false)
	e := start(t, task, seen{method(t, "grad-align", "alignment=3")}, 1, 1)
	step(t, e, 0, 1)
	update := moved(task.Start, read(t, e, robust.Parameters))
	x, delta := read(t, e, "images"), read(t, e, "delta")
	labels := labelsOf(t, task, x)
	noise := make([]float32, len(x))
	philox.Uniforms(noise, seed, 0, 1<<24, 0)
	eta := make([]float64, len(x))
	for i, u := range noise {
		eta[i] = task.Eps * (2*float64(u) - 1)
	}
	ex := tensortest.Executor(t, ref.New())
	variable := func(values []float64, shape ...int) *tensor.Variable {
		v := ex.Variable("v", tensor.Real, shape...)
		require.NoError(t, v.Write(values))
		return v
	}
	theta := variable(task.Start.Flat, len(update))
	images, shift := variable(x, batch, inputs), variable(delta, batch, inputs)
	far, at := variable(eta, batch, inputs), variable(make([]float64, batch*inputs), batch, inputs)
	first, value := variable(make([]float64, batch*inputs), batch, inputs), ex.Variable("value", tensor.Real)
	y := ex.Variable("labels", tensor.Int, batch)
	require.NoError(t, y.WriteInts(labels))
	slope := func(at *tensor.Node) *tensor.Node {
		z := logits(task, theta.Node(), images.Node().Add(at))
		return tensor.Grad(tensor.CrossEntropy(z, y.Node()).Sum(), at)[0]
	}
	begin, err := ex.Compile("g1", func() []tensor.Update {
		return []tensor.Update{{Var: first, Value: slope(at.Node())}}
	})
	require.NoError(t, err)
	require.NoError(t, begin.Run(1))
	f, err := ex.Compile("value", func() []tensor.Update {
		g, z := slope(far.Node()), logits(task, theta.Node(), images.Node().Add(shift.Node()))
		norm := func(n *tensor.Node) *tensor.Node { return n.Square().Sum(1).Sqrt() }
		cos := g.Mul(first.Node()).Sum(1).Div(norm(g).Mul(norm(first.Node())))
		loss := tensor.CrossEntropy(z, y.Node()).Mean()
		return []tensor.Update{{Var: value, Value: loss.Add(tensor.Const(1).Sub(cos.Mean()).Scale(lambda))}}
	})
	require.NoError(t, err)
	at2 := func(shift float64, i int) float64 {
		p := slices.Clone(task.Start.Flat)
		p[i] += shift
		require.NoError(t, theta.Write(p))
		require.NoError(t, f.Run(1))
		v, err := value.Read()
		require.NoError(t, err)
		return v[0]
	}
	plain := start(t, task, method(t, "grad-align", "alignment=0"), 1, 1)
	step(t, plain, 0, 1)
	without := moved(task.Start, read(t, plain, robust.Parameters))
	pull := 0.0
	for i := range update {
		require.InDelta(t, (at2(h, i)-at2(-h, i))/(2*h), update[i], 1e-8, "parameter %d", i)
		pull = max(pull, math.Abs(update[i]-without[i]))
	}
	require.Greater(t, pull, 0.01, "the regularizer must be seen")
}

// labelsOf finds the labels of rows by their features.
func labelsOf(t *testing.T, task robust.Task, x []float64) (labels []int32) {
	t.Helper()
	ex := tensortest.Executor(t, ref.New())
	b, err := task.Problem(nil, nil).Bind(ex)
	require.NoError(t, err)
	defer func() { require.NoError(t, b.Close()) }()
	all, rows := b.All(problem.Lower), task.Rows.Count()
	images, y := ex.Variable("x", tensor.Real, rows, inputs), ex.Variable("y", tensor.Int, rows)
	f, err := ex.Compile("rows", func() []tensor.Update {
		return []tensor.Update{{Var: images, Value: all.Get(robust.Features)}, {Var: y, Value: all.Get(robust.Labels)}}
	})
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	table, err := images.Read()
	require.NoError(t, err)
	of, err := y.ReadInts()
	require.NoError(t, err)
	for r := range len(x) / inputs {
		for i := range rows {
			if slices.Equal(table[i*inputs:(i+1)*inputs], x[r*inputs:(r+1)*inputs]) {
				labels = append(labels, of[i])
			}
		}
	}
	require.Len(t, labels, len(x)/inputs)
	return labels
}

// Perturbations lie in C; those of N-FGSM in the image range alone, and some outside the ball.
func TestPerturbationsLieInC(t *testing.T) {
	for _, e := range robust.Methods() {
		task := small(false)
		run := start(t, task, seen{e.Method}, 3, 3)
		step(t, run, 0, 3)
		x, delta := read(t, run, "images"), read(t, run, "delta")
		outside, far := 0, 0.0
		for i, d := range delta {
			require.True(t, x[i]+d >= 0 && x[i]+d <= 1, "%s: pixel %g by %g", e.Name(), x[i], d)
			if math.Abs(d) > task.Eps {
				outside++
			}
			far = max(far, math.Abs(d))
		}
		require.Equal(t, e.Name() == "n-fgsm", outside > 0, e.Name())
		require.Equal(t, e.Name() == "standard", far == 0, e.Name())
	}
}

// The table says what an engine counts, and names settings that can be given.
func TestPassesAsCounted(t *testing.T) {
	used := map[string]bool{}
	for _, e := range robust.Methods() {
		run := start(t, small(true), e.Method, 1, 1)
		require.Equal(t, e.Passes, run.Counts(0).String(), e.Name())
		for _, name := range e.Fields() {
			value := "1"
			if name == "bn" {
				value = "eval"
			}
			_, err := e.With(name + "=" + value)
			require.NoError(t, err, "%s %s", e.Name(), name)
			used[name] = true
		}
	}
	for _, s := range robust.Settings() {
		require.True(t, used[s.Name], s.Name)
		delete(used, s.Name)
	}
	require.Empty(t, used, "settings that nothing is said of")
	_, err := robust.ByName("fast-bet")
	require.ErrorContains(t, err, `did you mean "fast-bat"?`)
}

// Running statistics move once for each pass in mode train, also where two passes are computed as one.
func TestRunningStatisticsMove(t *testing.T) {
	for _, c := range []struct {
		name, bn string
		want     float64
	}{
		{"standard", "", 1}, {"free", "", 1}, {"fast-at", "train", 2}, {"fast-at", "eval,train", 1},
		{"fast-at", "frozen", 0}, {"n-fgsm", "train", 2}, {"grad-align", "train", 3}, {"pgd", "train", 8},
		{"trades", "eval,train", 3}, {"backward-smoothing", "eval,train", 2}, {"fast-bat", "train", 3},
		{"fast-bat-official", "train", 4}, {"fast-bat-no-implicit", "train", 4},
		{"fast-bat-official", "frozen,frozen,frozen,train", 1}, {"fast-bat-official", "eval", 0},
		{"fast-bat-official", "eval,train,eval,train", 2},
	} {
		var settings []string
		if c.bn != "" {
			settings = []string{"bn=" + c.bn}
		}
		task := small(true)
		e := start(t, task, method(t, c.name, settings...), 2, 2)
		step(t, e, 0, 2)
		state := task.State.Like(read(t, e, engine.StateName))
		require.Equal(t, []float64{2 * c.want}, state.Of("1.num_batches_tracked"), "%s %s", c.name, c.bn)
	}
}

// The control makes the same perturbations of the same minibatches as the method, and differs by the implicit term
// alone.
func TestControlDiffersByTheImplicitTerm(t *testing.T) {
	task := small(true)
	one := start(t, task, seen{method(t, "fast-bat-official", "step=0.5")}, 1, 1)
	control := start(t, task, seen{method(t, "fast-bat-no-implicit", "step=0.5")}, 1, 1)
	step(t, one, 0, 1)
	step(t, control, 0, 1)
	for _, name := range []string{"delta", "images", engine.StateName} {
		require.Equal(t, read(t, one, name), read(t, control, name), name)
	}
	a, err := one.Metrics()
	require.NoError(t, err)
	b, err := control.Metrics()
	require.NoError(t, err)
	require.Positive(t, a.Implicit)
	require.Zero(t, b.Implicit)
	require.Equal(t, []float64{a.Loss, a.Accuracy, a.Inside}, []float64{b.Loss, b.Accuracy, b.Inside})
	require.NotEqual(t, read(t, one, robust.Parameters), read(t, control, robust.Parameters))
	with, without := moved(task.Start, read(t, one, robust.Parameters)), moved(task.Start,
		read(t, control, robust.Parameters))
	difference, size := 0.0, 0.0
	for i := range with {
		difference, size = difference+(with[i]-without[i])*(with[i]-without[i]), size+without[i]*without[i]
	}
	require.InEpsilon(t, math.Sqrt(difference/size), a.Implicit, 1e-9)
}

// Training on plain images is the descent of package minimize on the same minibatches: momentum, weight decay, schedule
// and running statistics.
func TestStandardIsSGD(t *testing.T) {
	const n = 20
	task := small(true)
	task.Optimizer = robust.SGD{Rate: 0.2, Momentum: 0.8, WeightDecay: 0.01, Schedule: "cyclic"}
	e := start(t, task, robust.Standard{}, n, 3)
	step(t, e, 0, n)
	level := problem.Level{Start: task.Start, Sampler: task.Sampler, Rows: task.Rows,
		Loss: func(_, y problem.Vars, b problem.Batch, p problem.Pass) problem.Loss {
			z, next := task.Model.Apply(y.Flat(), p.State.Flat(), b.Get(robust.Features), p.Mode)
			return problem.Loss{Value: tensor.CrossEntropy(z, b.Get(robust.Labels)).Mean(), State: next}
		}}
	b, err := minimize.Alone("small", level, task.State).Bind(tensortest.Executor(t, ref.New()))
	require.NoError(t, err)
	o := task.Optimizer
	other, err := minimize.New(b, minimize.SGD{Step: o.Rate, Momentum: o.Momentum, WeightDecay: o.WeightDecay,
		Schedule: o.Schedule}, n, seed)
	require.NoError(t, err)
	require.NoError(t, other.Step(context.Background(), 0, n))
	for mine, theirs := range map[string]string{robust.Parameters: "y", engine.StateName: engine.StateName} {
		want, err := other.Variable(theirs).Read()
		require.NoError(t, err)
		require.InDeltaSlice(t, want, read(t, e, mine), 1e-12)
	}
	require.NoError(t, other.Close())
	require.NoError(t, b.Close())
}

// A run goes on to the same bits from a snapshot, and its metrics are those of the epoch.
func TestResume(t *testing.T) {
	const n, each = 10, 4
	for _, e := range robust.Methods() {
		task := small(true)
		task.Optimizer = robust.SGD{Rate: 0.1, Momentum: 0.9, WeightDecay: 1e-3, Schedule: "cyclic"}
		whole := start(t, task, e.Method, n, each)
		out, err := whole.Run(context.Background(), engine.Limits{Iterations: n})
		require.NoError(t, err)
		half, err := start(t, task, e.Method, n, each).Run(context.Background(), engine.Limits{Iterations: 5})
		require.NoError(t, err)
		rest, err := start(t, task, e.Method, n, each).Run(context.Background(),
			engine.Limits{Iterations: n, Resume: half.Last})
		require.NoError(t, err)
		require.Equal(t, out.Last.Arrays, rest.Last.Arrays, e.Name())
		require.EqualValues(t, 2, out.Last.Arrays["metrics"][0], "iterations of the last epoch, which begins with 8")
	}
}

// Free takes each minibatch so many times in a row, and the perturbation goes on.
func TestReplays(t *testing.T) {
	task := small(false)
	task.Optimizer.Rate = 1e-9
	e := start(t, task, seen{method(t, "free", "replays=3", "step=0.25")}, 7, 7)
	var images [][]float64
	for k := range 7 {
		step(t, e, k, 1)
		images = append(images, read(t, e, "images"))
		for _, d := range read(t, e, "delta") { // from 0, in steps of ε/4
			steps := 4 * math.Abs(d) / task.Eps
			require.LessOrEqual(t, steps, float64(k)+1e-9)
		}
	}
	for k := range 6 {
		require.Equal(t, k%3 != 2, slices.Equal(images[k], images[k+1]), "%d", k)
	}
}

// The passes that coincide are made once: an iteration of fast-bat-official on a perceptron of three layers has as many
// products as its formula. Forward passes at the start, z and δ*: 9. Backward to the images: 9, of which that at δ*
// serves both gradients. ∇θ at δ*: 3. The mixed product: 3 of the tangent, 2 back to the first layer, 6 of the weights.
func TestPassesAreShared(t *testing.T) {
	for name, want := range map[string]int{"standard": 3 + 2 + 3, "fast-at": 6 + 5 + 3, "free": 3 + 3 + 3,
		"fast-bat-official": 9 + 9 + 3 + 3 + 2 + 6, "fast-bat-no-implicit": 9 + 6 + 2 + 3} {
		task := small(false)
		task.Model = models.MLP{Widths: []int{inputs, 5, 4, 3}}
		task.Start, task.State = task.Model.Init(1)
		dev := &counting{Device: cpudevice.New(1)}
		ex := tensor.NewExecutor(dev)
		e, err := robust.New(ex, task, method(t, name), 1, 1, seed)
		require.NoError(t, err)
		require.Equal(t, want, dev.products, name)
		require.NoError(t, e.Close())
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	}
}

// counting counts the products of the programs that a device prepares.
type counting struct {
	device.Device
	products int
}

func (c *counting) Prepare(p *device.Program) (device.Runner, error) {
	for _, in := range p.Code {
		if in.Op == device.Gemm {
			c.products++
		}
	}
	return c.Device.Prepare(p)
}

// The first steps on the processor are the reference's within rounding, and those on a simulated card the processor's.
// Sums here have at most some tens of terms, so that a loss of three steps is off by less than 1000 unit roundoffs,
// unless the sign of a slope near 0 has flipped.
func TestDevicesAgree(t *testing.T) {
	const tolerance = 1000 * 0x1p-24
	loss := func(dev device.Device, m robust.Method) float64 {
		task := small(true)
		task.Optimizer.Rate = 0.05
		ex := tensor.NewExecutor(dev)
		e, err := robust.New(ex, task, m, 3, 3, seed)
		require.NoError(t, err)
		step(t, e, 0, 3)
		metrics, err := e.Metrics()
		require.NoError(t, err)
		require.NoError(t, e.Close())
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
		return metrics.Loss
	}
	for _, e := range robust.Methods() {
		cpu := loss(cpudevice.New(1), e.Method)
		require.InEpsilon(t, loss(ref.New(), e.Method), cpu, tolerance, e.Name())
		if e.Name() == "fast-at" || e.Name() == "fast-bat-official" { // the simulator takes its time
			card, err := open.Open("cuda-sim", open.Options{})
			require.NoError(t, err)
			require.InEpsilon(t, cpu, loss(card, e.Method), tolerance, e.Name())
		}
	}
}

func TestRefuses(t *testing.T) {
	task := small(false)
	for want, change := range map[string]func(*robust.Task){
		"did you mean 8/255, which is 0.0313725?":    func(t *robust.Task) { t.Eps = 8 },
		"eps is -0.1: wants a number from 0 to 1":    func(t *robust.Task) { t.Eps = -0.1 },
		"eps is NaN: wants a number from 0 to 1":     func(t *robust.Task) { t.Eps = math.NaN() },
		"the learning rate is 0: wants a positive":   func(t *robust.Task) { t.Optimizer.Rate = 0 },
		"the momentum is 1: wants a number from 0":   func(t *robust.Task) { t.Optimizer.Momentum = 1 },
		"the weight decay is -1: wants a finite":     func(t *robust.Task) { t.Optimizer.WeightDecay = -1 },
		`did you mean "cyclic"?`:                     func(t *robust.Task) { t.Optimizer.Schedule = "cyclc" },
		"wants a model and a sampler of minibatches": func(t *robust.Task) { t.Model = nil },
	} {
		bad := task
		change(&bad)
		_, err := robust.New(tensortest.Executor(t, ref.New()), bad, robust.Standard{}, 1, 1, seed)
		require.ErrorContains(t, err, want)
	}
	for want, c := range map[string]string{
		"pgd: steps is 0: wants 1 to 100":                          "pgd steps=0",
		"fast-at: step is -1: wants a positive":                    "fast-at step=-1",
		"trades: beta is -6: wants a finite number from 0 on":      "trades beta=-6",
		"fast-bat: warmup is 1000: wants 0 to 100":                 "fast-bat warmup=1000",
		"fast-at: bn is \"tran\": wants train, frozen or eval":     "fast-at bn=tran",
		"of its passes, attack, training, separated by commas":     "pgd bn=train,train,eval",
		"free: replays is 0: wants 1 to 100":                       "free replays=0",
		"n-fgsm: noise is -1: wants a finite number":               "n-fgsm noise=-1",
		"grad-align: alignment is -2: wants a finite number":       "grad-align alignment=-2",
		"backward-smoothing: gamma is 0: wants a positive, finite": "backward-smoothing gamma=0",
	} {
		name, settings, _ := strings.Cut(c, " ")
		_, err := robust.New(tensortest.Executor(t, ref.New()), task, method(t, name, settings), 1, 1, seed)
		require.ErrorContains(t, err, want)
	}
	_, err := entry(t, "fast-bat").With("stap=1")
	require.ErrorContains(t, err, `did you mean "step"?`)
}

// Label smoothing is linear in the labels: the update is (1 - s) that of the labels and s/c of each class for all rows.
func TestLabelSmoothing(t *testing.T) {
	const s, classes = 0.4, 3
	for _, name := range []string{"standard", "trades"} {
		m := method(t, name)
		if name == "trades" { // without attack and divergence: the clean cross-entropy alone
			m = method(t, name, "beta=0")
		}
		update := func(change func(*robust.Task)) []float64 {
			task := small(true)
			change(&task)
			e := start(t, task, m, 1, 1)
			step(t, e, 0, 1)
			return moved(task.Start, read(t, e, robust.Parameters))
		}
		want := update(func(*robust.Task) {})
		for i := range want {
			want[i] *= 1 - s
		}
		for class := range int32(classes) {
			for i, v := range update(func(task *robust.Task) {
				task.Rows[robust.Labels] = problem.Ints(slices.Repeat([]int32{class}, 12))
			}) {
				want[i] += s / classes * v
			}
		}
		require.InDeltaSlice(t, want, update(func(task *robust.Task) { task.Smoothing = s }), 1e-12, name)
	}
}

// Averages follow a₊ = τ a + (1 - τ) θ₊ over parameters and running statistics, and leave training as it is.
func TestAverages(t *testing.T) {
	const tau = 0.7
	m, task := method(t, "fast-bat-official", "step=0.3"), small(true)
	plain := start(t, task, m, 3, 3)
	step(t, plain, 0, 3)
	task.Average = tau
	e := start(t, task, m, 3, 3)
	want := append(slices.Clone(task.Start.Flat), task.State.Flat...)
	for k := range 3 {
		step(t, e, k, 1)
		now := append(read(t, e, robust.Parameters), read(t, e, engine.StateName)...)
		for i := range want {
			want[i] = tau*want[i] + (1-tau)*now[i]
		}
		require.InDeltaSlice(t, want, read(t, e, robust.Averages), 1e-12)
	}
	require.Equal(t, read(t, plain, robust.Parameters), read(t, e, robust.Parameters))
}
