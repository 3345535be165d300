package solvers_test

import (
	"context"
	"errors"
	"math"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

var small = solvers.SOBA{Step: 0.1, OuterStep: 0.05}

func TestRecords(t *testing.T) {
	for _, c := range []struct {
		n, every int
		want     []int
	}{
		{100, 30, []int{0, 30, 60, 90, 100}}, {100, 50, []int{0, 50, 100}}, {100, 0, []int{0, 100}}, {3, 1, []int{0, 1, 2, 3}},
		{600, 500, []int{0, 500, 600}}, {5, 10, []int{0, 5}},
	} {
		ex := executor(t)
		var at []int
		seconds, done := 0.0, 0
		res, err := solvers.Solve(context.Background(), ex, load(t, ex, solvertest.Scalar{}), small, solvers.Options{
			Iterations: c.n, Every: c.every,
			Record: func(p solvers.Progress) error {
				at = append(at, p.Iteration)
				require.EqualValues(t, p.Iteration, p.Counts.LowerGradients)
				require.GreaterOrEqual(t, p.Seconds, seconds)
				seconds = p.Seconds
				require.Len(t, p.State.Arrays(), 3)
				return nil
			},
			Progress: func(n int) { require.Greater(t, n, done); done = n },
		})
		require.NoError(t, err)
		require.Equal(t, c.want, at)
		require.Equal(t, c.n, done)
		require.Equal(t, solvers.Finished, res.Status)
		require.Equal(t, c.n, res.Iterations)
		require.EqualValues(t, c.n, res.Counts.UpperGradients)
	}
}

// How often the host looks does not change the run.
func TestRecordsChangeNothing(t *testing.T) {
	var want []float64
	for _, every := range []int{0, 1, 7, 64, 300} {
		ex := executor(t)
		res, err := solvers.Solve(context.Background(), ex, load(t, ex, solvertest.NewQuadratic(1, 2, solvertest.Spectrum(3, 4))),
			solvers.SOBA{Step: 0.1, OuterStep: 0.01, Schedule: schedule(t, "cosine")}, solvers.Options{Iterations: 300, Every: every})
		require.NoError(t, err)
		if want == nil {
			want = append(res.X, res.Y...)
		}
		require.Equal(t, want, append(res.X, res.Y...))
	}
}

func TestSolveStops(t *testing.T) {
	ex := executor(t)
	p := load(t, ex, solvertest.Scalar{})
	ctx, cancel := context.WithCancel(context.Background())
	res, err := solvers.Solve(ctx, ex, p, small, solvers.Options{Iterations: 10_000, Progress: func(done int) {
		if done >= 500 {
			cancel()
		}
	}})
	require.NoError(t, err)
	require.Equal(t, solvers.Cancelled, res.Status)
	require.Equal(t, 512, res.Iterations)
	require.EqualValues(t, 512, res.Counts.HVP)
	require.ErrorContains(t, res.Err(), "cancelled after iteration 512")

	same, err := solvers.Solve(context.Background(), ex, p, small, solvers.Options{Iterations: 512})
	require.NoError(t, err)
	require.Equal(t, same.X, res.X, "the state is that of the last whole chunk")

	res, err = solvers.Solve(ctx, ex, p, small, solvers.Options{Iterations: 5}) // already cancelled
	require.NoError(t, err)
	require.Equal(t, solvers.Cancelled, res.Status)
	require.Equal(t, p.X0, res.X)

	full := errors.New("disk full")
	_, err = solvers.Solve(context.Background(), ex, p, small, solvers.Options{Iterations: 5, Every: 2, Record: func(p solvers.Progress) error {
		if p.Iteration == 4 {
			return full
		}
		return nil
	}})
	require.ErrorIs(t, err, full)
	_, err = solvers.Solve(context.Background(), ex, p, small, solvers.Options{})
	require.ErrorContains(t, err, "0 iterations")
}

func TestStatusText(t *testing.T) {
	for s := solvers.Finished; s <= solvers.NotFinite; s++ {
		require.NotContains(t, s.String(), "Status(")
		require.Equal(t, s == solvers.Finished, s.Advice() == "")
	}
	require.Equal(t, "Status(77)", solvers.Status(77).String())
	require.Empty(t, solvers.Status(77).Advice())
}

func TestProblemCheck(t *testing.T) {
	value := func(x, y *tensor.Node, _ solvers.Batch) *tensor.Node { return tensor.Dot(x, y) }
	for want, change := range map[string]func(*solvers.Problem){
		"":                      func(*solvers.Problem) {},
		"no upper objective":    func(p *solvers.Problem) { p.Upper.Value = nil },
		"no lower objective":    func(p *solvers.Problem) { p.Lower.Value = nil },
		"0 upper and 1 lower":   func(p *solvers.Problem) { p.X0 = nil },
		"1 upper and 0 lower":   func(p *solvers.Problem) { p.Y0 = nil },
		"start value 0 is NaN":  func(p *solvers.Problem) { p.Y0 = []float64{math.NaN()} },
		"start value 1 is -Inf": func(p *solvers.Problem) { p.X0 = []float64{0, math.Inf(-1)} },
		"starts outside its box [1, 2]": func(p *solvers.Problem) {
			p.XSet = solvers.Box{Lo: 1, Hi: 2}
		},
		"lower level draws minibatches of 5 from 0 rows": func(p *solvers.Problem) { p.Lower.Batch, p.Lower.Size = rows{{0}}, 5 },
		"upper level draws minibatches of 0 from 9 rows": func(p *solvers.Problem) { p.Upper.Batch, p.Upper.Rows = rows{{0}}, 9 },
		"minibatches of 0 from -1 rows":                  func(p *solvers.Problem) { p.Upper.Rows = -1 },
	} {
		p := &solvers.Problem{Name: "test", X0: []float64{0}, Y0: []float64{0}, Upper: solvers.Level{Value: value}, Lower: solvers.Level{Value: value}}
		change(p)
		err := p.Check()
		if want == "" {
			require.NoError(t, err)
			continue
		}
		require.ErrorContains(t, err, want)
		ex := executor(t)
		_, err = solvers.Solve(context.Background(), ex, p, small, solvers.Options{Iterations: 1})
		require.ErrorContains(t, err, want, "Solve checks")
	}
}

func TestBox(t *testing.T) {
	b := solvers.Box{Lo: -1, Hi: 2}
	require.True(t, b.Contains([]float64{-1, 0, 2}))
	require.False(t, b.Contains([]float64{2.1}))
	require.False(t, b.Contains([]float64{math.NaN()}))
	ex := executor(t)
	v := ex.Variable("x", tensor.Real, 4)
	require.NoError(t, v.Write([]float64{-3, -1, 0.5, 7}))
	f, err := ex.Compile("project", func() []tensor.Update { return []tensor.Update{{Var: v, Value: b.Project(v.Node())}} })
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	got, err := v.Read()
	require.NoError(t, err)
	require.Equal(t, []float64{-1, -1, 0.5, 2}, got)
}

func TestSchedules(t *testing.T) {
	for name, want := range map[string][]float64{
		"constant": {1, 1, 1}, "sqrt": {1, 1 / math.Sqrt(2), 1 / math.Sqrt(5)}, "linear": {1, 0.75, 0}, "cosine": {1, 0.5 + 0.25*math.Sqrt2, 0},
	} {
		s := schedule(t, name)
		require.NotEmpty(t, s.About)
		for i, k := range []int{0, 1, 4} {
			require.InDelta(t, want[i], s.Factor(k, 4), 1e-15, "%s %d", name, k)
		}
	}
	_, err := solvers.ScheduleByName("cosin")
	require.ErrorContains(t, err, `did you mean "cosine"?`)
}

// The schedule multiplies both step sizes: on Q1 the first moves are proportional to it.
func TestScheduleInRun(t *testing.T) {
	s := schedule(t, "linear")
	ex := executor(t)
	state, err := solvers.SOBA{Step: 0.1, OuterStep: 0.2, Schedule: s}.Init(ex, load(t, ex, solvertest.Scalar{}), 8)
	require.NoError(t, err)
	defer state.Close()
	for _, k := range []int{0, 2, 6} {
		write(t, state, [][]float64{{0.5}, {1.5}, {0.25}})
		require.NoError(t, state.Step(k, 1))
		f, got := 1-float64(k)/8, arrays(t, state)
		require.InDelta(t, 0.5-0.2*f*0.75, got[0][0], 1e-15)
		require.InDelta(t, 1.5-0.1*f*1, got[1][0], 1e-15)
		require.InDelta(t, 0.25-0.1*f*(0.25-0.5), got[2][0], 1e-15)
	}
}

func TestAlgorithms(t *testing.T) {
	for _, e := range solvers.Algorithms() {
		found, err := solvers.AlgorithmByName(e.Name)
		require.NoError(t, err)
		a := found.New(0.1, 0.05, schedule(t, "sqrt"))
		require.Equal(t, e.Name, a.Name())
		require.NotEmpty(t, e.Source+e.Needs+e.Cost)
		ex := executor(t)
		res, err := solvers.Solve(context.Background(), ex, load(t, ex, solvertest.Scalar{}), a, solvers.Options{Iterations: 3})
		require.NoError(t, err)
		require.NoError(t, res.Err())
	}
	_, err := solvers.AlgorithmByName("sobo")
	require.ErrorContains(t, err, `did you mean "soba"?`)
	_, err = solvers.AlgorithmByName("adam")
	require.ErrorContains(t, err, "unknown algorithm")
	require.NotContains(t, err.Error(), `""`, "nothing is near: nothing is suggested")
}
