package linear_test

import (
	"testing"

	"bilevel/device"
	"bilevel/solvers/linear"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// sampled makes rows of a table the gradients of single samples.
func sampled(t *testing.T, samples int, rows []float64) func(*system, *linear.Matrix) {
	return func(s *system, m *linear.Matrix) {
		table := s.ex.Variable("gradients", tensor.Real, samples, m.N)
		require.NoError(t, table.Write(rows))
		m.Gradients = &linear.Gradients{Count: samples, At: func(i *tensor.Node) *tensor.Node {
			return tensor.Gather(table.Node(), i.Reshape(1)).Reshape(m.N)
		}}
	}
}

// fisher is λI + (1/N) Σ g g' for the rows g, formed densely.
func fisher(samples, n int, rows []float64, damping float64) *mat.SymDense {
	f := mat.NewSymDense(n, nil)
	for i := range samples {
		f.SymRankOne(f, 1/float64(samples), mat.NewVecDense(n, rows[i*n:(i+1)*n]))
	}
	f.AddSym(f, mat.NewDiagDense(n, scaled(ones(n), damping)))
	return f
}

// All forms are the dense inverse: of the Fisher matrix, one-shot of that of the mean gradient. Against its own matrix
// the residual is round-off.
func TestWoodFisher(t *testing.T) {
	devices(t, func(t *testing.T, dev device.Device) {
		for _, c := range [][2]int{{1, 1}, {1, 6}, {4, 6}, {20, 6}} {
			samples, n := c[0], c[1]
			const damping = 0.1
			rows, b := normals(80, samples*n), normals(81, n)
			mean := make([]float64, n)
			for i := range samples {
				floats.AddScaled(mean, 1/float64(samples), rows[i*n:(i+1)*n])
			}
			full := fisher(samples, n, rows, damping)
			for form, a := range map[linear.FisherForm]*mat.SymDense{
				linear.Vectors: full, linear.Full: full, linear.OneShot: fisher(1, n, mean, damping),
			} {
				m := linear.WoodFisher{Damping: damping, Form: form, RTol: 1e-2}
				s := prepareKnown(t, dev, m, a, sampled(t, samples, rows))
				v, st := s.solve(b, nil)
				want := exact(t, a, b)
				// Each of the samples' updates rounds numbers of the size of B_0 = I/λ.
				tol := 10 * float64(samples*n) * dev.Info().UnitRoundoff() * floats.Norm(b, 2) / damping
				require.LessOrEqual(t, floats.Distance(want, v, 2), tol, "%s, %d samples of %d", form, samples, n)
				require.Equal(t, linear.Converged, st.Status)
				require.Equal(t, [2]int{samples, 1}, [2]int{st.Steps, st.Products})
				again, _ := s.solve(b, v)
				require.Equal(t, bits(v), bits(again))
			}
		}
	})
}

// Where the matrix is not the Fisher matrix, the residual says so.
func TestWoodFisherShowsItsError(t *testing.T) {
	a, b, rows := withSpectrum(82, spread(4, 5)...), normals(83, 4), normals(84, 8*4)
	s := prepareKnown(t, float64s(t), linear.WoodFisher{Damping: 0.1, RTol: 1e-3}, a, sampled(t, 8, rows))
	v, st := s.solve(b, nil)
	require.Equal(t, linear.Approximate, st.Status)
	require.InEpsilon(t, residual(a, b, v), st.Residual, 1e-9)
	require.Greater(t, st.Residual, 0.1*st.RHSNorm)
}

func TestWoodFisherSettings(t *testing.T) {
	ex := tensor.NewExecutor(float64s(t))
	defer ex.Close()
	m := linear.Matrix{N: 3, Apply: func(v *tensor.Node) *tensor.Node { return v }}
	m.Gradients = &linear.Gradients{Count: 2, At: func(*tensor.Node) *tensor.Node { return tensor.Zeros(3) }}
	_, err := linear.WoodFisher{}.Prepare(ex, m)
	require.ErrorContains(t, err, "damping 0")
	_, err = linear.WoodFisher{Damping: 1, Form: 7}.Prepare(ex, m)
	require.ErrorContains(t, err, "unknown form 7")
	require.Equal(t, "WoodFisher(one-shot, λ 0.5)", linear.WoodFisher{Damping: 0.5, Form: linear.OneShot}.String())
}
