package attack_test

import (
	"context"
	"math"
	"slices"
	"testing"

	"bilevel/internal/philox"
	"bilevel/solvers/attack"

	"github.com/stretchr/testify/require"
)

// wavy is the function of linear.curved, with its derivative, on the host.
type wavy struct {
	linear
	v []float64 // [d][classes]
}

// ascent is the cross-entropy at x and its gradient, and whether x is misclassified.
func (w wavy) ascent(x []float64, y int32) (value float64, gradient []float64, wrong bool) {
	classes := len(w.b)
	z, slope := make([]float64, classes), make([]float64, classes)
	for k := range z {
		z[k] = w.b[k]
		inner := 0.0
		for j, v := range x {
			z[k] += w.w[k][j] * v
			inner += w.v[j*classes+k] * v
		}
		z[k] += 0.5 * math.Sin(inner)
		slope[k] = 0.5 * math.Cos(inner)
	}
	most, sum := slices.Max(z), 0.0
	for _, v := range z {
		sum += math.Exp(v - most)
	}
	gradient = make([]float64, len(x))
	for k := range z {
		p := math.Exp(z[k]-most) / sum
		if k == int(y) {
			p--
		}
		for j := range x {
			gradient[j] += p * (w.w[k][j] + slope[k]*w.v[j*classes+k])
		}
	}
	return math.Log(sum) + most - z[y], gradient, slices.Index(z, most) != int(y)
}

func euclidean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x * x
	}
	return math.Sqrt(sum)
}

// plainAPGD is Croce and Hein's algorithm 1 for one image, written out in loops. It counts the checkpoints that halve
// the step, and those that do so for the second of the two reasons alone.
func plainAPGD(w wavy, b attack.Ball, x0, start []float64, y int32, steps int) (
	adv []float64, found bool, halved, stuck int) {
	d := len(x0)
	project := func(x []float64) []float64 {
		out, scale := make([]float64, d), 1.0
		if b.Norm == attack.L2 {
			delta := make([]float64, d)
			for j := range delta {
				delta[j] = x[j] - x0[j]
			}
			scale = min(1, b.Eps/max(euclidean(delta), 1e-12))
		}
		for j := range out {
			delta := (x[j] - x0[j]) * scale
			if b.Norm == attack.Linf {
				delta = min(max(delta, -b.Eps), b.Eps)
			}
			out[j] = min(max(x0[j]+delta, 0), 1)
		}
		return out
	}
	along := func(g []float64, j int) float64 {
		if b.Norm == attack.L2 {
			return g[j] / (euclidean(g) + 1e-12)
		}
		if g[j] == 0 {
			return 0
		}
		return math.Copysign(1, g[j])
	}
	x := project(start)
	f, g, wrong := w.ascent(x, y)
	before, best, bestF, bestG := x, x, f, g
	adv, found = x, wrong
	step, last, checked, justHalved, rises, since := 2*b.Eps, f, f, true, 0, 0
	checks := attack.Checkpoints(steps)
	for k := range steps {
		alpha := 0.75
		if k == 0 {
			alpha = 1
		}
		z := make([]float64, d)
		for j := range z {
			z[j] = x[j] + step*along(g, j)
		}
		z = project(z)
		next := make([]float64, d)
		for j := range next {
			next[j] = x[j] + alpha*(z[j]-x[j]) + (1-alpha)*(x[j]-before[j])
		}
		before, x = x, project(next)
		f, g, wrong = w.ascent(x, y)
		if !found && (wrong || f > bestF) {
			adv = x
		}
		found = found || wrong
		if f > bestF {
			best, bestF, bestG = x, f, g
		}
		if f > last {
			rises++
		}
		last = f
		since++
		if !slices.Contains(checks, k+1) {
			continue
		}
		halve := float64(rises) < 0.75*float64(since) || !justHalved && bestF <= checked
		if halve {
			halved++
			if float64(rises) >= 0.75*float64(since) {
				stuck++
			}
			step, x, g = step/2, best, bestG
		}
		justHalved, checked, rises, since = halve, bestF, 0, 0
	}
	return adv, found, halved, stuck
}

// APGD on the device takes the steps of the algorithm written out in loops, image by image.
func TestAPGDAgainstLoops(t *testing.T) {
	const n, steps, seed = 30, 100, 5
	l, s := digits(t, n, 10)
	w := wavy{linear: l}
	d := len(l.w[0])
	for i := range d * 10 {
		w.v = append(w.v, 3*math.Sin(float64(i*i%977)))
	}
	stuck := 0
	for _, b := range []attack.Ball{{Norm: attack.Linf, Eps: 0.04}, {Norm: attack.L2, Eps: 0.25},
		{Norm: attack.L2, Eps: 0.1}} {
		ex := refExecutor(t)
		a := attacker(t, ex, l.curved(t, ex), attack.Options{Seed: seed})
		r, err := a.Run(context.Background(), b, s, attack.APGD{Steps: steps, Restarts: 1})
		require.NoError(t, err)
		robust, halvings := 0, map[int]bool{}
		for i := range n {
			if !r.Clean[i] {
				continue
			}
			draws := make([]float32, d)
			fill := philox.Uniforms
			if b.Norm == attack.L2 {
				fill = philox.Normals
			}
			fill(draws, attack.StartSeed(seed, 0, 0, "apgd-ce"), 0, philox.StreamAttack, uint64(i*d))
			x0, start := make([]float64, d), make([]float64, d)
			for j := range start {
				start[j] = float64(draws[j])
			}
			length := euclidean(start)
			for j := range start {
				x0[j] = float64(s.Images[i*d+j])
				if b.Norm == attack.L2 {
					start[j] = x0[j] + b.Eps*start[j]/length
				} else {
					start[j] = x0[j] + b.Eps*(2*start[j]-1)
				}
			}
			want, found, halved, only := plainAPGD(w, b, x0, start, s.Labels[i], steps)
			stuck += only
			require.Equal(t, !found, r.Robust[i])
			if !found {
				robust++
			}
			halvings[halved] = true
			for j := range want {
				// The device's radius is smaller by some 2⁻²⁴, and its points are rounded to float32.
				require.InDelta(t, want[j], r.Images[i*d+j], 2e-6, "image %d", i)
			}
		}
		require.Positive(t, robust)
		require.Greater(t, len(halvings), 1, "all images halve their steps equally often: the test says little")
	}
	require.Positive(t, stuck, "no step was halved for want of a better point alone")
}
