package solvers

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"strings"

	"bilevel/internal/philox"
	"bilevel/models/params"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Scale is step sizes that suit a problem, measured at its start values.
type Scale struct {
	Inner float64 // of the lower variable
	Outer float64 // of the upper variable
}

// Step sizes where none are given. They are a rule of thumb, made to end well rather than fast; whoever tunes them on
// validation data will find better ones.
//
//	Inner = 1/(2L),  L the largest eigenvalue of H on a minibatch (the largest of three)
//	Outer = the smaller of  2·travel (1 + rms x) / (n rms g)   and  √min(1, μ·Inner) / (2 L_h)
//
// g is the hypergradient after some steps of gradient descent on the lower level, and travel = 30: over n iterations x
// may move by some times its own size. L_h is how much g changes along itself, and μ the smallest Ritz value of H that
// its linear solve met: where the lower level follows slowly, x must not run ahead.
//
// A run with these steps that diverges is begun again with a quarter of them (Solve).
const (
	probeRows  = 4096 // at most so many rows are looked at
	powerSteps = 20
	descents   = 100 // steps of gradient descent before g
	travel     = 30
)

// Defaults chooses both steps where they are missing, and then a schedule that falls.
func (a SOBA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	if a.Step == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.Step, a.OuterStep = cmp.Or(a.Step, s.Inner), cmp.Or(a.OuterStep, s.Outer)
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	return a, nil
}

func (a F2SA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Multiplier, a.InnerSteps = cmp.Or(a.Multiplier, 10), cmp.Or(a.InnerSteps, 10)
	if a.ZStep == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.ZStep, a.OuterStep = cmp.Or(a.ZStep, s.Inner), cmp.Or(a.OuterStep, s.Outer)
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	a.YStep = cmp.Or(a.YStep, a.ZStep/a.Multiplier) // y then moves at the pace of z
	return a, nil
}

func (a StocBiO) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Terms, a.InnerSteps = cmp.Or(a.Terms, 10), cmp.Or(a.InnerSteps, 10)
	if a.Step == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.Step, a.OuterStep = cmp.Or(a.Step, s.Inner), cmp.Or(a.OuterStep, s.Outer)
		a.NeumannStep = cmp.Or(a.NeumannStep, 2*s.Inner) // 1/L: the shortest series
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	a.NeumannStep = cmp.Or(a.NeumannStep, a.Step)
	return a, nil
}

// shrink makes the step sizes that were chosen here smaller: those that a leaves at zero and that chosen has. ok is
// false where there are none.
func shrink(a, chosen Algorithm) (smaller Algorithm, ok bool) {
	v := reflect.New(reflect.TypeOf(chosen))
	v.Elem().Set(reflect.ValueOf(chosen))
	before := reflect.ValueOf(a)
	for i := range before.NumField() {
		f := v.Elem().Field(i)
		name, _, _ := strings.Cut(before.Type().Field(i).Tag.Get("json"), ",")
		if f.Kind() == reflect.Float64 && strings.HasSuffix(name, "step") && before.Field(i).Float() == 0 {
			f.SetFloat(f.Float() * backOff)
			ok = true
		}
	}
	return v.Elem().Interface().(Algorithm), ok
}

// measure finds the step sizes of a run of n iterations.
func measure(ctx context.Context, b *problem.Bound, n int, seed uint64) (s Scale, err error) {
	m := &probe{ctx: ctx, b: b, scope: b.Executor.Scope(), seed: seed}
	defer func() { err = errors.Join(err, m.scope.Close()) }()
	largest, err := m.largestEigenvalue()
	if err != nil {
		return s, err
	}
	if !(largest > 0) || math.IsInf(largest, 0) {
		return s, fmt.Errorf("no step sizes can be chosen: the lower Hessian at the start values has the largest "+
			"eigenvalue %g; give the steps", largest)
	}
	s.Inner = 1 / (2 * largest)
	g, slope, mu, err := m.hypergradient(s.Inner)
	if err != nil {
		return s, err
	}
	size := math.Sqrt(float64(len(g)))
	rmsX, rmsG := norm(b.Upper.Start.Flat)/size, norm(g)/size
	s.Outer = math.Inf(1)
	if rmsG > 0 {
		s.Outer = 2 * travel * (1 + rmsX) / (float64(n) * rmsG)
	}
	if slope > 0 {
		lag := 1.0
		if mu > 0 {
			lag = math.Sqrt(min(1, mu*s.Inner))
		}
		s.Outer = min(s.Outer, lag/(2*slope))
	}
	if math.IsInf(s.Outer, 0) || math.IsNaN(s.Outer) || s.Outer == 0 {
		s.Outer = s.Inner // the hypergradient vanishes at the start: nothing is known about its scale
	}
	return s, nil
}

func norm(v []float64) float64 {
	sum := 0.0
	for _, c := range v {
		sum += c * c
	}
	return math.Sqrt(sum)
}

// probe looks at a problem at its start values.
type probe struct {
	ctx   context.Context // of the call that measures
	b     *problem.Bound
	scope *tensor.Scope
	seed  uint64
}

// repeat runs a program so many times, and stops between two of them when the caller's context ends.
func (m *probe) repeat(f *tensor.Function, n int) error {
	for range n {
		if err := errors.Join(m.ctx.Err(), f.Run(1)); err != nil {
			return err
		}
	}
	return nil
}

// some is at most so many random rows of a level.
func (m *probe) some(side problem.Side, rows int, draw uint64) (problem.Batch, error) {
	all := m.b.All(side)
	if all.Rows <= rows {
		return all, nil
	}
	index := make([]int32, rows)
	from := problem.Source{Seed: m.seed, Stream: philox.StreamProbe, Rows: all.Rows}
	if err := problem.WithReplacement(rows).Fill(index, from, draw); err != nil {
		return all, err
	}
	v := m.scope.Variable("probe rows", tensor.Int, rows)
	return m.b.Batch(side, v.Node()), v.WriteInts(index)
}

func (m *probe) variable(name string, values []float64) (*tensor.Variable, error) {
	v := m.scope.Variable("probe "+name, tensor.Real, len(values))
	return v, v.Write(values)
}

// at is an objective at nodes x and y.
func (m *probe) at(side problem.Side, x, y *tensor.Node, rows problem.Batch) *problem.Point {
	var state *tensor.Node
	if m.b.State.Size() > 0 {
		v, err := m.variable("model state", m.b.State.Flat)
		m.scope.Note(err)
		state = v.Node()
	}
	return m.b.Oracle().At(side, x, y, rows, params.TrainFrozen, state)
}

// largestEigenvalue is the largest, in absolute value, of H at the start, by powers of it from a random vector: the
// largest of three minibatches.
func (m *probe) largestEigenvalue() (float64, error) {
	x, err1 := m.variable("x", m.b.Upper.Start.Flat)
	y, err2 := m.variable("y", m.b.Lower.Start.Flat)
	q := m.b.Lower.Start.Size()
	direction, value := m.scope.Variable("probe direction", tensor.Real, q), m.scope.Number("probe eigenvalue")
	if err := errors.Join(err1, err2); err != nil {
		return 0, err
	}
	start := make([]float32, q)
	philox.Normals(start, m.seed, 0, philox.StreamProbe, 0)
	largest := 0.0
	for draw := range uint64(3) {
		rows := probeRows
		if s := m.b.Lower.Sampler; s != nil {
			rows = s.Size()
		}
		batch, err := m.some(problem.Lower, rows, draw)
		if err != nil {
			return 0, err
		}
		step := m.scope.Compile("power step", func() []tensor.Update {
			d := direction.Node()
			d = d.Div(d.Norm())
			hd := m.at(problem.Lower, x.Node(), y.Node(), batch).HVP(d)
			return []tensor.Update{{Var: direction, Value: hd}, {Var: value, Value: hd.Norm()}}
		})
		if err := m.scope.Err(); err != nil {
			return 0, err
		}
		if err := errors.Join(direction.Write32(start), m.repeat(step, powerSteps)); err != nil {
			return 0, err
		}
		l, err := value.Number()
		if err != nil || math.IsNaN(l) {
			return l, err
		}
		if largest = max(largest, l); batch.Index == nil {
			break // all rows: every draw is the same
		}
	}
	return largest, nil
}

// hypergradient is ∇h near the lower minimizer, how much it changes along itself, and the smallest Ritz value of H.
func (m *probe) hypergradient(step float64) (g []float64, slope, mu float64, err error) {
	x, err1 := m.variable("x", m.b.Upper.Start.Flat)
	y, err2 := m.variable("y", m.b.Lower.Start.Flat)
	lower, err3 := m.some(problem.Lower, probeRows, 3)
	upper, err4 := m.some(problem.Upper, probeRows, 4)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, 0, 0, err
	}
	at := func(side problem.Side) *problem.Point {
		return m.at(side, x.Node(), y.Node(),
			map[problem.Side]problem.Batch{problem.Lower: lower, problem.Upper: upper}[side])
	}
	system, err := linear.CG{RTol: 1e-2, MaxSteps: 50, FromZero: true, Trust: true}.Prepare(m.b.Executor,
		func(v *tensor.Node) *tensor.Node {
			return at(problem.Lower).HVP(v)
		}, y.Size())
	if err != nil {
		return nil, 0, 0, err
	}
	m.scope.Own(system.Close)
	gradient := m.scope.Variable("probe gradient", tensor.Real, x.Size())
	descend := m.scope.Compile("probe descend", func() []tensor.Update {
		return []tensor.Update{{Var: y, Value: y.Node().Sub(at(problem.Lower).GradY().Scale(step))}}
	})
	rhs := m.scope.Compile("probe right-hand side", func() []tensor.Update {
		return []tensor.Update{{Var: system.RHS(), Value: at(problem.Upper).GradY()}}
	})
	direction := m.scope.Compile("probe hypergradient", func() []tensor.Update {
		cv := at(problem.Lower).Cross(system.Solution().Node())
		return []tensor.Update{{Var: gradient, Value: at(problem.Upper).GradX().Sub(cv)}}
	})
	if err := m.scope.Err(); err != nil {
		return nil, 0, 0, err
	}
	here := func() ([]float64, error) {
		if err := errors.Join(m.repeat(descend, descents), rhs.Run(1)); err != nil {
			return nil, err
		}
		st, err := system.Solve(m.ctx)
		if err != nil {
			return nil, err
		}
		if mu = st.SmallestEigenvalue; math.IsNaN(mu) {
			mu = 0
		}
		if err := direction.Run(1); err != nil {
			return nil, err
		}
		return gradient.Read()
	}
	if g, err = here(); err != nil {
		return nil, 0, 0, err
	}
	size := norm(g)
	if !(size > 0) || math.IsInf(size, 0) {
		return g, 0, mu, nil
	}
	move := 0.1 * (norm(m.b.Upper.Start.Flat) + math.Sqrt(float64(len(g)))) / size // a tenth of x's own size
	moved := make([]float64, len(g))
	for i := range g {
		moved[i] = m.b.Upper.Start.Flat[i] - move*g[i]
	}
	if err := x.Write(moved); err != nil {
		return nil, 0, 0, err
	}
	there, err := here()
	if err != nil {
		return nil, 0, 0, err
	}
	for i := range there {
		there[i] -= g[i]
	}
	return g, norm(there) / (move * size), mu, nil
}
