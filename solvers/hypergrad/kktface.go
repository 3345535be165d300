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
	// A constraint holds y where it is nearer than distance and its multiplier is above force. Both are absolute;
	// constraint functions are measured in units of |E_i|.
	distance, force float64
	rank            float64 // singular values below this share of 1 mean that unit rows depend on each other
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

	held, rank  int
	weak, wrong []string // constraints at y without a multiplier, and with one of the wrong sign
	flat        []string // functions that hold y with a gradient of 0
	residual    float64
}

// find chooses the active set: it starts from all constraints that y is near to, computes multipliers by least squares
// from ∇G + Eᵀλ = 0 on the free coordinates, drops those whose multiplier is not above the threshold, and repeats until
// nothing is dropped. Functions are not dropped while rows depend on each other, because then multipliers are not
// unique.
func (c *constrained) find() (*face, error) {
	q, m := len(c.y), len(c.values)
	f := &face{free: make([]float64, q), target: make([]float64, q), active: make([]float64, m),
		lambda: make([]float64, m)}
	side, dropped := make([]float64, q), make(map[string]float64) // side: 1 at lo, -1 at hi, 2 where both are one
	length := make([]float64, m)
	for i, y := range c.y {
		f.free[i] = 1
		if c.lo == nil {
			continue
		}
		switch lo, hi := c.lo[i], c.hi[i]; {
		case hi-lo <= c.distance:
			side[i] = 2
		case y-lo <= c.distance:
			side[i] = 1
		case hi-y <= c.distance:
			side[i] = -1
		}
	}
	for i := range m {
		length[i] = floats.Norm(c.rows[i], 2)
		near := c.equality[i] || c.values[i] >= -c.distance*length[i]
		switch {
		case near && length[i] == 0:
			f.flat = append(f.flat, c.row(i))
		case near:
			f.active[i] = 1
		}
	}
	var slope []float64 // ∇L
	for again := true; again; {
		again = false
		f.held = 0
		for i := range q {
			f.free[i], f.target[i] = 1, 0
			if side[i] != 0 {
				f.held++
				f.free[i], f.target[i] = 0, c.lo[i]
				if side[i] < 0 {
					f.target[i] = c.hi[i]
				}
			}
		}
		if err := f.factor(c, length); err != nil {
			return nil, err
		}
		clear(f.lambda)
		negative := make([]float64, q)
		floats.AddScaled(negative, -1, c.gradient)
		for k, l := range f.multipliers(negative) {
			f.lambda[f.index[k]] = l
		}
		slope = append([]float64(nil), c.gradient...)
		for i, l := range f.lambda {
			if l != 0 {
				floats.AddScaled(slope, l, c.rows[i])
			}
		}
		for i := range q {
			if side[i] == 1 || side[i] == -1 {
				if push := slope[i] * side[i]; !(push > c.force) {
					dropped[c.bound(i, side[i])] = push
					side[i], again = 0, true
				}
			}
		}
		if f.rank < len(f.index) {
			continue
		}
		for _, i := range f.index {
			if push := f.lambda[i] * length[i]; !c.equality[i] && !(push > c.force) {
				dropped[c.row(i)] = push
				f.active[i], again = 0, true
			}
		}
	}
	f.finish(c, slope, length, dropped)
	return f, nil
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
func (f *face) finish(c *constrained, slope, length []float64, dropped map[string]float64) {
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
	tell := func(name string) {
		push, ok := dropped[name]
		switch {
		case !ok:
		case push < -c.force && stationary > c.force:
			f.wrong = append(f.wrong, name)
		default:
			f.weak = append(f.weak, name)
		}
	}
	for i := range c.y {
		tell(c.bound(i, 1))
		tell(c.bound(i, -1))
	}
	for i := range c.values {
		tell(c.row(i))
	}
}

func (c *constrained) bound(i int, side float64) string {
	if side > 0 {
		return fmt.Sprintf("the lower bound of y[%d]", i)
	}
	return fmt.Sprintf("the upper bound of y[%d]", i)
}

func (c *constrained) row(i int) string {
	if i < c.inequalities {
		return fmt.Sprintf("inequality %d", i)
	}
	return fmt.Sprintf("equality %d", i-c.inequalities)
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
		out = append(out, fmt.Sprintf("Weakly active: %s. These constraints touch y with a multiplier of 0, so that h has "+
			"one-sided derivatives only; this is the derivative without them.", some(f.weak)))
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
