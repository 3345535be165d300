package solvers

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"bilevel/internal/philox"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Algorithm is a way to solve a problem: a plain struct, given by value, whose fields are its settings. Its state has
// the vectors "x" and "y" of both variables, from which results are read.
type Algorithm interface {
	Name() string
	// Needs says what the algorithm can use and what it assumes.
	Needs() Needs
	// Defaults fills in the settings that are zero. scale looks at the problem, which costs some passes over its data;
	// it is called only where a step size is missing.
	Defaults(scale func() (Scale, error)) (Algorithm, error)
	// Spec is the algorithm for a run on a problem, as the engine runs it. Its error is a setting that can never work,
	// and names the field. The engine's caller fills in name and seed.
	Spec(b *problem.Bound, r Run) (engine.Spec, error)
}

// Run is what an algorithm is told of the run that it is compiled for.
type Run struct {
	Iterations int
	Seed       uint64 // of random numbers that the algorithm itself draws, such as the lengths of its series

	// length, where set, gives the number below limit that iteration k draws, in place of Seed.
	length func(k, limit int) int
	// directions, where set, gives the directions of iteration k, one after the other, in place of drawn ones.
	directions func(k int) []float64
	// scale, where set, gives the step sizes that suit the problem, in place of Measure.
	scale func() (Scale, error)
}

// rate is a step size times the factor of a schedule.
func (r Run) rate(name string, step float64, s engine.Schedule) engine.Rate {
	return s.Scaled(name, step, r.Iterations)
}

// falling is a step size times the factor of a schedule and 1/(k+1)^exponent.
func (r Run) falling(name string, step, exponent float64, s engine.Schedule) engine.Rate {
	whole := r.rate(name, step, s)
	return engine.Rate{Name: name, At: func(k int) float64 {
		return whole.At(k) * math.Pow(float64(k+1), -exponent)
	}}
}

// growing is a number that begins at start and grows by growth/(k+1)^exponent with iteration k.
func growing(name string, start, growth, exponent float64) engine.Rate {
	if exponent == 0 {
		return engine.Rate{Name: name, At: func(k int) float64 { return start + float64(k)*growth }}
	}
	at := []float64{start} // in iteration 0, 1, …
	return engine.Rate{Name: name, At: func(k int) float64 {
		for i := len(at); i <= k; i++ {
			at = append(at, at[i-1]+growth*math.Pow(float64(i), -exponent))
		}
		return at[k]
	}}
}

// draw is a number below limit, uniform, that iteration k draws: a function of seed and k, so that a run can be resumed
// anywhere.
func (r Run) draw(k, limit int) int {
	if r.length != nil {
		return r.length(k, limit)
	}
	var n [1]int32
	philox.Integers(n[:], uint32(limit), r.Seed, uint32(k), philox.StreamInner, 0)
	return int(n[0])
}

// Needs are what an algorithm can use and what it assumes, as data that one place checks.
type Needs struct {
	Usable problem.Features // beyond two smooth objectives; all other features are refused
	Wants  problem.Features // that the problem must have
	Why    string           // what its steps or its analysis need, for the reason of a refusal
	// WantsDirectX says that F must depend on x itself, because the algorithm leaves the way through y*(x) out.
	WantsDirectX bool
	// FixedBatches says that minibatches must come from a problem.Slotted sampler, because the algorithm keeps a table
	// with an entry for each.
	FixedBatches bool
}

// Init checks that problem and algorithm fit, fills in defaults and compiles a run of n iterations. ctx ends the search
// for step sizes, where they are missing.
func Init(ctx context.Context, b *problem.Bound, a Algorithm, n int, seed uint64) (
	*engine.Engine, Algorithm, error) {
	return initRun(ctx, b, a, Run{Iterations: n, Seed: seed})
}

// InitScaled is Init with a way to the step sizes that suit the problem, such as ones that another run has measured;
// it is asked where the algorithm lacks some.
func InitScaled(ctx context.Context, b *problem.Bound, a Algorithm, n int, seed uint64, of func() (Scale, error)) (
	*engine.Engine, Algorithm, error) {
	return initRun(ctx, b, a, Run{Iterations: n, Seed: seed, scale: of})
}

// InitDrawing is Init with the lengths of randomized series given: iteration k takes lengths(k, limit), a number below
// limit. Comparisons with other programs replay their draws in this way.
func InitDrawing(ctx context.Context, b *problem.Bound, a Algorithm, n int, lengths func(k, limit int) int) (
	*engine.Engine, Algorithm, error) {
	return initRun(ctx, b, a, Run{Iterations: n, length: lengths})
}

// InitAlong is Init with random directions of x given: iteration k takes directions(k), all of them one after the
// other. Comparisons with other programs replay their draws in this way.
func InitAlong(ctx context.Context, b *problem.Bound, a Algorithm, n int, directions func(k int) []float64) (
	*engine.Engine, Algorithm, error) {
	return initRun(ctx, b, a, Run{Iterations: n, directions: directions})
}

func initRun(ctx context.Context, b *problem.Bound, a Algorithm, r Run) (*engine.Engine, Algorithm, error) {
	if err := plain(a); err != nil {
		return nil, nil, err
	}
	needs := a.Needs()
	if err := b.Refuse(a.Name(), needs.Usable, needs.Why); err != nil {
		return nil, nil, err
	}
	if missing := needs.Wants &^ b.Features(); missing != 0 {
		return nil, nil, fmt.Errorf("%s: the problem %s has no %s, which this algorithm cannot do without: %s",
			a.Name(), b.Name, missing.Nouns(), needs.Why)
	}
	if needs.WantsDirectX && !upperUsesX(b) {
		return nil, nil, fmt.Errorf("%s: the upper objective of %s does not depend on x itself, so that x would never "+
			"move: %s", a.Name(), b.Name, needs.Why)
	}
	if needs.FixedBatches {
		for _, side := range []problem.Side{problem.Lower, problem.Upper} {
			if s := b.Level(side).Sampler; s != nil {
				if _, ok := s.(problem.Slotted); !ok {
					return nil, nil, fmt.Errorf("%s keeps a table with an entry for each minibatch: give the %s "+
						"level problem.Fixed(%d) as its sampler",
						a.Name(), side, s.Size())
				}
			}
		}
	}
	if r.scale == nil {
		r.scale = func() (Scale, error) { return Measure(ctx, b, r.Seed) }
	}
	a, err := a.Defaults(r.scale)
	if err != nil {
		return nil, nil, err
	}
	spec, err := a.Spec(b, r)
	if err != nil {
		return nil, nil, err
	}
	spec.Name, spec.Seed = a.Name(), r.Seed
	if err := checkState(b, spec); err != nil {
		return nil, nil, err
	}
	if spec.Settings, err = json.Marshal(a); err != nil {
		return nil, nil, err
	}
	e, err := engine.New(b, spec)
	return e, a, err
}

// checkState refuses a state without the vectors that a result is read from.
func checkState(b *problem.Bound, spec engine.Spec) error {
	var names []string
	sizes := map[string]int{}
	for _, a := range spec.State {
		names = append(names, a.Name)
		sizes[a.Name] = len(a.Values)
	}
	for _, name := range []string{"x", "y"} {
		want := b.Upper.Start.Size()
		if name == "y" {
			want = b.Lower.Start.Size()
		}
		if sizes[name] != want { // a lower variable that lives for a batch has size 0
			return fmt.Errorf("%s: its state is %s; wants a vector %q of %d elements, from which the result is read",
				spec.Name, strings.Join(names, ", "), name, want)
		}
	}
	return nil
}

// start is the state that all algorithms here have, x and y, and further vectors of the lower level's size that start
// at zero. The watch for numbers that are not finite leaves x out: an iteration changes few of many upper variables,
// and what goes wrong there reaches y in the next iterations that draw it.
func start(b *problem.Bound, zeros ...string) []engine.Array {
	state := []engine.Array{
		{Name: "x", Values: b.Upper.Start.Flat, Unwatched: true},
		{Name: "y", Values: b.Lower.Start.Flat},
	}
	for _, name := range zeros {
		state = append(state, engine.Array{Name: name, Values: make([]float64, b.Lower.Start.Size())})
	}
	return state
}

// ofX is a vector of x's size that starts at zero, for a direction of x or an average of some. What goes wrong there
// reaches x in the same iteration.
func ofX(b *problem.Bound, name string) engine.Array {
	return engine.Array{Name: name, Zeros: b.Upper.Start.Size(), Unwatched: true}
}

// upperSlope keeps ∇xF from the phase that computes it to the one that moves x, as the state's vector "gx". Where F
// does not depend on x itself there is no such vector, and x changes only where its product with C does.
type upperSlope bool

func slopeOf(b *problem.Bound) upperSlope { return upperSlope(upperUsesX(b)) }

func (u upperSlope) state(b *problem.Bound) []engine.Array {
	if !u {
		return nil
	}
	return []engine.Array{ofX(b, "gx")}
}

func (u upperSlope) keep(s *engine.State, f *problem.Point) {
	if u {
		s.Set("gx", f.GradX())
	}
}

// step is x - rate (∇xF - cv).
func (u upperSlope) step(s *engine.State, rate, cv *tensor.Node) *tensor.Node {
	x := s.Get("x").Add(rate.Mul(cv))
	if u {
		x = x.Sub(rate.Mul(s.Get("gx")))
	}
	return x
}

// field is a setting by its name in configuration files.
type field struct {
	name  string
	value float64
}

// checkSteps refuses settings that must be positive and finite and are not, and unknown schedules.
func checkSteps(algorithm string, s engine.Schedule, fields ...field) error {
	for _, f := range fields {
		if !(f.value > 0) || math.IsInf(f.value, 0) {
			return fmt.Errorf("%s: %s is %g: wants a positive, finite number", algorithm, f.name, f.value)
		}
	}
	if err := s.Check(); err != nil {
		return fmt.Errorf("%s: %w", algorithm, err)
	}
	return nil
}

// count is a number of steps by its name in configuration files.
type count struct {
	name  string
	value int
}

// always is a number of repetitions that is the same in every iteration.
func always(n int) func(k int) int { return func(int) int { return n } }

// growingSteps is ⌈n (k+1)^exponent⌉ repetitions in iteration k.
func growingSteps(n int, exponent float64) func(k int) int {
	return func(k int) int { return int(math.Ceil(float64(n) * math.Pow(float64(k+1), exponent))) }
}

// checkCounts refuses numbers of steps below 1.
func checkCounts(algorithm string, counts ...count) error {
	for _, c := range counts {
		if c.value < 1 {
			return fmt.Errorf("%s: %s is %d: wants at least 1", algorithm, c.name, c.value)
		}
	}
	return nil
}

// checkNonNegative refuses settings that may be zero but not negative, and those that are not finite.
func checkNonNegative(algorithm string, fields ...field) error {
	for _, f := range fields {
		if !(f.value >= 0) || math.IsInf(f.value, 0) {
			return fmt.Errorf("%s: %s is %g: wants a finite number from 0 on", algorithm, f.name, f.value)
		}
	}
	return nil
}
