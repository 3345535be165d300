package solvers_test

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"bilevel/device/ref"
	"bilevel/models"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// withFeature gives a problem each of the features that an algorithm may refuse.
func withFeature(t *testing.T, ex *tensor.Executor) map[problem.Features]func() *problem.Problem {
	change := func(f func(p *problem.Problem)) func() *problem.Problem {
		return func() *problem.Problem {
			p := load(t, ex, solvertest.Scalar{})
			f(p)
			return p
		}
	}
	function := problem.Flat(func(x, y *tensor.Node, _ problem.Batch) *tensor.Node { return y.Sub(x) })
	return map[problem.Features]func() *problem.Problem{
		problem.UpperSet:         change(func(p *problem.Problem) { p.Upper.Set = problem.Box{Lo: -1, Hi: 1} }),
		problem.LowerSet:         change(func(p *problem.Problem) { p.Lower.Set = problem.Box{Lo: -1, Hi: 1} }),
		problem.UpperConstraints: change(func(p *problem.Problem) { p.Upper.Inequality = function }),
		problem.LowerConstraints: change(func(p *problem.Problem) { p.Lower.Equality = function }),
		problem.LowerResidual: change(func(p *problem.Problem) {
			p.Lower.Value, p.Lower.Residual = nil, function
		}),
		problem.LowerProx: change(func(p *problem.Problem) {
			p.Lower.Prox = func(_ problem.Vars, z, _ *tensor.Node) *tensor.Node { return z }
		}),
		problem.UpperSaddle: change(func(p *problem.Problem) { suit(p, solvers.MORBiT{}) }),
		problem.LowerPerBatch: change(func(p *problem.Problem) {
			p.Lower.Start = problem.Values{}
			p.PerBatch = &problem.PerBatch{Size: func(rows int) int { return 1 },
				Start: func(problem.Vars, problem.Batch, *problem.Random) *tensor.Node { return tensor.Zeros(1) }}
		}),
		problem.ModelState: func() *problem.Problem {
			return normalized(models.MLP{Widths: []int{4, 3, 2}, BatchNorm: true}, 20, 20)
		},
	}
}

// Every algorithm takes the features that it declares, and refuses all others with its name and with what it needs.
func TestFeaturesAreUsedOrRefused(t *testing.T) {
	ex := executor(t)
	features := withFeature(t, ex)
	var all problem.Features
	for name, row := range rowsByName(t) {
		needs := row.small.Needs()
		if needs.WantsDirectX {
			continue // F depends on y alone in the problem with running statistics
		}
		for feature, build := range features {
			all |= feature
			p := build()
			require.Equal(t, feature, p.Features())
			suit(p, row.small)
			if needs.FixedBatches {
				for _, side := range []problem.Side{problem.Lower, problem.Upper} {
					if l := p.Level(side); l.Sampler != nil {
						l.Sampler = problem.Fixed(l.Sampler.Size())
					}
				}
			}
			_, err := solvers.Solve(context.Background(), p, row.small, solvers.Options{Executor: ex, Iterations: 2})
			if needs.Usable&feature != 0 {
				require.NoError(t, err, "%s: %s", name, feature)
				continue
			}
			require.EqualError(t, err, fmt.Sprintf("%s: the problem %s %s, which this algorithm cannot use: %s", name,
				p.Name, feature, needs.Why))
		}
	}
	require.Equal(t, problem.ModelState<<1-1, all, "a feature is missing here")
}

// A setting that can never work is refused before anything runs, with the algorithm's name and the setting's.
func TestSettingsAreChecked(t *testing.T) {
	ex := executor(t)
	for name, row := range rowsByName(t) {
		for _, setting := range solvers.Fields(row.small) {
			wrong := "-7"
			switch kind(row.small, setting) {
			case reflect.Bool: // both values make sense
				continue
			case reflect.String:
				wrong = "nonsense"
			}
			a, err := solvers.Set(row.small, setting+"="+wrong)
			require.NoError(t, err)
			p := load(t, ex, solvertest.Scalar{})
			suit(p, a)
			_, err = solvers.Solve(context.Background(), p, a, solvers.Options{Executor: ex, Iterations: 2})
			require.ErrorContains(t, err, name+": ", setting)
			require.ErrorContains(t, err, setting, "%s must name the setting", name)
			require.ErrorContains(t, err, strings.TrimPrefix(wrong, "-"), "%s, %s: and its value", name, setting)
		}
	}
}

// kind is that of a setting's field.
func kind(a solvers.Algorithm, setting string) reflect.Kind {
	for _, f := range reflect.VisibleFields(reflect.TypeOf(a)) {
		if f.Tag.Get("json") == setting {
			return f.Type.Kind()
		}
	}
	return reflect.Invalid
}

// Every setting of every algorithm has a meaning and a default.
func TestSettingsAreExplained(t *testing.T) {
	for _, e := range solvers.Algorithms() {
		require.NotEmpty(t, e.About)
		require.NotEmpty(t, e.Principle)
		require.NotEmpty(t, e.Loops)
		settings, err := e.Settings()
		require.NoError(t, err)
		require.Len(t, settings, len(solvers.Fields(e.Zero)))
		for _, s := range settings {
			require.NotEmpty(t, s.Meaning, "%s of %s", s.Name, e.Name())
			require.Equal(t, s.Chosen, s.Default == "", "%s of %s", s.Name, e.Name())
		}
	}
}

// A run leaves nothing on the device, whether it ends well, is refused or diverges.
func TestRunsLeaveNothing(t *testing.T) {
	m := solvertest.NewFiniteSum(8, 6, 6, 2, solvertest.Spectrum(3, 4))
	for name, row := range rowsByName(t) {
		dev := ref.New()
		ex := tensor.NewExecutor(dev)
		p := load(t, ex, m)
		p.Lower.Sampler, p.Upper.Sampler = problem.Fixed(3), problem.Fixed(2)
		suit(p, row.small)
		before := dev.Info().Free
		for _, a := range []solvers.Algorithm{row.small, row.quick} {
			_, err := solvers.Solve(context.Background(), p, a, solvers.Options{Executor: ex, Iterations: 3})
			require.NoError(t, err)
		}
		refused, err := solvers.Set(row.small, "outer_step=-1")
		require.NoError(t, err)
		_, err = solvers.Solve(context.Background(), p, refused, solvers.Options{Executor: ex, Iterations: 3})
		require.Error(t, err)
		require.Equal(t, before, dev.Info().Free, name)
		require.NoError(t, ex.Close())
		require.NoError(t, dev.Close())
	}
}
