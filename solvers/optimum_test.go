package solvers_test

import (
	"testing"

	"bilevel/device/cpudevice"
	"bilevel/solvers"
	"bilevel/solvers/solvertest"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
	"gonum.org/v1/gonum/floats"
)

// Every algorithm reaches the optimum of a quadratic problem to a tenth of the distance from where it starts, with the
// step sizes that it chooses and settings under which its bias is small: that of F²SA and of V-PBGD is of the order of
// one over the multiplier of G, a series of Q terms misses (1 - μ/L)^Q, and so do inner steps that are differentiated
// or that a gap is measured by. SUSTAIN's steps fall evenly, because powers of k are too small at once. Series of
// random length have fewer terms, because their noise grows with the number.
func TestOptimumFromOwnSteps(t *testing.T) {
	settings := map[string]solvers.Algorithm{
		"aipod": solvers.AiPOD{Terms: 40}, "e-aipod": solvers.EAiPOD{Terms: 40},
		"alset": solvers.ALSET{Terms: 40}, "bda": solvers.BDA{InnerSteps: 60, Aggregate: 0.1},
		"bome": solvers.BOME{InnerSteps: 30}, "bsa": solvers.BSA{Terms: 40}, "f3sa": solvers.F3SA{Multiplier: 1000},
		"iaptt-gm": solvers.IAPTTGM{InnerSteps: 40}, "sbfw": solvers.SBFW{Terms: 40},
		"svrb": solvers.SVRB{Exponent: -1, Schedule: "linear"},
		"f2sa": solvers.F2SA{Multiplier: 1000}, "f2sa-adam": solvers.F2SAAdam{Multiplier: 1000},
		"fsla":   solvers.FSLA{Exponent: -1, Schedule: "linear"},
		"g-pbgd": solvers.GPBGD{Penalty: 60}, "galet": solvers.GALET{VSteps: 60},
		"itd-bio": solvers.ITDBiO{InnerSteps: 40}, "k-rmd": solvers.KRMD{InnerSteps: 60},
		"meha":  solvers.MEHA{Multiplier: 30, Proximal: 0.02, MultiplierExponent: -1},
		"mmb":   solvers.MMB{Schedule: "constant"},
		"mrbo":  solvers.MRBO{Terms: 30, Exponent: -1, Schedule: "linear"},
		"mstsa": solvers.MSTSA{Terms: 40, Exponent: -1, Schedule: "linear"},
		"pzobo": solvers.PZOBO{InnerSteps: 40}, "stocbio": solvers.StocBiO{Terms: 60},
		"sustain": solvers.SUSTAIN{Terms: 40, Exponent: -1, Schedule: "linear"}, "ttsa": solvers.TTSA{Terms: 40},
		"v-pbgd": solvers.VPBGD{Penalty: 100}, "vrbo": solvers.VRBO{Terms: 30},
	}
	q := solvertest.NewQuadratic(1, 4, solvertest.Spectrum(12, 10))
	elsewhere := map[string]string{
		"alternation":    "the implicit term is left out",
		"bvfim":          "its barrier gets stiff; the problems that it is made for are in ends_test.go",
		"bsg-1":          "a matrix of rank one is in the place of H",
		"sign-unrolling": "the implicit term is left out",
	}
	for _, entry := range solvers.Algorithms() {
		if elsewhere[entry.Name()] != "" {
			continue
		}
		t.Run(entry.Name(), func(t *testing.T) {
			ex := tensortest.Executor(t, cpudevice.New(1)) // much faster than the reference
			p := load(t, ex, q)
			suit(p, entry.Zero)
			a := entry.Zero
			if s, ok := settings[entry.Name()]; ok {
				a = s
			}
			res := solve(t, ex, p, a, solvers.Options{Iterations: 3000})
			optimum := q.Optimum()
			start := floats.Distance(optimum, p.Upper.Start.Flat, 2)
			near := start / 10
			if entry.Name() == "sbfw" {
				near = start / 3 // F falls like 1/k, so that the distance falls like 1/√k
			}
			require.Less(t, floats.Distance(res.X.Flat, optimum, 2), near)
		})
	}
}
