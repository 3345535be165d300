package cuda_test

import (
	"context"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device"
	"bilevel/device/cuda"
	"bilevel/device/cuda/sim"
	"bilevel/solvers"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
)

// watched is an executor on a card of its own, whose driver tells what it was asked.
type watched struct {
	*tensor.Executor
	t     *testing.T
	calls func() map[string]int
	rec   *recorder
}

func watch(t *testing.T) *watched {
	t.Helper()
	drv, err := sim.New()
	require.NoError(t, err)
	rec := &recorder{Driver: drv, texts: map[string]bool{}}
	d, err := cuda.New(through(t, rec), cuda.Options{Name: "cuda-sim", Exact: true})
	require.NoError(t, err)
	w := &watched{tensor.NewExecutor(d), t, drv.Calls, rec}
	t.Cleanup(func() {
		require.NoError(t, w.Close())
		shut(t, d)
	})
	return w
}

// during counts the calls of the driver while f runs.
func (w *watched) during(f func() error) map[string]int {
	w.t.Helper()
	before := w.calls()
	require.NoError(w.t, f())
	return difference(before, w.calls())
}

// launches are the kinds of the kernels that a function of these updates launches each time, in order.
func (w *watched) launches(name string, build func() []tensor.Update) []string {
	w.t.Helper()
	before := len(w.rec.graphs)
	f, err := w.Compile(name, build)
	require.NoError(w.t, err)
	require.NoError(w.t, f.Close())
	require.Len(w.t, w.rec.graphs, before+1, "a function is one graph")
	return kinds(w.rec.graphs[before])
}

// kinds drops the numbers of emitted and joined kernels: map_6e417007 is a map.
func kinds(kernels []string) []string {
	var list []string
	for _, k := range kernels {
		if kind, _, emitted := strings.Cut(k, "_"); emitted && (kind == "map" || kind == "reduce" || kind == "joined") {
			k = kind
		}
		list = append(list, k)
	}
	return list
}

func (w *watched) vector(name string, n int) *tensor.Variable {
	w.t.Helper()
	v := w.Variable(name, tensor.Real, n)
	values := make([]float64, n)
	for i := range values {
		values[i] = 1 + float64(i%37)/64
	}
	require.NoError(w.t, v.Write(values))
	return v
}

// An iteration of SOBA is one call of the driver. Around a chunk of up to 64 the host sends what the iterations take
// their rows of, and reads whether the state stayed finite.
func TestIterationsOfSOBA(t *testing.T) {
	w := watch(t)
	l, err := solvertest.Load(w.Executor, solvertest.NewFiniteSum(1, 40, 30, 3, solvertest.Spectrum(5, 10)))
	require.NoError(t, err)
	l.Lower.Sampler, l.Upper.Sampler = problem.WithReplacement(4), problem.WithReplacement(4)
	b, err := l.Problem.Bind(w.Executor)
	require.NoError(t, err)
	s, _, err := solvers.Init(context.Background(), b, solvers.SOBA{Step: 0.1, OuterStep: 0.05}, 1000, 1)
	require.NoError(t, err)
	lengths := []int{1, 7, 64}
	if testing.Short() {
		lengths = lengths[:1]
	}
	k := 0
	for _, n := range lengths {
		require.Equal(t, map[string]int{
			"cuMemcpyHtoDAsync":   5, // counter, number of the first iteration, step sizes, lower and upper minibatches
			"cuGraphLaunch":       n,
			"cuMemcpyDtoHAsync":   2, // iteration that went wrong, fault words of the Gathers
			"cuStreamSynchronize": 1,
		}, w.during(func() error { return s.Step(context.Background(), k, n) }), "%d iterations", n)
		k += n
	}
	require.NoError(t, s.Close())
}

// A step of CG is one call of the driver. Between chunks the host looks at the stop flag of the chunk before, and
// nothing waits for the whole stream before the solve has ended.
func TestChunksOfCG(t *testing.T) {
	const n, chunk = 500, 4
	w := watch(t)
	diagonal := w.vector("diagonal", n)
	s, err := linear.CG{RTol: 1e-5, Chunk: chunk, FromZero: true, Trust: true}.Prepare(w.Executor,
		linear.Matrix{N: n, Apply: func(v *tensor.Node) *tensor.Node { return diagonal.Node().Mul(v) }})
	require.NoError(t, err)
	step := w.rec.graphs[len(w.rec.graphs)-3]
	require.Equal(
		t, []string{"joined"}, kinds(step), "s = A d with d's, d'd and s's; r - α s with its square; x and d",
	)
	chunks := map[int]bool{}
	for i, every := range []int{37, 1, 37} { // one eigenvalue, and many; the first time makes what looks take
		b := make([]float64, n)
		for k := 0; k < n; k += every {
			b[k] = 1
		}
		require.NoError(t, s.RHS().Write(b))
		var stats linear.Stats
		got := w.during(func() (err error) { stats, err = s.Solve(context.Background()); return err })
		require.Equal(t, linear.Converged, stats.Status)
		if i == 0 {
			require.Equal(t, 2, got["cuEventCreate"], "two looks are under way at most")
			continue
		}
		c := (stats.Steps+chunk-1)/chunk + 1 // the last one is frozen
		chunks[c] = true
		require.Equal(t, map[string]int{
			"cuMemcpyHtoDAsync": 3,           // steps, alphas, betas: zeros
			"cuGraphLaunch":     3 + c*chunk, // what stays the same, the start, the end
			// steps, alphas, betas, code, residual, norm; flags; fault words of the ScatterAdds
			"cuMemcpyDtoHAsync":   6 + c + 1,
			"cuEventRecord":       c,
			"cuEventSynchronize":  c,
			"cuStreamSynchronize": 6,
		}, got, "%d steps", stats.Steps)
	}
	require.Len(t, chunks, 2, "solves of different lengths")
	require.NoError(t, s.Close())
}

// The chunk that runs before the host sees the flag changes nothing: a solve on a device where the host looks at once
// ends in the same bits.
func TestLateLooksChangeNothing(t *testing.T) {
	const n = 300
	solve := func(hide bool) ([]float64, linear.Stats) {
		d, _ := open(t, late)
		var dev device.Device = d
		if hide {
			dev = struct{ device.Device }{d} // which is no device.Peeker
		}
		ex := tensor.NewExecutor(dev)
		diagonal := make([]float64, n)
		for i := range diagonal {
			diagonal[i] = 1 + float64(i%11)/3
		}
		h := ex.Variable("diagonal", tensor.Real, n)
		require.NoError(t, h.Write(diagonal))
		s, err := linear.CG{RTol: 1e-4}.Prepare(ex,
			linear.Matrix{N: n, Apply: func(v *tensor.Node) *tensor.Node { return h.Node().Mul(v) }})
		require.NoError(t, err)
		require.NoError(t, s.RHS().Write(diagonal))
		stats, err := s.Solve(context.Background())
		require.NoError(t, err)
		require.Equal(t, linear.Converged, stats.Status)
		v, err := s.Solution().Read()
		require.NoError(t, err)
		require.NoError(t, s.Close())
		require.NoError(t, ex.Close())
		shut(t, d)
		return v, stats
	}
	v, stats := solve(false)
	want, wantStats := solve(true)
	require.Equal(t, want, v)
	require.Equal(t, wantStats, stats)
	require.NotZero(t, stats.Steps%4, "the flag fell within a chunk")
}

// A step of an attack, gradient and all, is one call of the driver.
func TestStepsOfPGD(t *testing.T) {
	w := watch(t)
	const rows, inputs, classes = 8, 20, 3
	const n = rows * inputs
	x, clean, model := w.vector("x", n), w.vector("clean", n), w.vector("model", inputs*classes)
	labels := w.Variable("labels", tensor.Int, rows)
	f, err := w.Compile("pgd", func() []tensor.Update {
		z := x.Node().Reshape(rows, inputs).MatMul(model.Node().Reshape(inputs, classes))
		g := tensor.Grad(tensor.CrossEntropy(z, labels.Node()).Sum(), x.Node())[0]
		return []tensor.Update{{Var: x, Value: pgd(x.Node(), clean.Node(), g)}}
	})
	require.NoError(t, err)
	for _, n := range []int{1, 10} {
		require.Equal(t, map[string]int{"cuGraphLaunch": n}, w.during(func() error { return f.Run(n) }))
	}
}

// pgd is a step along the sign of the gradient and back into the box around the clean point and within [0, 1]
// (Madry et al., ICLR 2018).
func pgd(x, clean, g *tensor.Node) *tensor.Node {
	const step, radius = 0.01, 0.1
	near := x.Add(g.Sign().Scale(step)).Clamp(clean.AddConst(-radius), clean.AddConst(radius))
	return near.Clamp(tensor.Const(0), tensor.Const(1))
}

// What solvers do to vectors after each gradient or product is one pass over memory.
func TestUpdatesAreSingleKernels(t *testing.T) {
	const n, many = 1000, 1 << 20
	w := watch(t)
	number := func(name string) *tensor.Variable { return w.vector(name, 1) }
	for _, c := range []struct {
		name  string
		n     int
		want  []string
		build func(v func(string) *tensor.Variable) []tensor.Update
	}{
		{"PGD", n, []string{"map"}, func(v func(string) *tensor.Variable) []tensor.Update {
			return []tensor.Update{{Var: v("x"), Value: pgd(v("x").Node(), v("clean").Node(), v("g").Node())}}
		}},
		{"SGD with momentum", n, []string{"map"}, func(v func(string) *tensor.Variable) []tensor.Update {
			m := v("m").Node().Scale(0.9).Add(v("g").Node())
			return []tensor.Update{{Var: v("m"), Value: m},
				{Var: v("x"), Value: v("x").Node().Sub(number("rate").Node().Mul(m))}}
		}},
		{"Adam", n, []string{"map"}, func(v func(string) *tensor.Variable) []tensor.Update {
			g := v("g").Node()
			m := v("m").Node().Scale(0.9).Add(g.Scale(0.1))
			s := v("s").Node().Scale(0.999).Add(g.Square().Scale(0.001))
			step := number("rate").Node().Mul(m).Div(s.Sqrt().AddConst(1e-8))
			return []tensor.Update{{Var: v("m"), Value: m}, {Var: v("s"), Value: s},
				{Var: v("x"), Value: v("x").Node().Sub(step)}}
		}},
		{"CG's residual", n, []string{"reduce"}, residual},
		{"CG's long residual", many, []string{"reduce"}, residual}, // the blocks' sums, and their sum
		{"CG's solution and direction", n, []string{"map"}, func(v func(string) *tensor.Variable) []tensor.Update {
			d := v("d").Node()
			return []tensor.Update{{Var: v("x"), Value: v("x").Node().Add(number("alpha").Node().Mul(d))},
				{Var: v("d"), Value: v("r").Node().Add(number("beta").Node().Mul(d))}}
		}},
	} {
		variables := map[string]*tensor.Variable{}
		v := func(name string) *tensor.Variable {
			if variables[name] == nil {
				variables[name] = w.Variable(name, tensor.Real, c.n)
				if name == "rho" {
					variables[name] = w.Variable(name, tensor.Real)
				}
			}
			return variables[name]
		}
		require.Equal(t, c.want, w.launches(c.name, func() []tensor.Update { return c.build(v) }), c.name)
	}
}

// residual is r ← r - α s with its square.
func residual(v func(string) *tensor.Variable) []tensor.Update {
	r := v("r").Node().Sub(v("alpha").Node().Slice(0, 0, 1).Mul(v("s").Node()))
	return []tensor.Update{{Var: v("r"), Value: r}, {Var: v("rho"), Value: tensor.Dot(r, r)}}
}
