package solvers_test

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
)

// The golden traces are iterates of public implementations on full batches in float64. Everything about a run is in its
// file: problem, settings, start, lengths of random series. BILEVEL_GOLDEN names a directory with files of the same
// format for other problems, settings and starts.

// goldenTolerance is the deviation that is allowed, relative to max(1, size). Two implementations that add in another
// order are a few 1e-15 apart after one iteration, times the growth that each file states, below 5 for all runs.
const goldenTolerance = 1e-10

// trace is one run of a file.
type trace struct {
	Algorithm, Problem string
	Hyper              map[string]any
	Start              map[string][]float64
	Iterates           map[string]map[string]any // by iterations done, and by name: a vector or a number
	NeumannTerms       []int                     `json:"neumann_terms"`
	Gaussian           [][][]float64             // by iteration and vector

	used map[string]bool // settings that were read
}

// number, steps, text and flag read a setting, which the file must have.
func (tr *trace) number(name string) float64 { return setting[float64](tr, name) }
func (tr *trace) steps(name string) int      { return int(setting[float64](tr, name)) }
func (tr *trace) text(name string) string    { return setting[string](tr, name) }
func (tr *trace) flag(name string) bool      { return setting[bool](tr, name) }

func setting[T any](tr *trace, name string) T {
	v, ok := tr.Hyper[name].(T)
	if !ok {
		panic(fmt.Sprintf("%s on %s: the setting %s is %v", tr.Algorithm, tr.Problem, name, tr.Hyper[name]))
	}
	tr.used[name] = true
	return v
}

// inner and outer are the two steps of most runs.
func (tr *trace) inner() float64 { return tr.number("step_size") }
func (tr *trace) outer() float64 { return tr.number("step_size") / tr.number("outer_ratio") }

// moment is the state of a run after an iteration, and before it.
type moment struct {
	k         int
	now, past map[string][]float64
}

// move is the direction along which a vector has moved with a step.
func (m moment) move(name string, step float64) []float64 {
	d := make([]float64, len(m.now[name]))
	for i, v := range m.now[name] {
		d[i] = (m.past[name][i] - v) / step
	}
	return d
}

func minus(v []float64) []float64 {
	out := make([]float64, len(v))
	for i, c := range v {
		out[i] = -c
	}
	return out
}

// goldenRow says how an algorithm here is run such that it does what a public one does.
type goldenRow struct {
	ours func(tr *trace) solvers.Algorithm
	// differs is what the public implementation does otherwise than its paper, or than the algorithm here does unless
	// it is told so, and how that is reproduced.
	differs string
	// also are values under the file's names that are not vectors of that name in the state here.
	also func(tr *trace, a solvers.Algorithm, m moment) map[string][]float64
}

func one(v float64) []float64 { return []float64{v} }

// sobaSign gives v with the sign that the papers of SOBA and its kin have.
func sobaSign(_ *trace, _ solvers.Algorithm, m moment) map[string][]float64 {
	return map[string][]float64{"v": minus(m.now["v"])}
}

var goldenRows = map[string]goldenRow{
	"SOBA": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.SOBA{Step: tr.inner(), OuterStep: tr.outer(), Schedule: "sqrt"}
		},
		differs: "the sign of v is that of the paper",
		also:    sobaSign,
	},
	"SABA": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.SABA{Step: tr.inner(), OuterStep: tr.outer()}
		},
		differs: "the sign of v is that of the paper; tables start at zero, which with one minibatch changes nothing",
		also:    sobaSign,
	},
	"SRBA": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.SRBA{Step: tr.inner(), OuterStep: tr.outer(), Period: tr.steps("period")}
		},
		differs: "the sign of v is that of the paper, which projects v, while the public code does not; directions " +
			"are learned before a step and not after it, so that those of the file are the ones by which the " +
			"variables have moved",
		also: func(tr *trace, _ solvers.Algorithm, m moment) map[string][]float64 {
			return map[string][]float64{
				"v": minus(m.now["v"]), "y_old": m.past["y"], "d_inner": m.move("y", tr.inner()),
				"d_v": minus(m.move("v", tr.inner())), "d_outer": m.move("x", tr.outer()),
			}
		},
	},
	"AmIGO": {
		ours: func(tr *trace) solvers.Algorithm {
			n := tr.steps("n_inner_steps")
			return solvers.AmIGO{Step: tr.inner(), OuterStep: tr.outer(), InnerSteps: n, VSteps: n}
		},
	},
	"StocBiO": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.StocBiO{Step: tr.inner(), OuterStep: tr.outer(), NeumannStep: tr.inner(),
				Terms: cmp.Or(tr.steps("n_shia_steps"), -1), InnerSteps: tr.steps("n_inner_steps")}
		},
	},
	"TTSA": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.TTSA{Step: tr.inner(), OuterStep: tr.outer(), NeumannStep: tr.inner(),
				Terms: tr.steps("n_hia_steps"), Exponent: 0.4, OuterExponent: 0.6, Delay: 1}
		},
		differs: "steps fall from the first iteration on (delay 1), the step of the series does not",
	},
	"SUSTAIN": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.SUSTAIN{Step: tr.inner(), OuterStep: tr.outer(), NeumannStep: tr.inner(),
				Terms: tr.steps("n_hia_steps"), Momentum: tr.number("eta"), Memory: tr.text("memory")}
		},
		differs: "with memory zero the directions and the point before begin as zero vectors, so that the first " +
			"directions are no gradients; memory true is what the algorithm here does",
		also: func(_ *trace, _ solvers.Algorithm, m moment) map[string][]float64 {
			return map[string][]float64{"y_old": m.now["y before"], "x_old": m.now["x before"], "d_inner": m.now["h"],
				"d_outer": m.now["d"]}
		},
	},
	"VRBO": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.VRBO{Step: tr.inner(), OuterStep: tr.outer(), NeumannStep: tr.inner(),
				Terms: cmp.Or(tr.steps("n_shia_steps"), -1), InnerSteps: tr.steps("n_inner_steps"),
				Period: tr.steps("period"), Variant: "benchmark"}
		},
		differs: "the differences do not see how x moves, and the first one of an iteration is that of the last step " +
			"before it, also after a full pass (variant benchmark)",
		also: func(_ *trace, _ solvers.Algorithm, m moment) map[string][]float64 {
			return map[string][]float64{"y_old": m.now["y before"], "d_inner": m.now["h"], "d_outer": m.now["d"]}
		},
	},
	"F2SA": {
		ours: func(tr *trace) solvers.Algorithm {
			e := setting[[]any](tr, "exponents")
			exponent := func(i int) float64 { return e[i].(float64) }
			return solvers.F2SA{YStep: tr.inner(), ZStep: tr.inner(), OuterStep: tr.outer(),
				Multiplier: tr.number("lmbda0"), Growth: tr.number("delta_lmbda"),
				InnerSteps: tr.steps("n_inner_steps"), YExponent: exponent(0), ZExponent: exponent(1),
				OuterExponent: exponent(2), GrowthExponent: exponent(3)}
		},
		differs: "the public schedule has the exponent of z for x, where the paper has that of y, and 1/7 for the " +
			"growth of the multiplier, which then grows like k^(6/7) and not like k^(1/7); another run has constants",
		also: func(_ *trace, a solvers.Algorithm, m moment) map[string][]float64 {
			return map[string][]float64{"lambda": one(solvers.Multiplier(a.(solvers.F2SA), m.k))}
		},
	},
	"BOME": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.BOME{Step: tr.inner(), ZStep: tr.inner(), OuterStep: tr.outer(), Eta: tr.number("eta"),
				Phi: tr.text("choice_phi"), InnerSteps: tr.steps("n_inner_steps"), Epsilon: -1}
		},
		differs: "x and y have steps of their own, and nothing guards 0/0 (epsilon exactly 0)",
	},
	"BOAT_PGDO": {
		ours: func(tr *trace) solvers.Algorithm {
			if tr.flag("update_y_ahead") || tr.text("penalty") != "difference" {
				panic("BOAT_PGDO: another method than V-PBGD")
			}
			return solvers.VPBGD{YStep: tr.number("y_step"), ZStep: tr.number("y_hat_lr"),
				OuterStep: tr.number("x_step"), Penalty: tr.number("gamma_max"), Begin: tr.number("gamma_init"),
				Ramp: tr.steps("gamma_argmax_step"), InnerSteps: tr.steps("lower_iters")}
		},
		differs: "this is V-PBGD: the steps of x and y are divided by the penalty where it is above 1",
		also: func(_ *trace, a solvers.Algorithm, m moment) map[string][]float64 {
			return map[string][]float64{"gamma": one(solvers.Penalty(a.(solvers.VPBGD), m.k))}
		},
	},
	"FSLA": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.FSLA{Step: tr.inner(), OuterStep: tr.outer(), Momentum: tr.inner(),
				Memory: tr.text("memory")}
		},
		differs: "the momentum has the size of the step of y; with memory zero d and the point before begin as zero " +
			"vectors",
		also: func(_ *trace, _ solvers.Algorithm, m moment) map[string][]float64 {
			return map[string][]float64{"x_old": m.now["x before"], "d_outer": m.now["d"]}
		},
	},
	"BSA": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.BSA{Step: tr.inner(), OuterStep: tr.outer(), NeumannStep: tr.inner(),
				Terms: tr.steps("n_hia_steps"), InnerSteps: tr.steps("n_inner_steps"), InnerExponent: -1, Exponent: 0.5,
				Variant: "benchmark"}
		},
		differs: "x moves before the loop over y, and the loop has one length (variant benchmark)",
	},
	"MRBO": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.MRBO{Step: tr.inner(), OuterStep: tr.outer(), NeumannStep: tr.inner(),
				Terms: cmp.Or(tr.steps("n_shia_steps"), -1), Momentum: tr.number("eta"), Memory: tr.text("memory")}
		},
		differs: "with memory zero the directions and the point before begin as zero vectors",
		also: func(_ *trace, _ solvers.Algorithm, m moment) map[string][]float64 {
			return map[string][]float64{"y_old": m.now["y before"], "x_old": m.now["x before"], "d_inner": m.now["h"],
				"d_outer": m.now["d"]}
		},
	},
	"PZOBO": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.PZOBO{Step: tr.inner(), OuterStep: tr.outer(), InnerSteps: tr.steps("n_inner_steps"),
				Smoothing: tr.number("mu"), Directions: tr.steps("n_gaussian_vectors")}
		},
	},
	"BOAT_MESO": {
		ours: func(tr *trace) solvers.Algorithm {
			tr.number("lower_iters") // without effect in the public code
			return solvers.MEHA{YStep: tr.number("y_step"), ZStep: tr.number("eta"), OuterStep: tr.number("x_step"),
				Proximal: tr.number("gamma_1"), Multiplier: tr.number("c0"), Variant: "benchmark"}
		},
		differs: "this is MEHA with y before x, a smaller proximal term and a multiplier that begins with 0.2 " +
			"(variant benchmark)",
	},
	"jaxopt_ITD": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.ITDBiO{Step: tr.number("step_size"), OuterStep: tr.number("step_size_outer"),
				InnerSteps: tr.steps("n_inner_steps"), Cold: !tr.flag("warm_start")}
		},
		differs: "this is ITD-BiO; without a warm start the inner steps begin at the start values in every iteration " +
			"(cold)",
	},
	"jaxopt_GD": {
		ours: func(tr *trace) solvers.Algorithm {
			return solvers.AIDBiO{Step: tr.number("step_size"), OuterStep: tr.number("step_size_outer"),
				InnerSteps: tr.steps("n_inner_steps"), CGSteps: tr.steps("cg_iterations"), Cold: true}
		},
		differs: "this is AID-BiO whose conjugate gradients begin at 0 in every iteration (cold); the paper's go on " +
			"from the last v",
	},
}

func TestGoldenTraces(t *testing.T) {
	directory := cmp.Or(os.Getenv("BILEVEL_GOLDEN"), filepath.Join("solvertest", "testdata", "golden"))
	text, err := os.ReadFile(filepath.Join(directory, "problems.json"))
	require.NoError(t, err)
	problems, err := solvertest.ReadGolden(text)
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(directory, "traces-*.json"))
	require.NoError(t, err)
	require.NotEmpty(t, files, "no traces in %s", directory)
	compared := map[string]bool{}
	for _, file := range files {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		var traces []*trace
		require.NoError(t, json.Unmarshal(text, &traces), file)
		for i, tr := range traces {
			tr.used = map[string]bool{}
			row, ok := goldenRows[tr.Algorithm]
			require.True(t, ok, "%s has a run of an unknown algorithm, %s", file, tr.Algorithm)
			compared[tr.Algorithm] = true
			t.Run(fmt.Sprintf("%s on %s, run %d", tr.Algorithm, tr.Problem, i+1), func(t *testing.T) {
				p := problems[tr.Problem]
				require.NotNil(t, p, "the problem %s is not in the file of problems", tr.Problem)
				worst := row.replay(t, tr, p)
				t.Logf("%d saved iterates, largest deviation %.2g. %s", len(tr.Iterates), worst, row.differs)
			})
		}
	}
	if os.Getenv("BILEVEL_GOLDEN") == "" {
		require.Len(t, compared, len(goldenRows), "every row has a run")
	}
}

// replay runs an algorithm from the trace's start and compares all that is saved. It gives the largest deviation.
func (row goldenRow) replay(t *testing.T, tr *trace, of *solvertest.Golden) (worst float64) {
	a := row.ours(tr)
	for name, value := range tr.Hyper {
		if !tr.used[name] {
			t.Logf("nothing here reads the setting %s = %v", name, value)
		}
	}
	var at []int
	for k := range tr.Iterates {
		n, err := strconv.Atoi(k)
		require.NoError(t, err)
		at = append(at, n)
	}
	slices.Sort(at)
	ex := executor(t)
	p := load(t, ex, of)
	p.Upper.Start, p.Lower.Start = problem.Vector(tr.Start["x"]...), problem.Vector(tr.Start["y"]...)
	b, err := p.Bind(ex)
	require.NoError(t, err)
	n := at[len(at)-1]
	e, _, err := solvers.InitDrawing(context.Background(), b, a, n, func(k, limit int) int {
		require.Less(t, tr.NeumannTerms[k], limit)
		return tr.NeumannTerms[k]
	})
	if tr.Gaussian != nil {
		e, _, err = solvers.InitAlong(context.Background(), b, a, n, func(k int) []float64 {
			return slices.Concat(tr.Gaussian[k]...)
		})
	}
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, e.Close()) })
	for name, values := range tr.Start {
		require.NotNil(t, e.Variable(name), "the start has %s", name)
		require.NoError(t, e.Variable(name).Write(values))
	}
	k := 0
	for _, n := range at {
		step(t, e, k, n-1-k)
		m := moment{k: n, past: states(t, e)}
		step(t, e, n-1, 1)
		m.now = states(t, e)
		k = n
		also := map[string][]float64{}
		if row.also != nil {
			also = row.also(tr, a, m)
		}
		saved := tr.Iterates[strconv.Itoa(n)]
		for _, name := range slices.Sorted(maps.Keys(saved)) {
			got, ok := also[name]
			if !ok {
				got = m.now[name]
			}
			want := numbers(saved[name])
			require.Len(t, got, len(want), "%s after %d iterations", name, n)
			for i := range want {
				off := math.Abs(got[i]-want[i]) / max(1, math.Abs(want[i]))
				require.LessOrEqual(t, off, goldenTolerance, "%s[%d] after %d iterations: %v, want %v", name, i, n,
					got[i], want[i])
				worst = max(worst, off)
			}
		}
	}
	return worst
}

// states reads a state by name.
func states(t *testing.T, e *engine.Engine) map[string][]float64 {
	out := map[string][]float64{}
	for i, values := range arrays(t, e) {
		out[e.Names()[i]] = values
	}
	return out
}

// numbers is a saved vector, or number, as a vector.
func numbers(v any) (out []float64) {
	if n, ok := v.(float64); ok {
		return one(n)
	}
	for _, e := range v.([]any) {
		out = append(out, e.(float64))
	}
	return out
}
