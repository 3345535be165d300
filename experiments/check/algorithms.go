package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"bilevel/solvers"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
)

// profile is what an algorithm's engine says of it.
type profile struct {
	entry       solvers.Entry
	least, most problem.Counts // of an iteration
	state       string         // its size: "p + 2q"
	names       []string       // of the state's vectors
}

// hessianFree tells whether no second derivatives are asked for.
func (p *profile) hessianFree() string {
	if p.most.HVP+p.most.JVP == 0 {
		return "yes"
	}
	return "no"
}

// orDash is a text, or a dash where there is none.
func orDash(s string) string {
	if s == "" {
		return "–"
	}
	return s
}

// The sizes of the problem that profiles are counted on are primes, so that the size of a vector says what it is made
// of.
const (
	profileUpper, profileLower = 7, 11 // elements of x and y
	profileN, profileM         = 3, 5  // fixed minibatches of the two levels
	profileRows                = 2     // of a minibatch
	// profileIterations are enough to see the shortest and the longest iteration of algorithms that draw lengths.
	profileIterations = 512
	// profileSteps is how many iterations of an algorithm are done whose cost the host decides.
	profileSteps = 10
)

// profileOf compiles an algorithm with the settings that it chooses.
func profileOf(ctx context.Context, ex *tensor.Executor, entry solvers.Entry) (p *profile, err error) {
	l, err := solvertest.Load(ex, solvertest.NewFiniteSum(1, profileN*profileRows, profileM*profileRows, profileUpper,
		solvertest.Spectrum(profileLower, 10)))
	if err != nil {
		return nil, err
	}
	l.Lower.Sampler, l.Upper.Sampler = problem.Fixed(profileRows), problem.Fixed(profileRows)
	if entry.Zero.Needs().Wants&problem.UpperSet != 0 {
		l.Upper.Set = problem.Box{Lo: -20, Hi: 20}
	}
	if entry.Zero.Needs().Wants&problem.UpperSaddle != 0 {
		solvertest.Beside(l.Problem)
	}
	b, err := l.Problem.Bind(ex)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	e, _, err := solvers.Init(ctx, b, entry.Zero, profileIterations, 1)
	if err != nil {
		return nil, err
	}
	p = &profile{entry: entry, least: e.Counts(0), most: e.Counts(0), names: e.Names(), state: stateSize(e)}
	for k := range profileIterations {
		p.least, p.most = p.least.Least(e.Counts(k)), p.most.Most(e.Counts(k))
	}
	// What the host does between iterations is known once it is done.
	for k := range profileSteps {
		if err := e.Step(ctx, k, 1); err != nil {
			return nil, err
		}
		c := e.Charged()
		if c == (problem.Counts{}) {
			break
		}
		c = c.Plus(e.Counts(k), 1)
		if k == 0 {
			p.least, p.most = c, c
		}
		p.least, p.most = p.least.Least(c), p.most.Most(c)
	}
	return p, e.Close()
}

// stateSize is the number of elements of a state, by the sizes of x (p) and y (q) and the numbers n and m of
// minibatches of the lower and the upper level.
func stateSize(e *engine.Engine) string {
	units := []struct {
		size int
		name string
	}{
		{profileUpper, "p"}, {profileLower, "q"}, {profileN * profileUpper, "np"}, {profileN * profileLower, "nq"},
		{profileM * profileUpper, "mp"}, {profileM * profileLower, "mq"},
	}
	count, rest := make([]int, len(units)), 0
	for _, name := range e.Names() {
		size, known := e.Variable(name).Size(), false
		for i, u := range units {
			if u.size == size {
				count[i]++
				known = true
			}
		}
		if !known {
			rest += size
		}
	}
	var parts []string
	for i, u := range units {
		switch {
		case count[i] == 1:
			parts = append(parts, u.name)
		case count[i] > 1:
			parts = append(parts, fmt.Sprint(count[i], u.name))
		}
	}
	if rest > 0 {
		parts = append(parts, fmt.Sprint(rest))
	}
	return strings.Join(parts, " + ")
}

// sets says which sets of variables an algorithm can keep.
func sets(n solvers.Needs) string {
	sets := n.Usable & (problem.UpperSet | problem.LowerSet)
	switch sets {
	case 0:
		return "none"
	case problem.UpperSet | problem.LowerSet:
		return "of x and y"
	case problem.UpperSet:
		return "of x"
	}
	return "of y"
}

// minMax tells whether an algorithm can maximize the upper objective over a further variable.
func minMax(n solvers.Needs) string {
	if n.Usable&problem.UpperSaddle != 0 {
		return "yes"
	}
	return "no"
}

// WriteAlgorithms prints the algorithms as a table: principle, loops, the sets that each can keep, the size of its
// state, what an iteration costs with the settings that it chooses, as its engine counts it, and its paper.
func WriteAlgorithms(ctx context.Context, w io.Writer, ex *tensor.Executor) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "algorithm\tprinciple\tloops\tsets\tHessian-free\tmin-max\trate\tstate\tan iteration costs\tpaper")
	for _, entry := range solvers.Algorithms() {
		p, err := profileOf(ctx, ex, entry)
		if err != nil {
			return err
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", entry.Name(), entry.Principle, entry.Loops,
			sets(entry.Zero.Needs()), p.hessianFree(), minMax(entry.Zero.Needs()), orDash(entry.Rate), p.state,
			p.least.To(p.most), entry.Source)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	_, err := fmt.Fprint(w, `
State: elements for p upper and q lower variables; np, nq, mp and mq are tables for n lower and m upper minibatches.
∇G, ∇F: gradients of the lower and the upper objective; Hv, Cv: products with the lower Hessian and the mixed
derivative.
Hessian-free: no second derivatives are asked for. Rate: iterations, or samples where there are minibatches, until |∇h|²
is below ε under the assumptions of the papers, where n and m are the numbers of rows and γ is a penalty, or what it
is below after K iterations, where n is the number of objectives.
Min-max: the upper objective may be maximized over a further variable beside. With weights in the simplex as that
variable it is the worst of several objectives, so that these algorithms are the multi-objective ones, too; the others
minimize one upper objective.
A range is that of iterations that differ: series of random length, passes over all rows once a period.
The problem that calls are counted on has no linear equations; with them aipod and e-aipod take up to two products Hv
more.
`)
	return err
}

// WriteAlgorithm prints one algorithm: what it does and assumes, its state, its cost, and its settings with their
// defaults.
func WriteAlgorithm(ctx context.Context, w io.Writer, ex *tensor.Executor, entry solvers.Entry) error {
	p, err := profileOf(ctx, ex, entry)
	if err != nil {
		return err
	}
	settings, err := entry.Settings()
	if err != nil {
		return err
	}
	needs := entry.Zero.Needs()
	fmt.Fprintf(w, "%s: %s\n%s\n\n", entry.Name(), entry.Source, entry.About)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	usable := needs.Usable.Nouns()
	if usable == "" {
		usable = "nothing beyond two smooth objectives"
	}
	for _, line := range [][2]string{
		{"principle", string(entry.Principle)}, {"loops", entry.Loops}, {"rate", orDash(entry.Rate)},
		{"Hessian-free", p.hessianFree()}, {"min-max", minMax(needs)}, {"assumes", needs.Why}, {"can use", usable},
		{"state", fmt.Sprintf("%s (%s)", p.state, strings.Join(p.names, ", "))},
		{"an iteration costs", p.least.To(p.most)},
	} {
		fmt.Fprintf(t, "%s\t%s\n", line[0], line[1])
	}
	if needs.FixedBatches {
		fmt.Fprintf(t, "minibatches\tfixed ones, because it keeps a table with an entry for each\n")
	}
	if err := t.Flush(); err != nil {
		return err
	}
	fmt.Fprintln(w)
	fmt.Fprintln(t, "setting\tdefault\tmeaning")
	for _, s := range settings {
		value := s.Default
		if s.Chosen {
			value = "measured at the start"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\n", s.Name, value, s.Meaning)
	}
	return t.Flush()
}
