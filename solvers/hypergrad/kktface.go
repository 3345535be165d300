package hypergrad

import (
	"fmt"
	"math"
	"strings"

	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// constrained is what is known at a point y about the constraints lo <= y <= hi and c(y) <= 0 (or = 0), with the
// gradient of the objective and the rows E_i = ∇c_i.
type constrained struct {
	y, lo, hi, gradient []float64
	values              []float64 // c
	rows                [][]float64
	equality            []bool // c_i = 0
	inequalities        int    // the first of the rows, for names
	// What is nearer than distance counts as touching; constraint functions are measured in units of |E_i|. The force
	// of a constraint, its multiplier, is worth a distance by the objective's curvature, and below noise it is
	// rounding.
	distance, noise float64
	bend            []float64 // by how much ∇L_i changes where each coordinate of y moves by 1, in any direction
	rank            float64   // singular values below this share of 1 mean that unit rows depend on each other
}

// face is the active set at a point: where the constraints that hold y leave it free to move.
type face struct {
	free   []float64 // 1 for coordinates that no bound holds, else 0
	target []float64 // the bound of a held coordinate, else 0
	active []float64 // 1 for functions that hold y, else 0
	lambda []float64 // their multipliers, 0 for the others

	index    []int     // of the active functions
	length   []float64 // their |E_i|
	u, v     *mat.Dense
	singular []float64 // of the active rows over their lengths, restricted to free coordinates: u diag(singular) vᵀ

	held, rank int
	weak       []string // constraints that touch y without a multiplier
	wrong      []string // constraints that touch y with a multiplier of the wrong sign
	unsure     []string // constraints whose distance and force are about the same
	flat       []string // functions that hold y with a gradient of 0
	residual   float64
}

// candidate is a constraint that may hold y: a bound of a coordinate or a function.
type candidate struct {
	row     int     // of a function, else -1
	at      int     // coordinate of a bound
	side    float64 // of a bound: 1 lower, -1 upper
	slack   float64 // distance from y, 0 where y violates it
	always  bool    // equalities, and coordinates without room
	held    bool
	added   bool // it came in for the second time: it stays out when it is dropped again
	push    float64
	dropped bool

	curvature float64
	share     float64 // of the step of ∇L, how much of it ends at this constraint
}

// candidates lists all constraints. Of a coordinate's two bounds the nearer one counts.
func (c *constrained) candidates(length []float64) (out []*candidate) {
	for i, y := range c.y {
		if c.lo == nil {
			break
		}
		lo, hi := c.lo[i], c.hi[i]
		b := &candidate{row: -1, at: i, side: 1, slack: max(0, y-lo), always: hi-lo <= c.distance}
		if hi-y < y-lo {
			b.side, b.slack = -1, max(0, hi-y)
		}
		if !math.IsInf(b.slack, 0) {
			out = append(out, b)
		}
	}
	for i, v := range c.values {
		switch {
		case length[i] > 0:
			out = append(out, &candidate{row: i, slack: max(0, -v/length[i]), always: c.equality[i]})
		case c.equality[i] || v >= 0:
			out = append(out, &candidate{row: i, always: true, dropped: true}) // a gradient of 0
		}
	}
	for _, b := range out {
		b.held = !b.dropped && (b.always || b.slack <= c.distance)
		if b.row < 0 || length[b.row] > 0 {
			b.curvature = c.curvature(b, length)
		}
	}
	return out
}

// curvature is what the force of a constraint changes by where y moves by 1 in each coordinate: of a bound that of its
// coordinate, so that a stiff coordinate says nothing of the bounds of others, of a function that along its unit row.
func (c *constrained) curvature(b *candidate, length []float64) float64 {
	if b.row < 0 {
		return c.bend[b.at]
	}
	sum := 0.0
	for j, e := range c.rows[b.row] {
		sum += e * e / (length[b.row] * length[b.row]) * c.bend[j] * c.bend[j]
	}
	return math.Sqrt(sum)
}

// force is the multiplier that a constraint must have to hold y.
func (c *constrained) force(b *candidate) float64 {
	return max(c.noise, b.curvature*max(c.distance, b.slack))
}

// find chooses the active set by the primal-dual rule (Hintermüller, Ito, Kunisch, SIAM J. Optim. 13, 2003): a
// constraint holds y where its multiplier, over the curvature, is larger than its distance. It begins with what touches
// y, and repeats until nothing changes: multipliers by least squares from ∇G + Eᵀλ = 0 on the free coordinates; what
// holds y without the multiplier for it is dropped; of what a step of ∇L over the curvature would violate, that which
// the step meets first is added, since what stops there never meets the rest. Functions are not dropped while rows
// depend on each other, because then multipliers are not unique.
func (c *constrained) find() (*face, error) {
	q, m := len(c.y), len(c.values)
	f := &face{free: make([]float64, q), target: make([]float64, q), active: make([]float64, m),
		lambda: make([]float64, m)}
	length := make([]float64, m)
	for i := range m {
		length[i] = floats.Norm(c.rows[i], 2)
	}
	all := c.candidates(length)
	for {
		slope, err := f.settle(c, all, length)
		if err != nil {
			return nil, err
		}
		if !f.change(c, all, slope, length) {
			f.finish(c, all, slope, length)
			return f, nil
		}
	}
}

// settle takes the candidates that are held now as the active set, with their multipliers. It gives ∇L.
func (f *face) settle(c *constrained, all []*candidate, length []float64) (slope []float64, err error) {
	f.held = 0
	for i := range f.free {
		f.free[i], f.target[i] = 1, 0
	}
	clear(f.active)
	clear(f.lambda)
	for _, b := range all {
		switch {
		case !b.held:
		case b.row >= 0:
			f.active[b.row] = 1
		default:
			f.held++
			f.free[b.at], f.target[b.at] = 0, c.lo[b.at]
			if b.side < 0 {
				f.target[b.at] = c.hi[b.at]
			}
		}
	}
	if err := f.factor(c, length); err != nil {
		return nil, err
	}
	negative := make([]float64, len(f.free))
	floats.AddScaled(negative, -1, c.gradient)
	for k, l := range f.multipliers(negative) {
		f.lambda[f.index[k]] = l
	}
	slope = append(slope, c.gradient...)
	for i, l := range f.lambda {
		if l != 0 {
			floats.AddScaled(slope, l, c.rows[i])
		}
	}
	return slope, nil
}

// change drops and adds candidates, each at most twice, and tells whether it did.
func (f *face) change(c *constrained, all []*candidate, slope, length []float64) (changed bool) {
	const group = 10 // what a step meets within so many times the share of the first counts as met together
	var met []*candidate
	first := math.Inf(1)
	for _, b := range all {
		switch {
		case b.always:
		case b.held:
			if b.row < 0 {
				b.push = b.side * slope[b.at]
			} else if b.push = f.lambda[b.row] * length[b.row]; f.rank < len(f.index) {
				continue
			}
			if !(b.push > c.force(b)) {
				b.held, b.dropped, changed = false, true, true
			}
		case !b.added:
			want := f.step(c, b, slope, length)
			if room := max(b.slack, c.distance); want > 2*room {
				b.share = room / want
				met, first = append(met, b), min(first, b.share)
			}
		}
	}
	for _, b := range met {
		if b.share <= group*first {
			b.held, b.added, changed = true, true, true
		}
	}
	return changed
}

// step is how far a step of ∇L over the curvature, coordinate by coordinate, goes towards a constraint.
func (f *face) step(c *constrained, b *candidate, slope, length []float64) (want float64) {
	if b.row < 0 {
		return b.side * slope[b.at] / c.bend[b.at]
	}
	for j, e := range c.rows[b.row] {
		want -= f.free[j] * e * slope[j] / length[b.row] / c.bend[j]
	}
	return want
}

// factor decomposes the active rows, over their lengths and restricted to the free coordinates.
func (f *face) factor(c *constrained, length []float64) error {
	f.index, f.length, f.u, f.v, f.singular, f.rank = nil, nil, nil, nil, nil, 0
	for i, a := range f.active {
		if a != 0 {
			f.index, f.length = append(f.index, i), append(f.length, length[i])
		}
	}
	if len(f.index) == 0 {
		return nil
	}
	e := mat.NewDense(len(f.index), len(f.free), nil)
	for k, i := range f.index {
		for j, free := range f.free {
			e.Set(k, j, free*c.rows[i][j]/length[i])
		}
	}
	var svd mat.SVD
	if !svd.Factorize(e, mat.SVDThin) {
		return fmt.Errorf("hypergrad: kkt: the %d active constraints have gradients that are not finite", len(f.index))
	}
	f.singular = svd.Values(nil)
	for f.rank < len(f.singular) && f.singular[f.rank] > c.rank {
		f.rank++
	}
	f.u, f.v = &mat.Dense{}, &mat.Dense{}
	svd.UTo(f.u)
	svd.VTo(f.v)
	return nil
}

// multipliers are the least-norm λ of the active functions with Eᵀλ nearest to t on the free coordinates.
func (f *face) multipliers(t []float64) []float64 {
	out := make([]float64, len(f.index))
	for s := range f.rank {
		along := 0.0
		for j, v := range t {
			along += f.v.At(j, s) * v * f.free[j]
		}
		for k := range out {
			out[k] += f.u.At(k, s) * along / f.singular[s] / f.length[k]
		}
	}
	return out
}

// reach is the shortest move s of the free coordinates with E s = beta for the active functions.
func (f *face) reach(beta []float64) []float64 {
	out := make([]float64, len(f.free))
	for s := range f.rank {
		along := 0.0
		for k, i := range f.index {
			along += f.u.At(k, s) * beta[i] / f.length[k]
		}
		for j := range out {
			out[j] += f.v.At(j, s) * along / f.singular[s]
		}
	}
	return out
}

// room is the number of directions that the active constraints leave.
func (f *face) room() int { return len(f.free) - f.held - f.rank }

// basis is an orthonormal basis of the active rows in m rows of q numbers, the ones that are left over being 0.
func (f *face) basis() []float64 {
	q := len(f.free)
	out := make([]float64, len(f.active)*q)
	for s := range f.rank {
		for j := range q {
			out[s*q+j] = f.v.At(j, s)
		}
	}
	return out
}

// finish tells doubtful constraints and the residual of the optimality conditions,
//
//	(y - clip(y - ∇L), min(λ_i, -c_i) for inequalities, c_i for equalities),
//
// with functions in units of |E_i|.
func (f *face) finish(c *constrained, all []*candidate, slope, length []float64) {
	sum, stationary := 0.0, 0.0
	add := func(v float64) { sum += v * v }
	for i, s := range slope {
		to := c.y[i] - s
		if c.lo != nil {
			to = min(max(to, c.lo[i]), c.hi[i])
		}
		add(c.y[i] - to)
		stationary = max(stationary, f.free[i]*math.Abs(s))
	}
	for i, v := range c.values {
		unit := length[i]
		if unit == 0 {
			unit = 1
		}
		if c.equality[i] {
			add(v / unit)
		} else {
			add(min(f.lambda[i]*unit, -v/unit))
		}
	}
	f.residual = math.Sqrt(sum)
	for _, b := range all {
		worth := b.curvature * b.slack
		switch {
		case b.row >= 0 && length[b.row] == 0:
			f.flat = append(f.flat, c.name(b))
		case b.always:
		case b.slack > c.distance:
			const about = 10
			if b.push > worth/about && b.push < worth*about {
				f.unsure = append(f.unsure, c.name(b))
			}
		case b.held:
		case b.push < -c.force(b) && stationary > c.force(b):
			f.wrong = append(f.wrong, c.name(b))
		default:
			f.weak = append(f.weak, c.name(b))
		}
	}
}

// name says which constraint a candidate is.
func (c *constrained) name(b *candidate) string {
	switch {
	case b.row >= c.inequalities:
		return fmt.Sprintf("equality %d", b.row-c.inequalities)
	case b.row >= 0:
		return fmt.Sprintf("inequality %d", b.row)
	case b.side > 0:
		return fmt.Sprintf("the lower bound of y[%d]", b.at)
	}
	return fmt.Sprintf("the upper bound of y[%d]", b.at)
}

// some lists the first few names.
func some(names []string) string {
	const most = 3
	if len(names) <= most {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
}

// notes are sentences about what makes the derivative doubtful.
func (f *face) notes() (out []string) {
	if len(f.weak) > 0 {
		out = append(out, fmt.Sprintf("Weakly active: %s. These constraints touch y with a multiplier of 0, so that h "+
			"has one-sided derivatives only; this is the derivative without them.", some(f.weak)))
	}
	if len(f.unsure) > 0 {
		out = append(out, fmt.Sprintf("Not sure whether active: %s. The distance of y from it and its multiplier are "+
			"about the same: solve the lower level further.", some(f.unsure)))
	}
	if len(f.wrong) > 0 {
		out = append(out, fmt.Sprintf("The multiplier of %s has the wrong sign: y is not a minimizer, which the "+
			"stationarity measures.", some(f.wrong)))
	}
	if f.rank < len(f.index) || len(f.flat) > 0 {
		out = append(out, fmt.Sprintf("The gradients of the %d active constraint functions have rank %d on the "+
			"coordinates that no bound holds, so that multipliers are not unique (linear independence fails).",
			len(f.index)+len(f.flat), f.rank))
	}
	return out
}
