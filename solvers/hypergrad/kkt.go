package hypergrad

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
)

// KKT is the hypergradient of a problem whose lower level is constrained, by its set or by functions of (x, y), from
// the optimality conditions with multipliers (Giovannelli, Kent, Vicente 2021; Khanduri et al., ICML 2023, lemma 1;
// Blondel et al., NeurIPS 2022, section 2.2). With L = G + λᵀc, H = ∇²yy L, and the active constraints c_A and their
// rows E = ∂y c_A,
//
//	∇h ≈ g = ∇xF - ∇²xy L v - (∂x c_A)ᵀ ω,   [H Eᵀ; E 0][v; ω] = [∇yF; 0]
//
// at a y near the constrained minimizer. Bounds take their coordinates out of the system. The system is solved on the
// null space of the other active rows, v = Z(ZᵀHZ)⁻¹Zᵀ∇yF, by Solver on products with H that are projected before and
// after, without forming H (for CG this is the projected method: Nocedal, Wright, 2nd ed., algorithm 16.2); the rows
// are decomposed on the host. For H = γI, as in fast adversarial training (Zhang et al., ICML 2022), one Neumann term
// with the step 1/γ is the solution.
//
// A constraint is active where its multiplier, over the curvature of G along it, is larger than its distance from y,
// and also than Tolerance times the largest coordinate of y: below that it touches y, and is weakly active where the
// multiplier is not larger. Two products with H along vectors of 1 and -1 tell the curvatures: by how much each
// coordinate of ∇yG changes when all coordinates of y are off by as much. Multipliers are computed at y by least
// squares. The formula needs the active gradients to be independent, positive multipliers, and positive curvature on
// the null space. Notes tell where one of the first two fails, Status (NegativeCurvature) where the last does.
//
// Stationarity is |y - P(y - ∇yG)| for a set, and the residual of the optimality conditions where there are constraint
// functions. The error is an Estimate, to first order in the distance from the minimizer and its multipliers, by two
// more solves, and for the active set at y: it cannot know of constraints that y* has and y has not.
type KKT struct {
	Solver    linear.Solver
	Tolerance float64 // 0: the square root of the device's unit round-off
}

// MeasureMultipliers is the name of the residual of the lower level's optimality conditions with multipliers.
const MeasureMultipliers = "KKT residual of the lower level"

func (KKT) Name() string { return "kkt" }

// Needs says that sets and constraint functions are meant.
func (KKT) Needs() Needs {
	return Needs{
		Usable: problem.UpperSet | problem.UpperConstraints | problem.LowerSet | problem.LowerConstraints,
		Why: "optimality conditions with multipliers need one lower level with a smooth objective and smooth " +
			"constraints, whose variable lasts",
	}
}

// mostFunctions is how many constraint functions may be decomposed on the host.
const mostFunctions = 1024

// Prepare compiles the estimator. It reads x and y where they stand at each Compute.
func (m KKT) Prepare(b *problem.Bound, x, y *tensor.Variable) (Estimator, error) {
	if err := refuse(b, m, x, y); err != nil {
		return nil, err
	}
	l := &b.Lower
	switch _, described := b.Set(problem.Lower).(problem.Described); {
	case l.Set == nil && l.Inequality == nil && l.Equality == nil:
		return nil, fmt.Errorf("hypergrad: kkt: the lower level of %s has no set and no constraints: use Implicit",
			b.Name)
	case m.Solver == nil:
		return nil, wantClass(m.Name(), nil, 0, "")
	case l.Set != nil && !described:
		return nil, fmt.Errorf("hypergrad: kkt: the %s of y does not say its bounds and functions: give it the method "+
			"Describe (problem.Described), or write it as Lower.Inequality and Lower.Equality", l.Set)
	case !(m.Tolerance >= 0) || m.Tolerance >= 1:
		return nil, fmt.Errorf("hypergrad: kkt: Tolerance is %g: wants a number from 0 to below 1, a share of y's "+
			"largest coordinate; 0 is the square root of the unit round-off", m.Tolerance)
	}
	if m.Tolerance == 0 {
		m.Tolerance = math.Sqrt(b.Executor.Info().UnitRoundoff())
	}
	sc := b.Executor.Scope()
	k := &kkt{b: b, o: b.Oracle(), x: x, y: y, q: y.Size(), tolerance: m.Tolerance}
	if err := k.measure(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	if k.m > mostFunctions {
		return nil, errors.Join(fmt.Errorf("hypergrad: kkt: %d constraint functions, whose %d × %d matrix is "+
			"decomposed on the host: at most %d are meant; write bounds of coordinates as a set", k.m, k.m, k.m,
			mostFunctions),
			sc.Close())
	}
	k.variables(sc)
	e := &adjoint{method: m.Name(), measure: MeasureMultipliers, bound: b, scope: sc, oracle: k.o, x: x,
		parts: []*tensor.Variable{y}, n: k.q + k.m, equations: k.equations, before: k.decide, after: k.conclude}
	if k.m > 0 {
		e.parts = append(e.parts, k.lambda)
	}
	if l.Inequality == nil && l.Equality == nil {
		e.measure = MeasureProjected
	}
	k.e = e
	k.compile()
	var err error
	if e.across, err = k.system(m.Solver, true); err == nil {
		e.down, err = k.system(m.Solver, false)
	}
	if err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return e.prepare()
}

// kkt is what KKT knows of a problem, and what it decides at a point.
type kkt struct {
	b            *problem.Bound
	o            *problem.Oracle
	e            *adjoint
	x, y         *tensor.Variable
	q, m         int // coordinates of y, and constraint functions, inequalities first
	inequalities int
	bounded      bool
	tolerance    float64

	free, target          *tensor.Variable // [q], see face
	active, lambda, basis *tensor.Variable // [m], [m], [m,q]; nil where there are no functions
	gradient, lo, hi      *tensor.Variable // [q]
	values, unit          *tensor.Variable // [m]
	row                   *tensor.Variable // [q]: ∇c_i for the i-th unit vector
	bend                  *tensor.Variable // [q]: see constrained
	projected             *tensor.Variable // the stationarity of a set
	look                  program
	rows                  *tensor.Function
	face                  *face
	broken                bool // numbers at the point that are not finite
	stationarity          float64
}

// at builds the constraints at the point: bounds, and functions with the inequalities first.
func (k *kkt) at() (d problem.Description, c *tensor.Node) {
	d = k.o.Constraints(problem.Lower, k.x.Node(), k.y.Node(), k.b.All(problem.Lower))
	var parts []*tensor.Node
	for _, n := range []*tensor.Node{d.Inequality, d.Equality} {
		if n != nil {
			parts = append(parts, n)
		}
	}
	if len(parts) > 0 {
		c = tensor.Concat(0, parts...)
	}
	return d, c
}

// measure finds out how many constraints there are.
func (k *kkt) measure() error {
	return tensor.Catch(func() {
		d, c := k.at()
		k.bounded = d.Lo != nil
		if d.Inequality != nil {
			k.inequalities = d.Inequality.Size()
		}
		if c != nil {
			k.m = c.Size()
		}
	})
}

func (k *kkt) variables(sc *tensor.Scope) {
	vector := func(name string, shape ...int) *tensor.Variable {
		return sc.Variable("hypergradient "+name, tensor.Real, shape...)
	}
	k.free, k.target, k.gradient, k.row = vector("free", k.q), vector("bounds", k.q), vector("∇yG", k.q),
		vector("row", k.q)
	k.bend, k.projected = vector("bend", k.q), sc.Number("hypergradient projected")
	if k.bounded {
		k.lo, k.hi = vector("lo", k.q), vector("hi", k.q)
	}
	if k.m > 0 {
		k.active, k.lambda, k.values, k.unit = vector("active", k.m), vector("λ", k.m), vector("c", k.m),
			vector("unit", k.m)
		k.basis = vector("basis", k.m, k.q)
	}
}

func (k *kkt) lower() *problem.Point {
	return k.o.At(problem.Lower, k.x.Node(), k.y.Node(), k.b.All(problem.Lower), frozen, nil)
}

// compile makes the programs that look at the point.
func (k *kkt) compile() {
	y := k.y.Node()
	k.look = compileCounted(k.e.scope, k.o, "look", func() []tensor.Update {
		p := k.lower()
		g := p.GradY()
		d, c := k.at()
		bend := tensor.Zeros(k.q)
		for _, angle := range []float64{0.7548776662466927, 0.5698402909980532} {
			bend = bend.Add(p.HVP(signs(k.q, angle)).Abs().Scale(0.5))
		}
		stationarity := tensor.Const(0)
		if set := k.b.Set(problem.Lower); set != nil {
			stationarity = linear.Norm(set.Project(y.Sub(g), k.b.All(problem.Lower)).Sub(y))
		}
		updates := []tensor.Update{{Var: k.gradient, Value: g}, {Var: k.bend, Value: bend},
			{Var: k.projected, Value: stationarity}}
		if k.bounded {
			updates = append(updates, tensor.Update{Var: k.lo, Value: d.Lo}, tensor.Update{Var: k.hi, Value: d.Hi})
		}
		if k.m > 0 {
			updates = append(updates, tensor.Update{Var: k.values, Value: c})
		}
		return updates
	})
	if k.m > 0 {
		k.rows = k.e.scope.Compile("hypergradient rows", func() []tensor.Update {
			_, c := k.at()
			return []tensor.Update{{Var: k.row, Value: k.across(c, k.unit.Node())}}
		})
	}
}

// signs is a vector of 1 and -1 that looks random.
func signs(n int, angle float64) *tensor.Node {
	up := tensor.Const(0).Lt(tensor.Iota(0, n).ToReal().AddConst(1).Scale(2 * math.Pi * angle).Sin())
	return up.Scale(2).AddConst(-1)
}

// across is Eᵀω, along is E s.
func (k *kkt) across(c, omega *tensor.Node) *tensor.Node {
	return tensor.Grad(tensor.Dot(c, omega), k.y.Node())[0]
}

func (k *kkt) along(c, s *tensor.Node) *tensor.Node {
	return tensor.JVP([]*tensor.Node{c}, []*tensor.Node{k.y.Node()}, []*tensor.Node{s})[0]
}

// decide finds the active set where x and y stand.
func (k *kkt) decide(ctx context.Context, h *Hypergradient) error {
	if err := k.look.Run(1); err != nil {
		return err
	}
	h.Counts = h.Counts.Plus(k.look.counts, 1)
	c := &constrained{equality: make([]bool, k.m), inequalities: k.inequalities, rows: make([][]float64, k.m),
		rank: 1000 * k.b.Executor.Info().UnitRoundoff()}
	for _, r := range []struct {
		from *tensor.Variable
		to   *[]float64
	}{{k.y, &c.y}, {k.gradient, &c.gradient}, {k.lo, &c.lo}, {k.hi, &c.hi}, {k.values, &c.values}, {k.bend, &c.bend}} {
		if r.from == nil {
			continue
		}
		var err error
		if *r.to, err = r.from.Read(); err != nil {
			return err
		}
	}
	for i := range k.m {
		c.equality[i] = i >= k.inequalities
		unit := make([]float64, k.m)
		unit[i] = 1
		var err error
		if c.rows[i], err = k.rowOf(ctx, unit); err != nil {
			return err
		}
	}
	var err error
	if k.stationarity, err = k.projected.Number(); err != nil {
		return err
	}
	return k.choose(c, h)
}

// rowOf is ∇c_i for the i-th unit vector.
func (k *kkt) rowOf(ctx context.Context, unit []float64) ([]float64, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := k.unit.Write(unit); err != nil {
		return nil, err
	}
	if err := k.rows.Run(1); err != nil {
		return nil, err
	}
	return k.row.Read()
}

// choose sets the tolerances and writes the active set to the device.
func (k *kkt) choose(c *constrained, h *Hypergradient) (err error) {
	largest := func(v []float64) (out float64) {
		for _, e := range v {
			out = max(out, math.Abs(e))
		}
		return out
	}
	size := largest(c.y)
	if size == 0 {
		size = 1
	}
	info := k.b.Executor.Info()
	c.distance = k.tolerance * size
	fill(c.bend)
	c.noise = 10 * info.UnitRoundoff() * info.SumError(k.q) * largest(c.gradient)
	k.broken = !finite(c.y) || !finite(c.gradient) || !finite(c.values) || !finite(c.bend) ||
		!finite([]float64{k.stationarity})
	for _, r := range c.rows {
		k.broken = k.broken || !finite(r)
	}
	if k.broken {
		h.Notes = append(h.Notes, "The lower level is not finite here.")
		k.face = &face{free: make([]float64, k.q), target: c.y, active: make([]float64, k.m),
			lambda: make([]float64, k.m)}
		k.e.doubt = true
	} else if k.face, err = c.find(); err != nil {
		return err
	}
	f := k.face
	if k.e.measure == MeasureMultipliers {
		k.stationarity = f.residual
	}
	h.Notes = append(h.Notes, f.notes()...)
	if err := errors.Join(k.free.Write(f.free), k.target.Write(f.target)); err != nil || k.m == 0 {
		return err
	}
	return errors.Join(k.active.Write(f.active), k.lambda.Write(f.lambda), k.basis.Write(f.basis()))
}

// fill gives coordinates in which G does not bend the mean curvature of the others, and 1 where it bends in none: a
// force must be worth some distance.
func fill(bend []float64) {
	mean := floats.Norm(bend, 2) / math.Sqrt(float64(len(bend)))
	if mean == 0 {
		mean = 1
	}
	for i, b := range bend {
		if b == 0 {
			bend[i] = mean
		}
	}
}

func finite(v []float64) bool {
	for _, e := range v {
		if math.IsNaN(e) || math.IsInf(e, 0) {
			return false
		}
	}
	return true
}

// conclude tells the measure that fits, and what a failed solve means here.
func (k *kkt) conclude(h *Hypergradient) error {
	h.Stationarity = k.stationarity
	if k.broken {
		h.Status = linear.NotFinite
	}
	if h.Status == linear.NegativeCurvature {
		h.Notes = append(h.Notes, "The Lagrangian does not curve upwards in every direction that the active "+
			"constraints leave (the second-order condition fails): y is no strict minimizer, and y*(x) "+
			"need not be differentiable.")
	}
	return nil
}
