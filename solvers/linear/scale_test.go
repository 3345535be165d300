package linear_test

import (
	"math"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/open"
	"bilevel/device/ref"
	"bilevel/solvers/linear"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
	"gonum.org/v1/gonum/mat"
)

// Right-hand sides of any size that float32 holds give the same status and number of steps, and the same solution in
// their own unit, on every device, from zero and from a start value.
func TestScales(t *testing.T) {
	sim, err := open.Open("cuda-sim", open.Options{})
	require.NoError(t, err)
	for _, dev := range []device.Device{ref.New(), cpudevice.New(2), sim} {
		exponents := []int{-30, -24, -12, -6, 0, 6, 12, 24, 30}
		if dev == sim {
			exponents = []int{-30, 30} // slow
		}
		const n = 6
		a, unit := withSpectrum(3, spread(n, 20)...), normals(4, n)
		for name, solver := range map[string]linear.Solver{
			"CG":           linear.CG{RTol: 1e-5},
			"CG from zero": linear.CG{RTol: 1e-5, FromZero: true},
			"Neumann":      linear.Neumann{Step: 0.5, Terms: 400, RTol: 1e-4},
			"dense":        linear.Dense{},
			"GMRES":        linear.GMRES{RTol: 1e-5},
			"BiCGSTAB":     linear.BiCGSTAB{RTol: 1e-5},
			"MINRES":       linear.MINRES{RTol: 1e-5},
		} {
			if dev == sim && name != "CG" && name != "Neumann" && name != "CG from zero" {
				continue // slow; TestOnTheSimulatedCard has them
			}
			s := prepare(t, dev, solver, a)
			want, first := s.solve(unit, unit)
			require.Equal(t, linear.Converged, first.Status, "%s on %s: %+v", name, dev.Info().Name, first)
			for _, e := range exponents {
				size := math.Pow(10, float64(e))
				b := make([]float64, n)
				floats.ScaleTo(b, size, unit)
				v, st := s.solve(b, b)
				require.Equal(t, first.Status, st.Status, "%s on %s at 1e%d: %+v", name, dev.Info().Name, e, st)
				require.InDelta(t, first.Steps, st.Steps, 1, "%s at 1e%d", name, e)
				require.InEpsilon(t, floats.Norm(b, 2), st.RHSNorm, 1e-5)
				floats.Scale(1/size, v)
				require.InDeltaSlice(t, want, v, 1e-3*floats.Norm(want, 2), "%s at 1e%d", name, e)
			}
		}
		require.NoError(t, dev.Close())
	}
}

// Matrices of any size that the device holds, whose squares overflow or vanish, give the same status and number of
// steps, and the same solution in their own unit. The smallest eigenvalue is in their unit too.
func TestScalesOfTheMatrix(t *testing.T) {
	const n = 6
	spectrum, b := spread(n, 20), normals(4, n)
	for _, c := range []struct {
		dev       device.Device
		exponents []int
	}{
		{ref.New(), []int{-300, -240, -160, -130, 130, 160, 300}}, {cpudevice.New(2), []int{-33, -20, 15, 20, 35}},
	} {
		for name, solver := range map[string]linear.Solver{
			"CG":                 linear.CG{RTol: 1e-5},
			"CG, preconditioned": linear.CG{RTol: 1e-5, Preconditioner: linear.ExactDiagonal{}},
			"CG, raised":         linear.CG{RTol: 1e-5, MaxRaises: 1},
			"dense":              linear.Dense{},
			"GMRES":              linear.GMRES{RTol: 1e-5},
			"BiCGSTAB":           linear.BiCGSTAB{RTol: 1e-5, MaxSteps: 60},
			"MINRES":             linear.MINRES{RTol: 1e-5},
		} {
			a := withSpectrum(3, spectrum...)
			s := prepare(t, c.dev, solver, a)
			want, first := s.solve(b, nil)
			require.Equal(t, linear.Converged, first.Status, "%s: %+v", name, first)
			for _, e := range c.exponents {
				size := math.Pow(10, float64(e))
				var scaled mat.Dense
				scaled.Scale(size, a)
				s.setMatrix(&scaled)
				v, st := s.solve(b, nil)
				require.Equal(t, first.Status, st.Status, "%s at 1e%d: %+v", name, e, st)
				require.InDelta(t, first.Steps, st.Steps, 1, "%s at 1e%d", name, e)
				floats.Scale(size, v)
				require.InDeltaSlice(t, want, v, 1e-3*floats.Norm(want, 2), "%s at 1e%d", name, e)
				if !math.IsNaN(first.SmallestEigenvalue) {
					require.InEpsilon(t, first.SmallestEigenvalue, st.SmallestEigenvalue/size, 1e-3, "%s at 1e%d",
						name, e)
				}
			}
		}
		require.NoError(t, c.dev.Close())
	}
}

// The eigenvalues of a matrix are found beside a block that is nothing next to the rest.
func TestDenseWithATinyBlock(t *testing.T) {
	a := diagonal(1, 2e-130, 2e-130, 3)
	a.SetSym(1, 2, 1e-130)
	_, st := prepare(t, float64s(t), linear.Dense{}, a).solve([]float64{1, 1, 1, 1}, nil)
	require.Equal(t, linear.Breakdown, st.Status)
	require.InDelta(t, 0, st.SmallestEigenvalue, 1e-120)
	require.Equal(t, []float64{1e-320}, linear.Eigenvalues(diagonal(1e-320)))
	require.InEpsilonSlice(t, []float64{1e300, 3e300}, linear.Eigenvalues(diagonal(3e300, 1e300)), 1e-14)
	require.Nil(t, linear.Eigenvalues(diagonal(math.NaN(), 1)))
}

// Every solver gives the same on a simulated card, which reads the stop flag late, as on the processor.
func TestOnTheSimulatedCard(t *testing.T) {
	sim, err := open.Open("cuda-sim", open.Options{})
	require.NoError(t, err)
	const n, samples = 4, 2
	a, b, values := withSpectrum(7, spread(n, 10)...), normals(4, n), normals(111, samples*n)
	for _, e := range linear.Solvers() {
		here := prepareKnown(t, cpudevice.New(1), e.Example, a, knowAll(t, values, samples, n))
		there := prepareKnown(t, sim, e.Example, a, knowAll(t, values, samples, n))
		want, first := here.solve(b, nil)
		got, st := there.solve(b, nil)
		require.Equal(t, first.Status, st.Status, e.Name)
		require.Equal(t, [2]int{first.Steps, first.Products}, [2]int{st.Steps, st.Products}, e.Name)
		require.InDeltaSlice(t, want, got, 1e-4*(1+floats.Norm(want, 2)), e.Name)
	}
}
