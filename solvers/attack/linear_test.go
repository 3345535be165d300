package attack_test

import (
	"cmp"
	"context"
	"math"
	"slices"
	"testing"

	"bilevel/data"
	"bilevel/device/ref"
	"bilevel/solvers/attack"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// linear is the classifier of the nearest mean on handwritten digits: its logits 2⟨μ_k, x⟩ - |μ_k|² are linear in x, so
// that the nearest adversarial example is known.
type linear struct {
	w [][]float64 // [classes][d]
	b []float64
}

// digits are the first n handwritten digits below a number of classes, with the classifier of their means.
func digits(t *testing.T, n, classes int) (linear, attack.Samples) {
	t.Helper()
	set, err := data.Digits()
	require.NoError(t, err)
	all := set.Train
	d := all.Dim
	l := linear{b: make([]float64, classes)}
	counts := make([]float64, classes)
	for range classes {
		l.w = append(l.w, make([]float64, d))
	}
	pixels := func(i int) []float32 {
		x := slices.Clone(all.Row(i))
		for j := range x {
			x[j] /= 16
		}
		return x
	}
	for i := range all.N() {
		y := all.Labels[i]
		if int(y) >= classes {
			continue
		}
		counts[y]++
		for j, v := range pixels(i) {
			l.w[y][j] += float64(v)
		}
	}
	for k := range l.w {
		for j := range l.w[k] {
			mean := l.w[k][j] / counts[k]
			l.w[k][j] = 2 * mean
			l.b[k] -= mean * mean
		}
	}
	var s attack.Samples
	for i := 0; s.N() < n; i++ {
		if int(all.Labels[i]) < classes {
			s.Images = append(s.Images, pixels(i)...)
			s.Labels = append(s.Labels, all.Labels[i])
		}
	}
	return l, s
}

// times is the classifier with its logits times a number.
func (l linear) times(scale float64) linear {
	out := linear{b: slices.Clone(l.b)}
	floats.Scale(scale, out.b)
	for _, row := range l.w {
		row = slices.Clone(row)
		floats.Scale(scale, row)
		out.w = append(out.w, row)
	}
	return out
}

func (l linear) logits(x []float32) []float64 {
	z := slices.Clone(l.b)
	for k := range z {
		for j, v := range x {
			z[k] += l.w[k][j] * float64(v)
		}
	}
	return z
}

func (l linear) model(t *testing.T, ex *tensor.Executor) attack.Model {
	t.Helper()
	d, classes := len(l.w[0]), len(l.b)
	w, b := ex.Variable("w", tensor.Real, classes, d), ex.Variable("b", tensor.Real, classes)
	require.NoError(t, w.Write(slices.Concat(l.w...)))
	require.NoError(t, b.Write(l.b))
	return attack.Model{Inputs: d, Classes: classes, Logits: func(x *tensor.Node) *tensor.Node {
		return x.MatMul(w.Node().T()).Add(b.Node())
	}}
}

// reach is how far x has to go for ⟨w, u - x⟩ = need in [0, 1]^d, by stepping over the places where pixels arrive at
// their bounds, in order; infinite where it cannot.
func reach(n attack.Norm, x []float32, w []float64, need float64) float64 {
	type coordinate struct{ size, slope, room float64 }
	var all []coordinate
	for j, v := range x {
		room := float64(v)
		if w[j]*need > 0 {
			room = 1 - room
		}
		if w[j] == 0 || room <= 0 {
			continue
		}
		c := coordinate{math.Abs(w[j]), 1, room}
		if n == attack.L2 {
			c.slope = c.size
		}
		all = append(all, c)
	}
	slices.SortFunc(all, func(a, b coordinate) int {
		if a.room/a.slope < b.room/b.slope {
			return -1
		}
		return 1
	})
	steepness, done := 0.0, 0.0 // dφ/dτ of the coordinates on their way; φ of those that have arrived
	for _, c := range all {
		steepness += c.size * c.slope
	}
	square := 0.0 // of the rooms of those that have arrived
	for i, c := range all {
		if tau := c.room / c.slope; done+steepness*tau >= math.Abs(need) {
			tau = (math.Abs(need) - done) / steepness
			if n == attack.Linf {
				return tau
			}
			for _, c := range all[i:] {
				square += c.slope * tau * c.slope * tau
			}
			return math.Sqrt(square)
		}
		steepness -= c.size * c.slope
		done += c.size * c.room
		square += c.room * c.room
	}
	return math.Inf(1)
}

// nearest is the distance of the nearest image that is misclassified; 0 where x is.
func (l linear) nearest(n attack.Norm, x []float32, y int32) float64 {
	z := l.logits(x)
	least := math.Inf(1)
	for k := range z {
		if k == int(y) {
			continue
		}
		if z[k] >= z[y] {
			return 0
		}
		w := make([]float64, len(x))
		for j := range w {
			w[j] = l.w[k][j] - l.w[y][j]
		}
		least = min(least, reach(n, x, w, z[y]-z[k]))
	}
	return least
}

func refExecutor(t *testing.T) *tensor.Executor {
	t.Helper()
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	t.Cleanup(func() { require.NoError(t, closeAll(ex, dev)) })
	return ex
}

func attacker(t *testing.T, ex *tensor.Executor, m attack.Model, o attack.Options) *attack.Attacker {
	t.Helper()
	a, err := attack.New(ex, m, o)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, a.Close()) })
	return a
}

// Attacks on a linear classifier find the adversarial examples that there are, and none that there are not. With two
// classes the cross-entropy grows with the margin, and steps along its gradient lead to the best point of the ball;
// with ten, attacks that go to each class by itself do the same. An image may go either way where its nearest example
// lies near the ball's boundary: within a percent of the radius; within three in l_2, where the ball and [0, 1] are
// projected onto one after the other and the step of PGD is a tenth of the radius; within fifteen and thirty for the
// random search, whose small windows do not come to the last row and column, and in l_2 have a pattern of at least 3 x
// 3 pixels. Logits times 1e-20 have the same examples: gradients have no scale that an attack relies on.
func TestAttacksOnLinearClassifier(t *testing.T) {
	linf, l2 := attack.Ball{Norm: attack.Linf, Eps: 0.1}, attack.Ball{Norm: attack.L2, Eps: 0.6}
	wide := attack.Ball{Norm: attack.Linf, Eps: 0.2}
	far := attack.Ball{Norm: attack.L2, Eps: 1.3}
	for _, c := range []struct {
		classes int
		ball    attack.Ball
		attack  attack.Attack
		nearly  float64
		scale   float64 // of the logits; 0: 1
	}{
		{2, wide, attack.FGSM{}, 0.01, 0},
		{2, wide, attack.PGD{Steps: 20, Restarts: 2}, 0.01, 0},
		{2, wide, attack.APGD{Steps: 50, Restarts: 1}, 0.01, 0},
		{2, attack.Ball{Norm: attack.Linf, Eps: 0.26}, attack.Square{Queries: 2000}, 0.15, 0},
		{10, linf, attack.APGD{Loss: "dlr-targeted", Steps: 50, Restarts: 1}, 0.01, 0},
		{10, linf, attack.FAB{Steps: 20, Restarts: 1}, 0.01, 0},
		{2, far, attack.PGD{Steps: 50, Restarts: 2, Step: 0.1}, 0.03, 0},
		{2, far, attack.APGD{Steps: 50, Restarts: 1}, 0.03, 0},
		{2, attack.Ball{Norm: attack.L2, Eps: 1.4}, attack.Square{Queries: 2000}, 0.3, 0},
		{10, l2, attack.APGD{Loss: "dlr-targeted", Steps: 50, Restarts: 1}, 0.03, 0},
		{10, l2, attack.FAB{Steps: 20, Restarts: 1}, 0.01, 0},
		{2, wide, attack.PGD{Steps: 20, Restarts: 2}, 0.01, 1e-20},
		{2, far, attack.PGD{Steps: 50, Restarts: 2, Step: 0.1}, 0.03, 1e-20},
		{2, far, attack.APGD{Steps: 50, Restarts: 1}, 0.03, 1e-20},
		{10, linf, attack.FAB{Steps: 20, Restarts: 1}, 0.01, 1e-20},
		{10, l2, attack.FAB{Steps: 20, Restarts: 1}, 0.01, 1e-20},
	} {
		l, s := digits(t, 120, c.classes)
		l = l.times(cmp.Or(c.scale, 1))
		ex := cpuExecutor(t)
		m := l.model(t, ex)
		r, err := attacker(t, ex, m, attack.Options{Seed: 1}).Run(context.Background(), c.ball, s, c.attack)
		require.NoError(t, err)
		verify(t, r, s, m, l.model)
		must, mustNot := 0, 0
		for i := range s.N() {
			d := l.nearest(c.ball.Norm, s.Images[i*m.Inputs:(i+1)*m.Inputs], s.Labels[i])
			require.Equal(t, d > 0, r.Clean[i])
			if d > 0 && d < c.ball.Eps*(1-c.nearly) {
				must++
				require.False(t, r.Robust[i], "%s in a %s: image %d has an example at %g", c.attack.Name(),
					c.ball, i, d)
			}
			if d > c.ball.Eps {
				mustNot++
				require.True(t, r.Robust[i], "image %d has no example up to %g", i, d)
			}
		}
		t.Logf("%s: %d with examples, %d without", c.attack.Name(), must, mustNot)
		require.GreaterOrEqual(t, min(must, mustNot), 10, "%s says little in a %s", c.attack.Name(), c.ball)
	}
}

// On a linear classifier with one rival, FAB walks along a line: with D the distance of the boundary, its k-th point is
// p_k·D away, and the sequence p is known.
func TestFABFindsTheNearestExample(t *testing.T) {
	for _, n := range []attack.Norm{attack.Linf, attack.L2} {
		// Pixels far from 0 and 1, so that no bound holds.
		const d = 12
		l := linear{w: [][]float64{make([]float64, d), make([]float64, d)}, b: []float64{0, 0}}
		s := attack.Samples{}
		for j := range d {
			l.w[0][j], l.w[1][j] = math.Sin(float64(3*j+1)), math.Cos(float64(2*j))
		}
		for i := range 6 {
			var x []float32
			for j := range d {
				x = append(x, float32(0.5+0.02*math.Sin(float64(5*i+j))))
			}
			z := l.logits(x)
			y := int32(0)
			if z[1] > z[0] {
				y = 1
			}
			s.Images, s.Labels = append(s.Images, x...), append(s.Labels, y)
		}
		position, least := 0.0, math.Inf(1)
		for range 10 {
			alpha := min(0.1, math.Abs(1-position)/(math.Abs(1-position)+1))
			position = (1-alpha)*(position+1.05*(1-position)) + alpha*1.05
			require.Greater(t, position, 1.0)
			least = min(least, position)
			position *= 0.9
		}
		ex := refExecutor(t)
		a := attacker(t, ex, l.model(t, ex), attack.Options{})
		r, err := a.Nearest(context.Background(), attack.Ball{Norm: n, Eps: 0.4}, s, attack.FAB{Steps: 10, Restarts: 1})
		require.NoError(t, err)
		for i := range s.N() {
			x := s.Images[i*d : (i+1)*d]
			want := least * l.nearest(n, x, s.Labels[i])
			require.False(t, r.Robust[i])
			// Images are float32 numbers below 1: each pixel is rounded by up to 2⁻²⁵, the distance by √d of that.
			require.InDelta(t, want, n.Distance(r.Images[i*d:(i+1)*d], x), 4*0x1p-25+1e-9)
		}
	}
}

// A point that is projected lies in the cube, has not passed the nearest one, and falls short by no more than the
// interval that bisection leaves; where no pixel arrives at its bound in that interval, it is exact.
func TestHyperplane(t *testing.T) {
	const rows, d = 60, 40
	ex := refExecutor(t)
	point, w, need := make([]float64, rows*d), make([]float64, rows*d), make([]float64, rows)
	for i := range rows {
		for j := range d {
			u := math.Mod(float64((i*d+j)*7919%10007)/10007*3, 1)
			point[i*d+j] = float64(float32(u))
			w[i*d+j] = math.Sin(float64(i*31+j*17)) * math.Exp(float64(j%5)-2)
			if j%11 == i%11 {
				w[i*d+j] = 0
			}
			if j%13 == 0 {
				point[i*d+j] = float64(j % 2)
			}
		}
		need[i] = math.Cos(float64(i)) * math.Exp(float64(i%8)-3) // some can be reached, some cannot
	}
	exact := map[attack.Norm]int{}
	for _, n := range []attack.Norm{attack.Linf, attack.L2} {
		variable := func(values []float64, shape ...int) *tensor.Node {
			v := ex.Variable("v", tensor.Real, shape...)
			require.NoError(t, v.Write(values))
			return v.Node()
		}
		move := ex.Variable("move", tensor.Real, rows, d)
		f, err := ex.Compile("hyperplane", func() []tensor.Update {
			return []tensor.Update{{Var: move, Value: n.Hyperplane(variable(point, rows, d), variable(w, rows, d),
				variable(need, rows, 1))}}
		})
		require.NoError(t, err)
		require.NoError(t, f.Run(1))
		got, err := move.Read()
		require.NoError(t, err)
		for i := range rows {
			x := make([]float32, d)
			for j := range x {
				x[j] = float32(point[i*d+j])
			}
			wi := w[i*d : (i+1)*d]
			best := reach(n, x, wi, need[i])
			product, size, room := 0.0, 0.0, 0.0
			for j, m := range got[i*d : (i+1)*d] {
				u := point[i*d+j] + m
				require.True(t, u >= 0 && u <= 1, "coordinate %g", u)
				product += wi[j] * m
				room += max(wi[j]*math.Copysign(1, need[i])*(math.Copysign(0.5, wi[j]*need[i])+0.5-point[i*d+j]), 0)
				if n == attack.L2 {
					size += m * m
				} else {
					size = max(size, math.Abs(m))
				}
			}
			if n == attack.L2 {
				size = math.Sqrt(size)
			}
			reached := product * math.Copysign(1, need[i])
			if math.IsInf(best, 1) { // the corner
				require.InDelta(t, room, reached, 1e-9)
				continue
			}
			require.LessOrEqual(t, size, best+1e-12)
			require.LessOrEqual(t, reached, math.Abs(need[i])+1e-12)
			if n == attack.Linf {
				require.GreaterOrEqual(t, size, best-1.0/(1<<8))
			}
			if math.Abs(size-best) < 1e-9 {
				exact[n]++
			}
		}
	}
	// Bisection leaves an interval of 1/256, in which the bounds of 40 pixels seldom lie.
	require.GreaterOrEqual(t, exact[attack.Linf], 30)
	require.GreaterOrEqual(t, exact[attack.L2], 30)
}
