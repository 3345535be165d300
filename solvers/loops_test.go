package solvers_test

import (
	"context"
	"math"
	"testing"

	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/mat"
)

// plain is Q2 in gonum's arithmetic.
type plain struct{ *solvertest.Quadratic }

type vec = *mat.VecDense

func vecOf(values ...float64) vec { return mat.NewVecDense(len(values), values) }

// times is m·v, sum adds vectors, by multiplies one.
func times(m mat.Matrix, v vec) vec {
	var out mat.VecDense
	out.MulVec(m, v)
	return &out
}

func sum(of ...vec) vec {
	out := mat.NewVecDense(of[0].Len(), nil)
	for _, v := range of {
		out.AddVec(out, v)
	}
	return out
}

func by(c float64, v vec) vec {
	var out mat.VecDense
	out.ScaleVec(c, v)
	return &out
}

func (q plain) gradYG(x, y vec) vec { return sum(times(q.A, y), times(q.C.T(), x), vecOf(q.LowerA...)) }
func (q plain) gradXG(_, y vec) vec { return times(q.C, y) }
func (q plain) gradYF(x, y vec) vec { return sum(times(q.B, y), times(q.K.T(), x), vecOf(q.F...)) }
func (q plain) gradXF(x, y vec) vec { return sum(times(q.E, x), times(q.K, y), vecOf(q.UpperE...)) }

// Three iterates on Q2, against loops written from the comments of the algorithms.
func TestIteratesOfPlainLoops(t *testing.T) {
	q := plain{solvertest.NewQuadratic(7, 3, solvertest.Spectrum(4, 5))}
	x0, y0 := []float64{0.4, -1, 0.7}, []float64{1, -0.5, 0.2, 0.8}
	lengths := []int{2, 0, 3}
	for _, c := range []struct {
		a    solvers.Algorithm
		loop func(k int, s map[string]vec) map[string]vec
	}{
		{
			solvers.ALSET{Step: 0.3, OuterStep: 0.05, NeumannStep: 0.4, Terms: 4, InnerSteps: 2, Schedule: "sqrt"},
			func(k int, s map[string]vec) map[string]vec {
				x, y, factor := s["x"], s["y"], 1/math.Sqrt(float64(k+1))
				for range 2 {
					y = sum(y, by(-0.3*factor, q.gradYG(x, y)))
				}
				v := q.gradYF(x, y)
				for range lengths[k] {
					v = sum(v, by(-0.4, times(q.A, v)))
				}
				v = by(4*0.4, v)
				x = sum(x, by(-0.05*factor, sum(q.gradXF(x, y), by(-1, times(q.C, v)))))
				return map[string]vec{"x": x, "y": y, "v": v}
			},
		},
		{
			solvers.MASOBA{Step: 0.3, OuterStep: 0.05, Average: 0.25},
			func(k int, s map[string]vec) map[string]vec {
				x, y, v, theta := s["x"], s["y"], s["v"], 0.25
				if k == 0 {
					theta = 1
				}
				d := sum(by(1-theta, s["d"]), by(theta, sum(q.gradXF(x, y), by(-1, times(q.C, v)))))
				return map[string]vec{
					"x": sum(x, by(-0.05, d)), "y": sum(y, by(-0.3, q.gradYG(x, y))), "d": d,
					"v": sum(v, by(-0.3, sum(times(q.A, v), by(-1, q.gradYF(x, y))))),
				}
			},
		},
		{
			solvers.F2SAAdam{YStep: 0.02, ZStep: 0.03, OuterStep: 0.01, Multiplier: 2, Growth: 0.5, InnerSteps: 3,
				Beta1: 0.8, Beta2: 0.95, Epsilon: 1e-6, Schedule: "sqrt"},
			func(k int, s map[string]vec) map[string]vec {
				x, y, z, lambda := s["x"], s["y"], s["z"], 2+0.5*float64(k)
				factor := 1 / math.Sqrt(float64(k+1))
				adam := func(m, square, g vec, tau int) (vec, vec, vec) {
					n := g.Len()
					m1, s1, d := mat.NewVecDense(n, nil), mat.NewVecDense(n, nil), mat.NewVecDense(n, nil)
					for i := range n {
						m1.SetVec(i, 0.8*m.AtVec(i)+(1-0.8)*g.AtVec(i))
						s1.SetVec(i, 0.95*square.AtVec(i)+(1-0.95)*g.AtVec(i)*g.AtVec(i))
						hat := m1.AtVec(i) / (1 - math.Pow(0.8, float64(tau)))
						root := math.Sqrt(s1.AtVec(i) / (1 - math.Pow(0.95, float64(tau))))
						d.SetVec(i, hat/(root+1e-6))
					}
					return m1, s1, d
				}
				zero := func() vec { return mat.NewVecDense(4, nil) }
				my, sy, mz, sz := zero(), zero(), zero(), zero()
				for tau := 1; tau <= 3; tau++ {
					var dy, dz vec
					mz, sz, dz = adam(mz, sz, q.gradYG(x, z), tau)
					my, sy, dy = adam(my, sy, sum(q.gradYF(x, y), by(lambda, q.gradYG(x, y))), tau)
					y, z = sum(y, by(-0.02*factor, dy)), sum(z, by(-0.03*factor, dz))
				}
				slope := sum(q.gradXF(x, y), by(lambda, sum(q.gradXG(x, y), by(-1, q.gradXG(x, z)))))
				mx, sx, dx := adam(s["x m"], s["x s"], slope, k+1)
				return map[string]vec{"x": sum(x, by(-0.01*factor, dx)), "y": y, "z": z, "x m": mx, "x s": sx}
			},
		},
	} {
		ex := executor(t)
		p := load(t, ex, q.Quadratic)
		p.Upper.Start, p.Lower.Start = problem.Vector(x0...), problem.Vector(y0...)
		b, err := p.Bind(ex)
		require.NoError(t, err)
		e, _, err := solvers.InitDrawing(context.Background(), b, c.a, 3, func(k, _ int) int { return lengths[k] })
		require.NoError(t, err)
		want := map[string]vec{}
		for name, values := range states(t, e) {
			want[name] = vecOf(values...)
		}
		for k := range 3 {
			step(t, e, k, 1)
			got := states(t, e)
			want = c.loop(k, want)
			for name, v := range want {
				// A few hundred operations of numbers near 1; Adam divides by numbers that are not small.
				require.InDeltaSlice(t, v.RawVector().Data, got[name], 1e-13, "%s: %s after %d iterations", c.a.Name(),
					name, k+1)
			}
		}
		require.NoError(t, e.Close())
	}
}
