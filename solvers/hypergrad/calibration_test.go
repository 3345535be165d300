package hypergrad_test

import (
	"context"
	"fmt"
	"math"
	"slices"
	"testing"

	"bilevel/device/ref"
	"bilevel/internal/philox"
	"bilevel/internal/testrun"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/stat"
)

// family is a kind of random problem. One shape is compiled once and serves many problems.
type family struct {
	name   string
	share  int // of 1000
	shapes int
	draw   func(shape int, seed uint64, r *philox.Stream) solvertest.Closed
	// off moves y away from the lower minimizer; nil means by a random relative distance.
	off func(c solvertest.Closed, x, y []float64, r *philox.Stream)
}

var (
	calibrationShapes     = [][2]int{{1, 1}, {3, 5}, {20, 10}, {1, 20}, {8, 30}, {20, 40}}
	calibrationTolerances = []float64{1e-2, 1e-4, 1e-6, 1e-8, 1e-10, 1e-12}
)

func families() []family {
	return []family{
		{name: "quadratic", share: 500, shapes: len(calibrationShapes),
			draw: func(shape int, seed uint64, r *philox.Stream) solvertest.Closed {
				s := calibrationShapes[shape]
				return solvertest.NewQuadratic(seed, s[0], solvertest.Spectrum(s[1], math.Pow(10, 6*r.Float64())))
			}},
		{name: "identity", share: 100, shapes: 3,
			draw: func(shape int, seed uint64, r *philox.Stream) solvertest.Closed {
				s := calibrationShapes[shape]
				return solvertest.NewQuadratic(seed, s[0], solvertest.Repeat(s[1], math.Pow(10, 4*r.Float64()-2)))
			}},
		{name: "ridge", share: 200, shapes: 3, draw: func(shape int, seed uint64, r *philox.Stream) solvertest.Closed {
			q := []int{1, 10, 30}[shape]
			return solvertest.NewRidge(seed, q+5, 10, q)
		}},
		{name: "cleaning", share: 200, shapes: 2,
			draw: func(shape int, seed uint64, r *philox.Stream) solvertest.Closed {
				m := solvertest.NewCleaning(seed, 10*(shape+1), 10, []int{4, 12}[shape], 3, 0.1)
				m.Reg = math.Pow(10, -3*r.Float64())
				return m
			}, off: unconverged},
	}
}

// displace moves y by a relative distance of 0 in one problem of six, else between 1e-8 and 1.
func displace(y []float64, r *philox.Stream) {
	size := math.Pow(10, -8*r.Float64()) * floats.Norm(y, 2)
	if r.Intn(6) == 0 {
		size = 0
	}
	d := make([]float64, len(y))
	for i := range d {
		d[i] = float64(r.Normal())
	}
	floats.AddScaled(y, size/floats.Norm(d, 2), d)
}

// outcome is one hypergradient compared with the truth.
type outcome struct {
	family       string
	status       linear.Status
	figure, true float64
}

func (o outcome) ratio() float64 { return o.figure / o.true }

// calibrate computes one problem's hypergradient with its figure, and its true error.
func calibrate(t *testing.T, problems int, declared bool, report func(outcome)) {
	dev := ref.New()
	defer dev.Close()
	for f, fam := range families() {
		if declared && fam.name != "quadratic" && fam.name != "identity" {
			continue
		}
		for shape := range fam.shapes {
			ex := tensor.NewExecutor(dev)
			count := problems * fam.share / 1000 / fam.shapes
			for j, tolerance := range calibrationTolerances {
				calibrateShape(t, ex, fam, shape, uint64(f*1_000_000+shape*10_000+j*1000), tolerance,
					count/len(calibrationTolerances)+1, declared, report)
			}
			require.NoError(t, ex.Close())
		}
	}
}

func calibrateShape(t *testing.T, ex *tensor.Executor, fam family, shape int, seed uint64, tolerance float64, count int,
	declared bool, report func(outcome)) {
	ctx := context.Background()
	first := fam.draw(shape, seed, philox.New(seed, 0, philox.StreamTest))
	p, err := solvertest.Load(ex, first)
	require.NoError(t, err)
	if declared {
		p.Mu, p.Constants = first.(*solvertest.Quadratic).Structure()
	}
	x, y := ex.Variable("x", tensor.Real, p.Upper.Start.Size()), ex.Variable("y", tensor.Real, p.Lower.Start.Size())
	e, err := hypergrad.Implicit{Solver: linear.CG{RTol: tolerance, MaxSteps: 400}}.Prepare(
		bind(t, ex, p.Problem), x, y,
	)
	require.NoError(t, err)
	for i := range count {
		r := philox.New(seed+uint64(i), 1, philox.StreamTest)
		c := fam.draw(shape, seed+uint64(i), r)
		require.NoError(t, p.Replace(c))
		if declared {
			mu, constants := c.(*solvertest.Quadratic).Structure()
			p.Mu, *p.Constants = mu, *constants
		}
		at := make([]float64, p.Upper.Start.Size())
		for k := range at {
			at[k] = float64(r.Normal())
		}
		exact, gradient := c.Exact(at)
		point := slices.Clone(exact)
		if fam.off != nil {
			fam.off(c, at, point, r)
		} else {
			displace(point, r)
		}
		require.NoError(t, x.Write(at))
		require.NoError(t, y.Write(point))
		h, err := e.Compute(ctx)
		require.NoError(t, err)
		if declared {
			require.Equal(t, hypergrad.Bound, h.Kind)
		} else {
			require.Equal(t, hypergrad.Estimate, h.Kind)
		}
		report(outcome{fam.name, h.Status, h.Error, floats.Distance(h.Gradient, gradient, 2)})
	}
	require.NoError(t, e.Close())
}

// unconverged leaves y after 1 to 1000 steps of gradient descent.
func unconverged(c solvertest.Closed, x, y []float64, r *philox.Stream) {
	copy(y, c.(*solvertest.Cleaning).Descend(x, int(math.Pow(10, 3*r.Float64()))))
}

// Where the solve converged, the true error is at most the figure in at least 95 % of the problems, at most ten times
// the figure in 99 %, and the median figure is not more than a hundred times too large.
func TestCalibration(t *testing.T) {
	problems := testrun.Size(400, 1000)
	if testing.Short() {
		problems = 200
	}
	var all []outcome
	by := map[string][]outcome{}
	calibrate(t, problems, false, func(o outcome) {
		all = append(all, o)
		by[o.family] = append(by[o.family], o)
	})
	for name, of := range by {
		within, tenfold, median, converged := summarize(of)
		t.Logf("%-10s %4d problems, %4d converged: %.2f %% within the figure, %.2f %% within 10 × figure, "+
			"median figure/error %.3g", name, len(of), converged, 100*within, 100*tenfold, median)
	}
	within, tenfold, median, converged := summarize(all)
	t.Logf("all        %4d problems, %4d converged: %.2f %% within the figure, %.2f %% within 10 × figure, "+
		"median figure/error %.3g", len(all), converged, 100*within, 100*tenfold, median)
	require.GreaterOrEqual(t, len(all), problems)
	require.GreaterOrEqual(t, converged, len(all)*3/4)
	require.GreaterOrEqual(t, within, 0.95)
	require.GreaterOrEqual(t, tenfold, 0.99)
	require.LessOrEqual(t, median, 100.0)
}

func summarize(of []outcome) (within, tenfold, median float64, converged int) {
	var ratios []float64
	good, near := 0, 0
	for _, o := range of {
		if o.status != linear.Converged {
			continue
		}
		if o.true <= o.figure {
			good++
		}
		if o.true <= 10*o.figure {
			near++
		}
		ratios = append(ratios, o.ratio())
	}
	slices.Sort(ratios)
	if len(ratios) == 0 {
		return 0, 0, math.NaN(), 0
	}
	share := func(n int) float64 { return float64(n) / float64(len(ratios)) }
	return share(good), share(near), stat.Quantile(0.5, stat.Empirical, ratios, nil), len(ratios)
}

// With every constant declared the figure is a bound: it holds always.
func TestBoundHolds(t *testing.T) {
	problems := 600
	if testing.Short() {
		problems = 100
	}
	n := 0
	calibrate(t, problems, true, func(o outcome) {
		n++
		if o.status == linear.Converged || o.status == linear.MaxSteps || o.status == linear.Stagnated {
			require.LessOrEqual(t, o.true, o.figure, fmt.Sprint(o))
		}
	})
	require.Greater(t, n, problems/2)
}
