// Package check holds the estimators of hypergradients against the truth, on problems that come with the program and on
// a user's own: Report solves the lower level to the end, differences the value function in float64, and says of every
// method how far it is off, what it costs, and which one to take.
package check

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"bilevel/internal/philox"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
)

// Options say where a problem is checked, and how far. The zero value checks it at its start values.
type Options struct {
	X          []float64 // nil: Upper.Start
	Seed       uint64    // of the directions, where x has more coordinates than Directions
	Directions int       // along which the value function is differenced; 0: 32
	// Tolerance is a relative error that is good enough: smaller ones count as equal for the recommendation.
	Tolerance float64
	// Families asks for the error over the calls, of the estimators whose work can be chosen.
	Families bool
	// Estimators are what is checked; nil: a selection that fits the problem, see the function Estimators.
	Estimators []Candidate
}

// Candidate is an estimator with its settings, under a name for the table.
type Candidate struct {
	Label  string
	Method hypergrad.Method
	// FromStart begins at the start value of y and not at y*: the steps of the method solve the lower level too.
	FromStart bool
}

// Row is one estimator on a problem.
type Row struct {
	Label     string `json:"estimator"`
	Refused   string `json:"refused,omitempty"` // the reason, where it does not apply
	FromStart bool   `json:"from_start,omitempty"`
	// Error is |g - ∇h| over |∇h|, both along the directions of the differences; absolute where ∇h vanishes. Cosine is
	// that of the angle between them.
	Error    Number `json:"error"`
	Cosine   Number `json:"cosine"`
	Residual Number `json:"residual"`       // of the linear system
	Share    Number `json:"implicit_share"` // |C v| / |g|, of the term that comes from y*(x)
	// Figure is what the estimator itself says of |g - ∇h|, on the scale of Error; Kind says what it is worth.
	Figure  Number         `json:"figure"`
	Kind    hypergrad.Kind `json:"kind,omitempty"`
	Bias    string         `json:"bias,omitempty"`
	Status  string         `json:"status,omitempty"`
	Counts  problem.Counts `json:"calls"` // of the gradient alone, without those for the figure
	States  int            `json:"states"`
	Seconds float64        `json:"seconds"`
	Notes   []string       `json:"notes,omitempty"`
}

// Number is a float64 that JSON writes as null where it is not finite.
type Number float64

// MarshalJSON writes null for NaN and infinities.
func (n Number) MarshalJSON() ([]byte, error) {
	if v := float64(n); math.IsNaN(v) || math.IsInf(v, 0) {
		return []byte("null"), nil
	}
	return fmt.Appendf(nil, "%g", float64(n)), nil
}

// Result is a problem checked.
type Result struct {
	Problem string `json:"problem"`
	Upper   int    `json:"upper_variables"`
	Lower   int    `json:"lower_variables"`
	// Size is |∇h| along so many orthonormal directions, by differences; Uncertainty is how well they are known.
	Size        float64   `json:"gradient_norm"`
	Directions  int       `json:"directions"`
	Uncertainty float64   `json:"uncertainty"`
	Gradient    []float64 `json:"gradient,omitempty"` // ∇h by differences, where the directions are the coordinates
	Value       float64   `json:"value"`              // h(x)
	LowerExact  float64   `json:"lower_exact"`        // the norm of what should vanish at y*
	Smallest    Number    `json:"smallest"`           // eigenvalue of H at y*; NaN where it was not computed
	Largest     Number    `json:"largest"`            //
	Rows        []Row     `json:"estimators"`
	Families    []Family  `json:"families,omitempty"` // where they were asked for
	Recommended string    `json:"recommended"`        // the label; empty where no estimator can be recommended
	Words       []string  `json:"words"`              // what there is to say, in sentences
}

// Report holds every way to differentiate through a problem's argmin against differences of h(x) = F(x, y*(x)) in
// float64, with the lower level solved to the last digits at each point. It is for problems of up to some hundred lower
// variables: take a sample of the rows, or a small model, of a larger one.
func Report(ctx context.Context, p *problem.Problem, opt Options) (_ *Result, err error) {
	own, err := problem.OpenDevice("ref")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, own.Close()) }()
	b, err := p.Bind(own.Executor)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	return report(ctx, b, b, opt)
}

// report takes the truth from a problem bound to a device of float64, and the estimators from the same problem on any
// device.
func report(ctx context.Context, exact, other *problem.Bound, opt Options) (_ *Result, err error) {
	c := &checker{b: exact, sc: exact.Executor.Scope(), opt: opt, on: other, onScope: other.Executor.Scope()}
	defer func() { err = errors.Join(err, c.sc.Close(), c.onScope.Close()) }()
	return c.run(ctx)
}

// checker is one Report at work.
type checker struct {
	b       *problem.Bound // for the truth
	sc      *tensor.Scope
	x       *tensor.Variable
	on      *problem.Bound // for the estimators
	onScope *tensor.Scope
	at, y   *tensor.Variable // the point that the estimators read
	opt     Options
	point   []float64 // x
	lower   *lower
	truth   *truth
	out     *Result
}

func (c *checker) run(ctx context.Context) (*Result, error) {
	if c.b.PerBatch != nil || c.b.Upper.Saddle != nil {
		return nil, fmt.Errorf("the problem %s %s, which check cannot solve to the last digits: give two "+
			"objectives to be minimized and a variable that lasts", c.b.Name,
			c.b.Features()&(problem.LowerPerBatch|problem.UpperSaddle))
	}
	np, nq := c.b.Upper.Start.Size(), c.b.Lower.Start.Size()
	c.point = c.opt.X
	if c.point == nil {
		c.point = c.b.Upper.Start.Flat
	}
	if len(c.point) != np {
		return nil, fmt.Errorf("the point has %d upper variables, the problem %s has %d", len(c.point), c.b.Name, np)
	}
	c.x = c.sc.Variable("check x", tensor.Real, np)
	c.at, c.y = c.onScope.Variable("x", tensor.Real, np), c.onScope.Variable("y", tensor.Real, nq)
	if err := c.x.Write(c.point); err != nil {
		return nil, err
	}
	l, err := newLower(c.b, c.sc, c.x)
	if err != nil {
		return nil, err
	}
	c.lower = l
	v, err := newValue(l)
	if err != nil {
		return nil, err
	}
	directions := c.directions(np)
	if c.truth, err = v.differences(ctx, c.point, c.b.Lower.Start.Flat, directions); err != nil {
		return nil, err
	}
	c.out = &Result{
		Problem: c.b.Name, Upper: np, Lower: nq, Size: c.truth.size(), Directions: len(directions),
		Uncertainty: c.truth.uncertain, Value: c.truth.h, LowerExact: c.truth.exact,
	}
	if len(directions) == np {
		c.out.Gradient = c.truth.slopes
	}
	s, err := c.spectrum(ctx)
	if err != nil {
		return nil, err
	}
	c.out.Smallest, c.out.Largest = Number(s.least), Number(s.largest)
	candidates := c.opt.Estimators
	if candidates == nil {
		candidates = Estimators(c.b.Problem, s, c.on.Executor.Info().UnitRoundoff())
	}
	for _, one := range candidates {
		row, err := c.row(ctx, one)
		if err != nil {
			return nil, err
		}
		c.out.Rows = append(c.out.Rows, row)
	}
	c.recommend()
	if c.opt.Families {
		if c.out.Families, err = c.families(ctx, s); err != nil {
			return nil, err
		}
	}
	return c.out, c.words(ctx, s)
}

// directions are the coordinates, or as many random orthonormal vectors as are wanted.
func (c *checker) directions(n int) [][]float64 {
	m := c.opt.Directions
	if m == 0 {
		m = 32
	}
	m = min(m, n)
	var out [][]float64
	for k := range m {
		d := make([]float64, n)
		if m == n {
			d[k] = 1
			out = append(out, d)
			continue
		}
		draws := make([]float32, n)
		philox.Normals(draws, c.opt.Seed, uint32(k), philox.StreamProbe, 0)
		for i, z := range draws {
			d[i] = float64(z)
		}
		for range 2 { // Gram and Schmidt, twice for orthogonality to rounding
			for _, other := range out {
				floats.AddScaled(d, -floats.Dot(d, other), other)
			}
		}
		floats.Scale(1/floats.Norm(d, 2), d)
		out = append(out, d)
	}
	return out
}

// row computes one estimator at (x, y*), or from the start value of y.
func (c *checker) row(ctx context.Context, one Candidate) (Row, error) {
	r := Row{Label: one.Label, FromStart: one.FromStart}
	from := c.truth.y
	if one.FromStart {
		from = c.b.Lower.Start.Flat
	}
	if err := errors.Join(c.at.Write(c.point), c.y.Write(from)); err != nil {
		return r, err
	}
	e, err := one.Method.Prepare(c.on, c.at, c.y)
	if err != nil {
		if ctx.Err() != nil {
			return r, ctx.Err()
		}
		r.Refused = err.Error()
		return r, nil
	}
	begun := time.Now()
	h, err := e.Compute(ctx)
	r.Seconds = time.Since(begun).Seconds()
	if err = errors.Join(err, e.Close()); err != nil {
		return r, fmt.Errorf("%s: %w", one.Label, err)
	}
	r.Residual, r.Kind, r.Bias, r.Counts, r.States, r.Notes = Number(h.Residual), h.Kind, h.Bias,
		h.Counts.Plus(h.ForError, -1), h.States,
		h.Notes
	r.Share = Number(h.Share())
	if h.Status != linear.Converged {
		r.Status = h.Status.String()
	}
	along := make([]float64, len(c.truth.directions))
	for i, d := range c.truth.directions {
		along[i] = floats.Dot(d, h.Gradient)
	}
	scale := 1.0
	if !c.vanishes() {
		scale = c.truth.size()
		if size := floats.Norm(along, 2); size > 0 {
			r.Cosine = Number(floats.Dot(along, c.truth.slopes) / (scale * size))
		}
	} else {
		r.Cosine = Number(math.NaN())
	}
	r.Error, r.Figure = Number(floats.Distance(along, c.truth.slopes, 2)/scale), Number(h.Error/scale)
	return r, nil
}

// vanishes tells whether ∇h is zero as far as differences can tell.
func (c *checker) vanishes() bool {
	return c.truth.size() <= max(10*c.truth.uncertain, 1e-9*max(1, math.Abs(c.truth.h)))
}

// usable tells whether a row may be recommended: its numbers are finite, and it begins where all others do.
func (r Row) usable() bool {
	e := float64(r.Error)
	return r.Refused == "" && !r.FromStart && !math.IsNaN(e) && !math.IsInf(e, 0)
}

// recommend chooses the estimator that needs the fewest oracle calls among those within twice the smallest error;
// errors below what the differences resolve, and those below Tolerance, count as equal. Of equals the one of the
// smaller error is taken, then the first.
func (c *checker) recommend() {
	floor := c.truth.uncertain * math.Sqrt(float64(len(c.truth.slopes)))
	if !c.vanishes() {
		floor /= c.truth.size()
	}
	if i := recommended(c.out.Rows, max(floor, c.opt.Tolerance)); i >= 0 {
		c.out.Recommended = c.out.Rows[i].Label
	}
}

// recommended is the place of the row to recommend, -1 where there is none.
func recommended(rows []Row, floor float64) int {
	level := func(r Row) float64 { return max(float64(r.Error), floor) }
	best := math.Inf(1)
	for _, r := range rows {
		if r.usable() {
			best = min(best, level(r))
		}
	}
	var near []int
	for i, r := range rows {
		if r.usable() && level(r) <= 2*best {
			near = append(near, i)
		}
	}
	if len(near) == 0 {
		return -1
	}
	return slices.MinFunc(near, func(i, j int) int {
		a, b := rows[i], rows[j]
		return cmp.Or(cmp.Compare(a.Counts.Calls(), b.Counts.Calls()), cmp.Compare(level(a), level(b)))
	})
}
