package minimize

import (
	"encoding/json"
	"fmt"
	"math"
	"path"
	"slices"
	"strings"

	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Method is a first-order method for minibatches: a plain struct whose fields are its settings.
type Method interface {
	Name() string
	// Spec is the method for a run of n iterations on the lower level of a problem, as the engine runs it. Its state is
	// "x" and "y", which every method has, and vectors of its own. Its error is a setting that can never work, and
	// names the field.
	Spec(b *problem.Bound, n int) (engine.Spec, error)
}

// usable are the features of a problem that the methods can use. Sets and constraints of x do not matter, because x
// stays where it is.
const usable = problem.LowerSet | problem.UpperSet | problem.UpperConstraints | problem.ModelState

// New compiles a run of n iterations that minimizes the problem's lower level over y at the start value of x; another x
// can be written to the engine's variable "x".
func New(b *problem.Bound, m Method, n int, seed uint64) (*engine.Engine, error) {
	const why = "it takes gradient steps on one smooth objective, of a variable that lasts"
	if err := b.Refuse(m.Name(), usable, why); err != nil {
		return nil, err
	}
	spec, err := m.Spec(b, n)
	if err != nil {
		return nil, err
	}
	spec.Name, spec.Seed = m.Name(), seed
	if spec.Settings, err = json.Marshal(m); err != nil {
		return nil, fmt.Errorf("%s: %w", m.Name(), err)
	}
	return engine.New(b, spec)
}

// Alone makes a single level a problem: its variable is y, and there is nothing to be decided above it. state holds the
// running statistics of a model that has some.
func Alone(name string, l problem.Level, state problem.Values) *problem.Problem {
	above := problem.Flat(func(x, _ *tensor.Node, _ problem.Batch) *tensor.Node { return x.Sum() })
	return &problem.Problem{
		Name: name, State: state, Lower: l,
		Upper: problem.Level{Start: problem.Vector(0), Value: above}, // never asked for
	}
}

// Group gives arrays of the variable a weight decay of their own.
type Group struct {
	// Names is a pattern for the arrays' names as package path matches them: "bias*" or "*.bn?.weight".
	Names       string  `json:"names"`
	WeightDecay float64 `json:"weight_decay"`
	// Inputs are the places along the last axis of those arrays that the group has, which for the weights of a linear
	// map are its inputs, counted from 0; none: all of them.
	Inputs []int `json:"inputs,omitempty"`
}

// decays is the weight decay of each element: a scalar where all are equal, else a vector. The last group that has an
// element decides, and where none does, all. nil means no decay.
func decays(l params.Layout, all float64, groups []Group) (*tensor.Node, error) {
	if !(all >= 0) || math.IsInf(all, 0) {
		return nil, fmt.Errorf("weight_decay is %g: wants a finite number from 0 on", all)
	}
	of := make(map[string][]float64) // along the last axis
	for _, g := range groups {
		if err := g.put(of, l, all); err != nil {
			return nil, err
		}
	}
	switch {
	case len(of) > 0:
		return l.Spread(func(a params.Array) *tensor.Node {
			if d, ok := of[a.Name]; ok {
				return row(d)
			}
			return tensor.Const(all)
		}), nil
	case all > 0:
		return tensor.Const(all), nil
	}
	return nil, nil
}

// put writes the weight of a group into the decays of the arrays that it matches.
func (g Group) put(of map[string][]float64, l params.Layout, all float64) error {
	if !(g.WeightDecay >= 0) || math.IsInf(g.WeightDecay, 0) {
		return fmt.Errorf("the weight_decay of the group %q is %g: wants a finite number from 0 on", g.Names,
			g.WeightDecay)
	}
	found := false
	for _, a := range l {
		matches, err := path.Match(g.Names, a.Name)
		if err != nil {
			return fmt.Errorf("the group %q is no pattern: %w", g.Names, err)
		}
		if !matches {
			continue
		}
		found = true
		n := 1
		if len(a.Shape) > 0 {
			n = a.Shape[len(a.Shape)-1]
		}
		if of[a.Name] == nil {
			of[a.Name] = slices.Repeat([]float64{all}, n)
		}
		if g.Inputs == nil {
			of[a.Name] = slices.Repeat([]float64{g.WeightDecay}, n)
		}
		for _, i := range g.Inputs {
			if i < 0 || i >= n {
				return fmt.Errorf("the group %q has the input %d, and the array %s has the inputs 0 to %d", g.Names, i,
					a.Name, n-1)
			}
			of[a.Name][i] = g.WeightDecay
		}
	}
	if !found {
		return fmt.Errorf("no array matches the group %q: there are %s", g.Names, named(l))
	}
	return nil
}

// row is numbers as a node, a scalar where all are equal.
func row(values []float64) *tensor.Node {
	var parts []*tensor.Node
	for from, i := 0, 1; i <= len(values); i++ {
		if i == len(values) || values[i] != values[from] {
			parts = append(parts, tensor.Const(values[from]).Expand(i-from))
			from = i
		}
	}
	if len(parts) == 1 {
		return tensor.Const(values[0])
	}
	return tensor.Concat(0, parts...)
}

func named(l params.Layout) string {
	if len(l) == 0 {
		return "no names"
	}
	return strings.Join(l.Names(), ", ")
}

// Average keeps an average ȳ of the iterates in the state "average". At most one of its fields is set.
type Average struct {
	// EMA is the factor d of an exponential moving average, ȳ₊ = d ȳ + (1-d) y₊, which begins with the first iterate.
	EMA float64 `json:"ema"`
	// Tail is the part of the run, at its end, whose iterates are averaged with equal weights (stochastic weight
	// averaging: Izmailov et al., UAI 2018). Before it, ȳ is y.
	Tail float64 `json:"tail"`
}

const averageName = "average"

// rate is the weight w of the new iterate in ȳ₊ = (1-w) ȳ + w y₊; nil where nothing is averaged.
func (a Average) rate(n int) (*engine.Rate, error) {
	if a == (Average{}) {
		return nil, nil
	}
	if !(a.EMA >= 0 && a.EMA < 1) || !(a.Tail >= 0 && a.Tail <= 1) || a.EMA > 0 && a.Tail > 0 {
		return nil, fmt.Errorf("average of ema %g and tail %g: wants one of an ema from 0 to below 1 and a tail "+
			"from 0 to 1", a.EMA, a.Tail)
	}
	from := n - int(math.Round(a.Tail*float64(n)))
	return &engine.Rate{Name: averageName, At: func(k int) float64 {
		switch {
		case a.Tail > 0:
			return 1 / float64(max(1, k-from+1))
		case k == 0:
			return 1
		}
		return 1 - a.EMA
	}}, nil
}

// common is what the methods have in common.
type common struct {
	step     float64
	schedule engine.Schedule
	decay    float64
	groups   []Group
	average  Average
	vectors  []string      // of y's size beside y, from 0
	rates    []engine.Rate // beside "step"

	// next builds y after the step: from y, its gradient on the minibatch, and the weight decay of each element (nil:
	// none).
	next func(it *engine.Iteration, s *engine.State, y, g, decay *tensor.Node) *tensor.Node
}

// spec is one phase that draws a minibatch, steps, projects, averages and moves the running statistics once.
func (c common) spec(method string, b *problem.Bound, n int) (engine.Spec, error) {
	fail := func(err error) (engine.Spec, error) { return engine.Spec{}, fmt.Errorf("%s: %w", method, err) }
	if !(c.step > 0) || math.IsInf(c.step, 0) {
		return fail(fmt.Errorf("step is %g: wants a positive, finite number", c.step))
	}
	if err := c.schedule.Check(); err != nil {
		return fail(err)
	}
	decay, err := decays(b.Lower.Start.Layout, c.decay, c.groups)
	if err != nil {
		return fail(err)
	}
	spec := engine.Spec{
		State: []engine.Array{{Name: "x", Values: b.Upper.Start.Flat, Unwatched: true},
			{Name: "y", Values: b.Lower.Start.Flat}},
		Rates: append([]engine.Rate{c.schedule.Scaled("step", c.step, n)}, c.rates...),
	}
	for _, name := range c.vectors { // what goes wrong there is in y one iteration later
		spec.State = append(spec.State,
			engine.Array{Name: name, Values: make([]float64, b.Lower.Start.Size()), Unwatched: true})
	}
	averaged, err := c.average.rate(n)
	if err != nil {
		return fail(err)
	}
	if averaged != nil {
		spec.State = append(spec.State, engine.Array{Name: averageName, Values: b.Lower.Start.Flat, Unwatched: true})
		spec.Rates = append(spec.Rates, *averaged)
	}
	spec.Phases = []engine.Phase{{
		Name:  method,
		Draws: []engine.Draw{{Of: problem.Lower}},
		Build: func(it *engine.Iteration, s *engine.State) {
			y, batch := s.Get("y"), it.Batch("lower")
			p := it.Lower(s.Get("x"), y, batch)
			next := it.Project(problem.Lower, c.next(it, s, y, p.GradY(), decay), batch)
			s.Set("y", next)
			if averaged != nil {
				w := it.Rate(averageName)
				s.Set(averageName, s.Get(averageName).Mul(tensor.Const(1).Sub(w)).Add(next.Mul(w)))
			}
			it.Commit(p)
		},
	}}
	return spec, nil
}
