package check

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"

	"gonum.org/v1/gonum/floats"
)

// valueFunction is h(x) = F(x, y*(x)) with y* near a given y.
type valueFunction struct {
	l    *lower
	y, f *tensor.Variable
	fn   *tensor.Function
}

func newValue(l *lower) (*valueFunction, error) {
	v := &valueFunction{l: l, y: l.sc.Variable("check y", tensor.Real, l.b.Lower.Start.Size()),
		f: l.sc.Number("check F")}
	v.fn = l.sc.Compile("upper value", func() []tensor.Update {
		all := l.b.All(problem.Upper)
		p := l.b.Oracle().At(problem.Upper, l.x.Node(), v.y.Node(), all, params.TrainFrozen, l.state)
		return []tensor.Update{{Var: v.f, Value: p.Value().Reshape()}}
	})
	return v, l.sc.Err()
}

// at is h at x, the lower level solved from y on, which takes the solution. exact is the norm of what should vanish.
func (v *valueFunction) at(ctx context.Context, x, y []float64) (h, exact float64, err error) {
	if err = v.l.x.Write(x); err != nil {
		return 0, 0, err
	}
	if exact, err = v.l.solve(ctx, y); err != nil {
		return 0, 0, err
	}
	if err = errors.Join(v.y.Write(y), v.fn.Run(1)); err != nil {
		return 0, 0, err
	}
	h, err = v.f.Number()
	return h, exact, err
}

// truth is the derivative of h along directions that are orthonormal, by differences.
type truth struct {
	directions [][]float64
	slopes     []float64
	uncertain  float64 // of a slope: the largest difference between two orders of extrapolation
	kink       bool    // one-sided slopes differ
	h          float64
	y          []float64 // y*(x)
	exact      float64   // the norm of what should vanish at y*
}

// size is the norm of the slopes: that of ∇h where the directions span all of space.
func (t *truth) size() float64 { return floats.Norm(t.slopes, 2) }

// differences gives the slopes along directions. Nothing is known about the scale on which h varies, so that a few
// steps are tried, in units of max(1, the root mean square of x). For each step s, central differences with s, s/2 and
// s/4 are extrapolated twice (Richardson), which leaves an error of the order s⁶, and the round-off of h over s. What
// the last extrapolation changed and that round-off are taken for its uncertainty; the step with the smallest is used.
func (v *valueFunction) differences(ctx context.Context, x, y []float64, directions [][]float64) (*truth, error) {
	t := &truth{directions: directions, y: slices.Clone(y)}
	var err error
	if t.h, t.exact, err = v.at(ctx, x, t.y); err != nil {
		return nil, err
	}
	if !(t.exact <= enough) {
		return nil, fmt.Errorf("the lower level cannot be solved near its start values: what should vanish there "+
			"still has the norm %.2g; start nearer to the solution, or check whether it exists", t.exact)
	}
	steps := []float64{6e-2, 1e-2, 1e-3, 1e-4}
	unit := max(1, floats.Norm(x, 2)/math.Sqrt(float64(len(x))))
	for _, d := range directions {
		slope, least := math.NaN(), math.Inf(1)
		kink := false
		for _, s := range steps {
			one, err := v.along(ctx, x, d, s*unit, t)
			switch {
			case err != nil:
				return nil, err
			case one.uncertain < least:
				slope, least = one.slope, one.uncertain
			}
			kink = one.kink // the smallest step sees best whether there is one at x itself
		}
		if math.IsNaN(slope) {
			return nil, fmt.Errorf("the lower level cannot be solved near x: no differences of h could be taken")
		}
		t.slopes = append(t.slopes, slope)
		t.uncertain, t.kink = max(t.uncertain, least), t.kink || kink
	}
	return t, v.l.x.Write(x)
}

// slope is a derivative along a direction by differences of one step.
type slope struct {
	slope, uncertain float64 // +Inf where the lower level could not be solved
	kink             bool
}

func (v *valueFunction) along(ctx context.Context, x, d []float64, step float64, t *truth) (out slope, err error) {
	var central, bend [3]float64
	rounding := 0.0
	for i := range central {
		s := step / math.Pow(2, float64(i))
		var side [2]float64
		for j, sign := range []float64{1, -1} {
			moved, z := slices.Clone(x), slices.Clone(t.y)
			floats.AddScaled(moved, sign*s, d)
			var exact float64
			if side[j], exact, err = v.at(ctx, moved, z); err != nil {
				return out, err
			}
			if !(exact <= enough) {
				return slope{uncertain: math.Inf(1)}, nil
			}
		}
		central[i] = (side[0] - side[1]) / (2 * s)
		bend[i] = (side[0] + side[1] - 2*t.h) / s // falls like s where h is smooth, and stays where it has a kink
		rounding = 4 * 0x1p-53 * max(math.Abs(t.h), math.Abs(side[0])) / s
	}
	once := [2]float64{(4*central[1] - central[0]) / 3, (4*central[2] - central[1]) / 3}
	out.slope = (16*once[1] - once[0]) / 15
	out.uncertain = math.Abs(out.slope-once[1]) + rounding
	out.kink = math.Abs(bend[2]) > 1e-6+100*rounding && math.Abs(bend[2]) > 0.6*math.Abs(bend[0])
	return out, nil
}
