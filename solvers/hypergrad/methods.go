package hypergrad

import (
	"cmp"

	"bilevel/solvers/linear"
)

// Settings are what a Method of the table is made from. Zero values are replaced by defaults.
type Settings struct {
	Step   float64 // η of inner steps, below 2/L for the largest eigenvalue L of H; 0: 0.1
	Steps  int     // T; 0: 100
	Last   int     // K of Truncated; 0: a tenth of Steps, at least 1
	Beta   float64 // β of momentum; 0: 0.9
	Lambda float64 // λ of ValueFunction; 0: 100
	RTol   float64 // of linear systems; 0: 1e-6
	Seed   uint64  // of random directions
	Rows   int     // of a piece; 0: all rows together
}

func (s Settings) withDefaults() Settings {
	s.Step, s.Steps, s.Beta = cmp.Or(s.Step, 0.1), cmp.Or(s.Steps, 100), cmp.Or(s.Beta, 0.9)
	s.Last, s.Lambda, s.RTol = cmp.Or(s.Last, max(1, s.Steps/10)), cmp.Or(s.Lambda, 100), cmp.Or(s.RTol, 1e-6)
	return s
}

func (s Settings) inner() Inner          { return GradientSteps{Step: s.Step} }
func (s Settings) solver() linear.Solver { return linear.CG{RTol: s.RTol, FromZero: true} }

// Entry is a row of the table of methods.
type Entry struct {
	Name   string // as Method.Name gives it
	Source string
	About  string // what it is, in a line
	// Cost in calls of the oracle, with T inner steps, K of them differentiated, n products of a linear solver, p upper
	// variables and J directions; the call that measures the lower level is left out.
	Cost string
	// MinMin says that it is for problems with F = G alone.
	MinMin bool
	// New makes the method with settings.
	New func(Settings) Method
}

// entry is a row whose New sees settings without zeros.
func entry(source, about, cost string, make func(Settings) Method) Entry {
	of := func(s Settings) Method { return make(s.withDefaults()) }
	return Entry{Name: of(Settings{}).Name(), Source: source, About: about, Cost: cost, New: of}
}

// minMin marks a row.
func (e Entry) minMin() Entry {
	e.MinMin = true
	return e
}

// Methods is the table of all ways to differentiate through the lower level.
func Methods() []Entry {
	return []Entry{
		entry("Pedregosa, ICML 2016; Grazzi et al., ICML 2020",
			"implicit function theorem at y, H v = ∇yF solved by CG",
			"1 ∇F, 1 ∇G, n Hv, 1 Cv; as much again for the error estimate",
			func(s Settings) Method { return Implicit{Solver: s.solver(), Rows: s.Rows} }),
		entry("Bai, Kolter, Koltun, NeurIPS 2019", "implicit function theorem at the root of a residual, by GMRES",
			"1 ∇F, 1 ∇G (R), n + 1 Hv (with ∂yRᵀ), 1 Cv; twice as much again for the error estimate",
			func(s Settings) Method { return Root{Solver: linear.GMRES{RTol: s.RTol, FromZero: true}} }),
		entry("Bertrand et al., ICML 2020; Blondel et al., NeurIPS 2022",
			"fixed point of a proximal step, differentiated on its support, by CG",
			"1 ∇F, 2 ∇G, n + 12 Hv, 1 Cv; twice as much again for the error estimate",
			func(s Settings) Method { return Prox{Solver: s.solver()} }),
		entry("Giovannelli, Kent, Vicente 2021; Khanduri et al., ICML 2023",
			"optimality conditions with multipliers on the active set, by projected CG",
			"1 ∇F, 2 ∇G, n + 5 Hv, 1 Cv; twice as much again for the error estimate",
			func(s Settings) Method { return KKT{Solver: s.solver()} }),
		entry("Domke, AISTATS 2012; Franceschi et al., ICML 2017",
			"derivative through all inner steps, backward, states kept at every √T-th step",
			"1 ∇F, up to 2T ∇G, T Hv, T Cv; 2√T states",
			func(s Settings) Method { return Unrolled{Inner: s.inner(), Steps: s.Steps, Rows: s.Rows} }),
		entry("Shaban et al., AISTATS 2019", "derivative through the last K inner steps (K-RMD)",
			"1 ∇F, T + K ∇G at most, K Hv, K Cv; 2√K states",
			func(s Settings) Method {
				return Truncated{Inner: s.inner(), Steps: s.Steps, Last: s.Last, Rows: s.Rows}
			}),
		entry("Luketina et al., ICML 2016; Bolte et al., NeurIPS 2023", "derivative through one step from y",
			"1 ∇F, 1 ∇G, 1 Cv",
			func(s Settings) Method { return OneStep{Inner: s.inner(), Rows: s.Rows} }),
		entry("Franceschi et al., ICML 2017", "derivative through all inner steps, forward, p columns",
			"1 ∇F, T ∇G, pT Hv, pT Cᵀu; p states",
			func(s Settings) Method { return Forward{Inner: s.inner(), Steps: s.Steps, Rows: s.Rows} }),
		entry("Maclaurin et al., ICML 2015",
			"derivative through momentum steps that are run backwards; keeps no states",
			"1 ∇F, 2T ∇G, T Hv, T Cv",
			func(s Settings) Method {
				return Reversible{Inner: MomentumSteps{Step: s.Step, Beta: s.Beta}, Steps: s.Steps, Rows: s.Rows}
			}),
		entry("Kwon et al., ICML 2023", "gradient of min over y of F + λ (G - min G); first derivatives alone",
			"two minimizations, 1 ∇F, 2 ∇G",
			func(s Settings) Method { return ValueFunction{Lambda: s.Lambda} }),
		entry("Sow et al., NeurIPS 2022", "differences of the inner steps' result along random directions (PZOBO)",
			"1 ∇F, (J+1)T ∇G",
			func(s Settings) Method {
				return ZerothOrder{Inner: s.inner(), Steps: s.Steps, Seed: s.Seed, Rows: s.Rows}
			}),
		entry("Fan et al., 2021", "derivative through sign steps, which is that of y_0", "1 ∇F, T ∇G",
			func(s Settings) Method {
				return SignDescent{Inner: SignSteps{Step: s.Step, Decay: 0.5}, Steps: s.Steps, Rows: s.Rows}
			}),
		entry("Ablin et al., ICML 2020", "F = G: the partial gradient at y; error of first order", "1 ∇G",
			func(s Settings) Method { return MinMinAnalytic{Rows: s.Rows} }).minMin(),
		entry("Ablin et al., ICML 2020", "F = G: derivative through all inner steps; error below first order",
			"1 ∇F, up to 2T ∇G, T Hv, T Cv; 2√T states",
			func(s Settings) Method {
				return MinMinAutomatic{Inner: s.inner(), Steps: s.Steps, Rows: s.Rows}
			}).minMin(),
		entry("Ablin et al., ICML 2020", "F = G: implicit function theorem at y; error of second order",
			"1 ∇F, 1 ∇G, n Hv, 1 Cv; as much again for the error estimate",
			func(s Settings) Method { return MinMinImplicit{Solver: s.solver(), Rows: s.Rows} }).minMin(),
	}
}
