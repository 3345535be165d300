package minimize_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"reflect"
	"testing"

	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/minimize"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// golden is testdata/torch.json, see the script beside it.
type golden struct {
	Inputs  [][]float64
	Labels  []float64
	Start   map[string][]float64
	Batches [][]int32
	Runs    []struct {
		Name               string
		Iterates, Averages [][]float64
	}
}

// listed is a sampler that gives minibatches of a list: draw d takes list[d], and begins again at the list's end.
type listed [][]int32

func (l listed) Size() int       { return len(l[0]) }
func (l listed) Check(int) error { return nil }

func (l listed) Fill(dst []int32, _ problem.Source, first uint64) error {
	size := len(l[0])
	for i := 0; i < len(dst); i += size {
		copy(dst[i:i+size], l[(int(first)+i/size)%len(l)])
	}
	return nil
}

// level is logistic regression: the mean of log(1 + exp(-s (wᵀz + b))) over rows z with signs s.
func (g golden) level() problem.Level {
	var inputs []float64
	for _, row := range g.Inputs {
		inputs = append(inputs, row...)
	}
	return problem.Level{
		Start:   params.Values{}.And("weight", g.Start["weight"]...).And("bias", g.Start["bias"]...),
		Rows:    problem.Rows{"z": problem.Reals(inputs, len(g.Inputs[0])), "sign": problem.Reals(g.Labels)},
		Sampler: listed(g.Batches),
		Value: func(_, y problem.Vars, b problem.Batch) *tensor.Node {
			z := b.Get("z")
			scores := z.MatMul(y["weight"].Reshape(z.Shape()[1], 1)).Flatten().Add(y["bias"])
			return scores.Mul(b.Get("sign")).Neg().Softplus().Mean()
		},
	}
}

// start compiles a method for a single level; the state is read by name.
func start(t *testing.T, l problem.Level, state problem.Values, m minimize.Method, n int) *engine.Engine {
	b, err := minimize.Alone("alone", l, state).Bind(executor(t))
	require.NoError(t, err)
	e, err := minimize.New(b, m, n, 1)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	return e
}

func read(t *testing.T, e *engine.Engine, name string) []float64 {
	values, err := e.Variable(name).Read()
	require.NoError(t, err)
	return values
}

// The iterates of PyTorch's optimizers on the same minibatches, in float64.
func TestAgainstTorch(t *testing.T) {
	text, err := os.ReadFile("testdata/torch.json")
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(text, &g))
	n := len(g.Batches)
	noBias := []minimize.Group{{Names: "b*"}}
	methods := map[string]minimize.Method{
		"sgd":          minimize.SGD{Step: 0.5},
		"sgd decay":    minimize.SGD{Step: 0.5, WeightDecay: 0.1, Schedule: "linear"},
		"sgd momentum": minimize.SGD{Step: 0.2, Momentum: 0.9, WeightDecay: 0.05},
		"sgd nesterov": minimize.SGD{Step: 0.2, Momentum: 0.9, Nesterov: true, WeightDecay: 0.05, Groups: noBias,
			Schedule: "linear"},
		"sgd ema": minimize.SGD{Step: 0.5, Momentum: 0.5, Average: minimize.Average{EMA: 0.8}},
		"sgd swa": minimize.SGD{Step: 0.5, Momentum: 0.5, Average: minimize.Average{Tail: 0.5}},
		"adam":    minimize.Adam{Step: 0.1},
		"adam decay": minimize.Adam{Step: 0.1, Beta1: 0.8, Beta2: 0.95, Epsilon: 1e-3, WeightDecay: 0.2,
			Schedule: "linear"},
		"adamw": minimize.Adam{Step: 0.1, WeightDecay: 0.3, Decoupled: true, Schedule: "linear"},
		"adamw groups": minimize.Adam{Step: 0.1, WeightDecay: 0.3, Decoupled: true,
			Groups: []minimize.Group{{Names: "bias", WeightDecay: 0.05}}},
	}
	require.Len(t, g.Runs, len(methods))
	const tolerance = 1e-13 // some tens of roundings of numbers near 1
	for _, run := range g.Runs {
		e := start(t, g.level(), problem.Values{}, methods[run.Name], n)
		done := 0
		for i, k := range []int{1, 2, n} {
			require.NoError(t, e.Step(context.Background(), done, k-done))
			done = k
			require.InDeltaSlice(t, run.Iterates[i], read(t, e, "y"), tolerance, "%s after %d", run.Name, k)
			if len(run.Averages) > 0 && (run.Name != "sgd swa" || k == n) { // PyTorch's has no average before the tail
				require.InDeltaSlice(t, run.Averages[i], read(t, e, "average"), tolerance, "%s: average after %d",
					run.Name, k)
			}
		}
		require.Equal(t, problem.Counts{LowerGradients: 1, Samples: 2}, e.Counts(0), run.Name)
	}
}

// The average over a tail is the mean of its iterates, and before the tail the iterate itself.
func TestTailAverage(t *testing.T) {
	const n, tail = 10, 4
	level := problem.Level{Start: problem.Vector(3),
		Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
			return y.Square().Sum().Scale(0.5)
		})}
	e := start(t, level, problem.Values{}, minimize.SGD{Step: 0.3, Average: minimize.Average{Tail: float64(tail) / n}},
		n)
	y, sum := 3.0, 0.0
	for k := range n {
		require.NoError(t, e.Step(context.Background(), k, 1))
		y -= 0.3 * y
		want := y
		if k >= n-tail {
			sum += y
			want = sum / float64(k-(n-tail)+1)
		}
		require.InDelta(t, want, read(t, e, "average")[0], 1e-14, "iteration %d", k)
	}
}

// In a set the steps are projected: SGD with momentum against a plain loop, and the end on the boundary.
func TestProjectedSteps(t *testing.T) {
	level := problem.Level{
		Start: problem.Vector(1, 1), Set: problem.Bounds{Lo: []float64{0, 0.5}, Hi: []float64{2, 2}},
		Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node {
			return y.AddConst(1).Square().Sum().Scale(0.5)
		}),
	}
	e := start(t, level, problem.Values{}, minimize.SGD{Step: 0.1, Momentum: 0.5}, 50)
	y, m := []float64{1, 1}, []float64{0, 0}
	for k := range 50 {
		require.NoError(t, e.Step(context.Background(), k, 1))
		for i, lo := range []float64{0, 0.5} {
			m[i] = 0.5*m[i] + y[i] + 1
			y[i] = math.Min(2, math.Max(lo, y[i]-0.1*m[i]))
		}
		require.InDeltaSlice(t, y, read(t, e, "y"), 1e-14)
	}
	require.Equal(t, []float64{0, 0.5}, read(t, e, "y"))
}

// Running statistics move once an iteration, with the pass at the old point.
func TestStatisticsMove(t *testing.T) {
	level := problem.Level{Start: problem.Vector(2),
		Loss: func(_, y problem.Vars, _ problem.Batch, p problem.Pass) problem.Loss {
			w := y.Flat()
			mean := p.State["mean"]
			return problem.Loss{Value: w.Square().Sum(), State: mean.Scale(0.9).Add(w.Scale(0.1))}
		}}
	e := start(t, level, problem.Values{}.And("mean", 1), minimize.Adam{Step: 0.1}, 5)
	mean := 1.0
	for k := range 5 {
		y := read(t, e, "y")[0]
		require.NoError(t, e.Step(context.Background(), k, 1))
		mean = 0.9*mean + 0.1*y
		require.InDelta(t, mean, read(t, e, engine.StateName)[0], 1e-15)
	}
}

// The lower level of a bi-level problem is minimized at a given x.
func TestLowerLevelAtX(t *testing.T) {
	half := func(n *tensor.Node) *tensor.Node { return tensor.Dot(n, n).Scale(0.5) }
	p := &problem.Problem{
		Name: "follow",
		Lower: problem.Level{Start: problem.Vector(0),
			Value: problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return half(y.Sub(x)) })},
		Upper: problem.Level{Start: problem.Vector(3),
			Value: problem.Flat(func(_, y *tensor.Node, _ problem.Batch) *tensor.Node { return half(y) })},
	}
	b, err := p.Bind(executor(t))
	require.NoError(t, err)
	e, err := minimize.New(b, minimize.SGD{Step: 0.5}, 60, 0)
	require.NoError(t, err)
	out, err := e.Run(context.Background(), engine.Limits{Iterations: 60})
	require.NoError(t, err)
	require.InDelta(t, 3, out.Last.Arrays["y"][0], 1e-12)
	require.NoError(t, e.Variable("x").Write([]float64{-2}))
	require.NoError(t, e.Step(context.Background(), 0, 60))
	require.InDelta(t, -2, read(t, e, "y")[0], 1e-12)
}

func TestMethodsRefuse(t *testing.T) {
	level := golden{Inputs: [][]float64{{1, 2}}, Labels: []float64{1}, Batches: [][]int32{{0}},
		Start: map[string][]float64{"weight": {1, 2}, "bias": {0}}}.level()
	b, err := minimize.Alone("alone", level, problem.Values{}).Bind(executor(t))
	require.NoError(t, err)
	for _, c := range []struct {
		m    minimize.Method
		want string
	}{
		{minimize.SGD{}, "sgd: step is 0: wants a positive, finite number"},
		{minimize.SGD{Step: 1, Momentum: 1}, "sgd: momentum is 1"},
		{minimize.SGD{Step: 1, Nesterov: true}, "with nesterov one above 0"},
		{minimize.SGD{Step: 1, WeightDecay: -1}, "weight_decay is -1"},
		{minimize.SGD{Step: 1, Schedule: "cosin"}, `did you mean "cosine"?`},
		{minimize.SGD{Step: 1, Groups: []minimize.Group{{Names: "biases"}}},
			`no array matches the group "biases": there are weight, bias`},
		{minimize.SGD{Step: 1, Groups: []minimize.Group{{Names: "[", WeightDecay: 1}}}, "is no pattern"},
		{minimize.SGD{Step: 1, Groups: []minimize.Group{{Names: "bias", WeightDecay: math.NaN()}}},
			`of the group "bias" is NaN`},
		{minimize.SGD{Step: 1, Average: minimize.Average{EMA: 0.9, Tail: 0.5}}, "wants one of"},
		{minimize.Adam{Average: minimize.Average{EMA: 1}}, "average of ema 1"},
		{minimize.Adam{Beta1: 1}, "adam: beta1 1"},
		{minimize.Adam{Epsilon: -1}, "a positive epsilon"},
	} {
		_, err := minimize.New(b, c.m, 5, 0)
		require.ErrorContains(t, err, c.want, "%+v", c.m)
	}
	p := minimize.Alone("alone", level, problem.Values{})
	p.Lower.Inequality = p.Lower.Value
	b, err = p.Bind(executor(t))
	require.NoError(t, err)
	_, err = minimize.New(b, minimize.Adam{}, 5, 0)
	require.ErrorContains(t, err,
		"adam: the problem alone has constraint functions on the lower level, which this algorithm cannot use")
}

// A run goes on from a snapshot to the same bits, and the snapshot knows the settings.
func TestMethodsResume(t *testing.T) {
	text, err := os.ReadFile("testdata/torch.json")
	require.NoError(t, err)
	var g golden
	require.NoError(t, json.Unmarshal(text, &g))
	const n = 100
	for _, m := range []minimize.Method{
		minimize.SGD{Step: 0.2, Momentum: 0.9, Nesterov: true, Schedule: "cosine",
			Average: minimize.Average{Tail: 0.4}},
		minimize.Adam{WeightDecay: 0.1, Decoupled: true, Schedule: "linear", Average: minimize.Average{EMA: 0.9},
			Groups: []minimize.Group{{Names: "bias"}}},
	} {
		run := func(l engine.Limits) *engine.Outcome {
			level := g.level()
			level.Sampler = problem.Epochs(4)
			l.Iterations = n
			out, err := start(t, level, problem.Values{}, m, n).Run(context.Background(), l)
			require.NoError(t, err)
			return out
		}
		whole := run(engine.Limits{})
		part := run(engine.Limits{Calls: 67})
		require.Equal(t, 67, part.Iterations)
		require.Equal(t, whole.Last.Arrays, run(engine.Limits{Resume: part.Last}).Last.Arrays, m.Name())
		again := reflect.New(reflect.TypeOf(m))
		require.NoError(t, json.Unmarshal(part.Last.Settings, again.Interface()))
		require.Equal(t, m, again.Elem().Interface())
	}
}
