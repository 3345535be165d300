package solvers_test

import (
	"testing"

	"bilevel/solvers"

	"github.com/stretchr/testify/require"
)

// row is an algorithm with settings for tests, one for each row of the list.
type row struct {
	small   solvers.Algorithm // short steps, and settings that are not the defaults
	quick   solvers.Algorithm // comes to the minimum of a problem whose lower Hessian is 1 in 1,000 iterations
	weights solvers.Algorithm // finds weights of rows with running statistics; nil where it cannot use them
	commits float64           // how often weights moves running statistics in an iteration
}

// rowsByName has a row for every algorithm.
func rowsByName(t *testing.T) map[string]row {
	byName := map[string]row{
		"aid-bio": {
			solvers.AIDBiO{Step: 0.1, OuterStep: 0.02, InnerSteps: 2, CGSteps: 2},
			solvers.AIDBiO{Step: 0.5, OuterStep: 0.1, InnerSteps: 5, CGSteps: 2},
			solvers.AIDBiO{Step: 0.2, OuterStep: 0.3, InnerSteps: 3, CGSteps: 2}, 3,
		},
		"alset": {
			solvers.ALSET{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 4, InnerSteps: 2},
			solvers.ALSET{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5, InnerSteps: 1},
			solvers.ALSET{Step: 0.2, OuterStep: 20, NeumannStep: 0.2, Terms: 4, InnerSteps: 2}, 2,
		},
		"amigo": {
			solvers.AmIGO{Step: 0.1, VStep: 0.05, OuterStep: 0.02, InnerSteps: 2, VSteps: 3},
			solvers.AmIGO{Step: 0.5, OuterStep: 0.1, InnerSteps: 5},
			solvers.AmIGO{Step: 0.2, OuterStep: 20, InnerSteps: 3}, 3,
		},
		"bome": {
			solvers.BOME{Step: 0.1, ZStep: 0.05, OuterStep: 0.02, InnerSteps: 3, Phi: "value", Schedule: "cosine"},
			solvers.BOME{Step: 0.2, ZStep: 0.5, OuterStep: 0.1, InnerSteps: 5, Schedule: "linear"},
			solvers.BOME{Step: 0.2, OuterStep: 20, InnerSteps: 3}, 4,
		},
		"bsa": {
			solvers.BSA{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 4, InnerSteps: 1, InnerExponent: 0.4},
			solvers.BSA{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5, InnerExponent: 0.2},
			solvers.BSA{Step: 0.2, OuterStep: 20, NeumannStep: 0.2, Terms: 4, InnerSteps: 2, InnerExponent: -1}, 2,
		},
		"fsla": {
			solvers.FSLA{Step: 0.1, OuterStep: 0.02, Momentum: 0.3},
			solvers.FSLA{Step: 0.2, OuterStep: 0.1, Exponent: -1},
			solvers.FSLA{Step: 0.2, OuterStep: 20, Exponent: -1}, 1,
		},
		"meha": {
			solvers.MEHA{YStep: 0.05, ZStep: 0.1, OuterStep: 0.02, Proximal: 0.5, Multiplier: 3, Schedule: "cosine"},
			solvers.MEHA{YStep: 0.5, ZStep: 0.5, OuterStep: 0.5, Proximal: 0.1, Multiplier: 30, MultiplierExponent: -1},
			solvers.MEHA{ZStep: 0.2, OuterStep: 100, Proximal: 0.5, MultiplierExponent: -1}, 1,
		},
		"mrbo": {
			solvers.MRBO{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 3, Momentum: 0.5},
			solvers.MRBO{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5},
			solvers.MRBO{Step: 0.2, OuterStep: 20, NeumannStep: 0.2, Terms: 3, Exponent: -1}, 1,
		},
		"pzobo": {
			solvers.PZOBO{Step: 0.1, OuterStep: 0.02, InnerSteps: 3, Smoothing: 0.1, Directions: 2},
			solvers.PZOBO{Step: 0.5, OuterStep: 0.1, InnerSteps: 5, Directions: 3},
			solvers.PZOBO{Step: 0.2, OuterStep: 5, InnerSteps: 3, Directions: 10}, 3,
		},
		"f2sa": {
			solvers.F2SA{YStep: 0.01, ZStep: 0.1, OuterStep: 0.02, Multiplier: 3, Growth: 0.1, InnerSteps: 3,
				Schedule: "sqrt", GrowthExponent: 0.5},
			solvers.F2SA{YStep: 0.02, ZStep: 0.2, OuterStep: 0.02, Multiplier: 10, InnerSteps: 5},
			solvers.F2SA{ZStep: 0.2, OuterStep: 20, InnerSteps: 3}, 4,
		},
		"f2sa-adam": {
			solvers.F2SAAdam{YStep: 0.02, ZStep: 0.01, OuterStep: 0.02, Multiplier: 3, Growth: 0.1, InnerSteps: 3},
			solvers.F2SAAdam{YStep: 0.02, ZStep: 0.02, OuterStep: 0.02, InnerSteps: 5, Schedule: "linear"},
			solvers.F2SAAdam{ZStep: 0.02, OuterStep: 0.02, InnerSteps: 3}, 4,
		},
		"itd-bio": {
			solvers.ITDBiO{Step: 0.1, OuterStep: 0.02, InnerSteps: 3, Cold: true, Schedule: "cosine"},
			solvers.ITDBiO{Step: 0.5, OuterStep: 0.1, InnerSteps: 5},
			solvers.ITDBiO{Step: 0.2, OuterStep: 20, InnerSteps: 3}, 3,
		},
		"ma-soba": {
			solvers.MASOBA{Step: 0.1, OuterStep: 0.02, Average: 0.3, Schedule: "cosine"},
			solvers.MASOBA{Step: 0.2, OuterStep: 0.02},
			solvers.MASOBA{Step: 0.2, OuterStep: 20}, 1,
		},
		"saba": {
			solvers.SABA{Step: 0.1, OuterStep: 0.02, Start: "full"},
			solvers.SABA{Step: 0.2, OuterStep: 0.1},
			solvers.SABA{Step: 0.1, OuterStep: 10}, 1,
		},
		"soba": {
			solvers.SOBA{Step: 0.1, OuterStep: 0.02, Schedule: "cosine"},
			solvers.SOBA{Step: 0.2, OuterStep: 0.1},
			solvers.SOBA{Step: 0.2, OuterStep: 20}, 1,
		},
		"srba": {
			solvers.SRBA{Step: 0.1, OuterStep: 0.02, Period: 7},
			solvers.SRBA{Step: 0.2, OuterStep: 0.1, Period: 7}, nil, 0,
		},
		"stocbio": {
			solvers.StocBiO{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 2, InnerSteps: 3},
			solvers.StocBiO{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5, InnerSteps: 5},
			solvers.StocBiO{Step: 0.2, OuterStep: 20, InnerSteps: 3, Terms: 3}, 3,
		},
		"sustain": {
			solvers.SUSTAIN{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 4, Momentum: 0.5},
			solvers.SUSTAIN{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5, Momentum: 0.5},
			solvers.SUSTAIN{Step: 0.2, OuterStep: 20, NeumannStep: 0.2, Terms: 4, Exponent: -1}, 1,
		},
		"ttsa": {
			solvers.TTSA{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 4, Delay: 5},
			solvers.TTSA{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5},
			solvers.TTSA{Step: 0.2, OuterStep: 20, NeumannStep: 0.2, Terms: 4}, 1,
		},
		"v-pbgd": {
			solvers.VPBGD{YStep: 0.05, ZStep: 0.1, OuterStep: 0.02, Penalty: 5, Begin: 1, Ramp: 40, InnerSteps: 2},
			solvers.VPBGD{YStep: 0.5, ZStep: 0.5, OuterStep: 0.2, Penalty: 10, InnerSteps: 5},
			solvers.VPBGD{ZStep: 0.2, OuterStep: 100, InnerSteps: 3}, 4,
		},
		"vrbo": {
			solvers.VRBO{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 2, InnerSteps: 2, Period: 7},
			solvers.VRBO{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5, InnerSteps: 5, Period: 7}, nil, 0,
		},
		"aid-fp": {
			solvers.AIDFP{Step: 0.1, VStep: 0.05, OuterStep: 0.02, InnerSteps: 2, VSteps: 3},
			solvers.AIDFP{Step: 0.5, OuterStep: 0.1, InnerSteps: 5, Cold: true},
			solvers.AIDFP{Step: 0.2, OuterStep: 20, InnerSteps: 3, Cold: true}, 3,
		},
		"ba": {
			solvers.BA{Step: 0.1, OuterStep: 0.02, InnerSteps: 2, InnerExponent: 0.1, CGSteps: 2},
			solvers.BA{Step: 0.5, OuterStep: 0.1, InnerSteps: 5, InnerExponent: -1},
			solvers.BA{Step: 0.2, OuterStep: 0.3, InnerSteps: 3, InnerExponent: -1, CGSteps: 2}, 3,
		},
		"bsg-1": {
			solvers.BSG1{Step: 0.1, OuterStep: 0.02, InnerSteps: 2, InnerExponent: 0.1, Epsilon: 1e-3},
			solvers.BSG1{Step: 0.3, OuterStep: 0.1, InnerExponent: -1, Epsilon: -1}, nil, 0,
		},
		"bsg-h": {
			solvers.BSGH{Step: 0.1, OuterStep: 0.02, InnerSteps: 2, InnerExponent: 0.1, CGSteps: 2},
			solvers.BSGH{Step: 0.5, OuterStep: 0.1, InnerSteps: 5, InnerExponent: -1, CGSteps: 1},
			solvers.BSGH{Step: 0.2, OuterStep: 0.3, InnerSteps: 3, InnerExponent: -1, CGSteps: 2}, 3,
		},
		"bsg-n-fd": {
			solvers.BSGNFD{Step: 0.1, OuterStep: 0.02, InnerSteps: 2, InnerExponent: 0.1, CGSteps: 2, Smoothing: 0.5},
			solvers.BSGNFD{Step: 0.5, OuterStep: 0.1, InnerSteps: 5, InnerExponent: -1, CGSteps: 1},
			solvers.BSGNFD{Step: 0.2, OuterStep: 0.3, InnerSteps: 3, InnerExponent: -1, CGSteps: 2}, 3,
		},
		"g-pbgd": {
			solvers.GPBGD{Step: 0.05, OuterStep: 0.02, Penalty: 5, Begin: 1, Ramp: 40},
			solvers.GPBGD{Step: 0.5, OuterStep: 0.2, Penalty: 20},
			solvers.GPBGD{Step: 0.5, OuterStep: 2000, Penalty: 1}, 1,
		},
		"galet": {
			solvers.GALET{Step: 0.1, VStep: 0.05, OuterStep: 0.02, InnerSteps: 2, VSteps: 3},
			solvers.GALET{Step: 0.5, OuterStep: 0.1, InnerSteps: 5, VSteps: 5}, nil, 0,
		},
		"k-rmd": {
			solvers.KRMD{Step: 0.1, OuterStep: 0.02, InnerSteps: 4, Last: 2, Cold: true, Schedule: "cosine"},
			solvers.KRMD{Step: 0.5, OuterStep: 0.1, InnerSteps: 5, Last: 2},
			solvers.KRMD{Step: 0.2, OuterStep: 20, InnerSteps: 3}, 3,
		},
		"mstsa": {
			solvers.MSTSA{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 4, Momentum: 0.5},
			solvers.MSTSA{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5, Momentum: 0.5},
			solvers.MSTSA{Step: 0.2, OuterStep: 20, NeumannStep: 0.2, Terms: 4, Exponent: -1}, 1,
		},
		"alternation": {
			solvers.Alternation{Step: 0.1, OuterStep: 0.02, InnerSteps: 2},
			solvers.Alternation{Step: 0.5, OuterStep: 0.1, Schedule: "linear"}, nil, 0,
		},
		"bda": {
			solvers.BDA{Step: 0.1, OuterStep: 0.02, InnerSteps: 3, Cold: true, Schedule: "cosine"},
			solvers.BDA{Step: 0.5, OuterStep: 0.1, InnerSteps: 10, Aggregate: 0.1},
			solvers.BDA{Step: 0.2, OuterStep: 20, InnerSteps: 3}, 3,
		},
		"f3sa": {
			solvers.F3SA{YStep: 0.01, ZStep: 0.1, OuterStep: 0.02, Multiplier: 3, Growth: 0.1, Schedule: "sqrt",
				GrowthExponent: 0.5, ZExponent: 0.1},
			solvers.F3SA{YStep: 0.02, ZStep: 0.2, OuterStep: 0.02, Multiplier: 10},
			solvers.F3SA{ZStep: 0.2, OuterStep: 20}, 1,
		},
		"iaptt-gm": {
			solvers.IAPTTGM{Step: 0.1, ZStep: 0.05, OuterStep: 0.02, InnerSteps: 3, Schedule: "cosine"},
			solvers.IAPTTGM{Step: 0.5, OuterStep: 0.1, InnerSteps: 5},
			solvers.IAPTTGM{Step: 0.2, ZStep: 0.2, OuterStep: 20, InnerSteps: 3}, 3,
		},
		"pdbo": {
			solvers.PDBO{Step: 0.05, ZStep: 0.1, OuterStep: 0.02, DualStep: 2, InnerSteps: 3},
			solvers.PDBO{Step: 0.1, ZStep: 0.5, OuterStep: 0.1, InnerSteps: 5},
			solvers.PDBO{Step: 0.1, ZStep: 0.2, OuterStep: 10, InnerSteps: 3}, 3,
		},
		"sbfw": {
			solvers.SBFW{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 4, Momentum: 0.5},
			solvers.SBFW{Step: 0.5, NeumannStep: 0.5, Terms: 5}, nil, 0,
		},
		"sign-unrolling": {
			solvers.SignUnrolling{Step: 0.1, OuterStep: 0.02, InnerSteps: 2},
			solvers.SignUnrolling{Step: 0.1, OuterStep: 0.1, Schedule: "linear"}, nil, 0,
		},
		"stable": {
			solvers.STABLE{Step: 0.1, OuterStep: 0.02, Momentum: 0.4},
			solvers.STABLE{Step: 0.5, OuterStep: 0.1}, nil, 0,
		},
		"svrb": {
			solvers.SVRB{Step: 0.1, OuterStep: 0.02, Momentum: 0.4},
			solvers.SVRB{Step: 0.5, OuterStep: 0.1}, nil, 0,
		},
		"aipod": {
			solvers.AiPOD{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 4, InnerSteps: 2},
			solvers.AiPOD{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5, InnerSteps: 1}, nil, 0,
		},
		"e-aipod": {
			solvers.EAiPOD{Step: 0.1, OuterStep: 0.02, NeumannStep: 0.1, Terms: 4, InnerSteps: 2, UpperSteps: 3,
				Probability: 0.3},
			solvers.EAiPOD{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5, InnerSteps: 1}, nil, 0,
		},
		"sigd": {
			solvers.SIGD{Step: 0.1, OuterStep: 0.02, InnerSteps: 2, CGSteps: 2, Perturbation: 0.05},
			solvers.SIGD{Step: 0.5, OuterStep: 0.1, InnerSteps: 5, CGSteps: 1}, nil, 0,
		},
		"bisls": {
			solvers.BiSLS{Step: 0.1, OuterStep: 0.02, InnerSteps: 2, CGSteps: 2, Decrease: 0.2},
			solvers.BiSLS{Step: 0.5, OuterStep: 0.1, InnerSteps: 5, CGSteps: 1}, nil, 0,
		},
		"bvfim": {
			solvers.BVFIM{Step: 0.1, ZStep: 0.1, OuterStep: 0.002, InnerSteps: 2, UpperSteps: 2, Penalty: "quadratic",
				Barrier: 5},
			solvers.BVFIM{Step: 0.5, ZStep: 0.5, OuterStep: 0.1, InnerSteps: 5, UpperSteps: 5}, nil, 0,
		},
		"mmb": {
			solvers.MMB{Step: 0.1, OuterStep: 0.02, DualStep: 0.3, Average: 0.3, Schedule: "cosine"},
			solvers.MMB{Step: 0.2, OuterStep: 0.02}, nil, 0,
		},
		"morbit": {
			solvers.MORBiT{Step: 0.1, OuterStep: 0.02, DualStep: 0.3, NeumannStep: 0.1, Terms: 3, Schedule: "cosine"},
			solvers.MORBiT{Step: 0.5, OuterStep: 0.1, NeumannStep: 0.5, Terms: 5}, nil, 0,
		},
		"hoag": {
			solvers.HOAG{OuterStep: 0.02, Tolerance: 1e-5, Rule: "quadratic"},
			solvers.HOAG{OuterStep: 0.1}, nil, 0,
		},
		"shine": {
			solvers.SHINE{OuterStep: 0.02, Tolerance: 2e-3, Every: 2, Refine: 3, Fallback: 5},
			solvers.SHINE{OuterStep: 0.1}, nil, 0,
		},
	}
	for _, e := range solvers.Algorithms() {
		require.NotNil(t, byName[e.Name()].small, "%s has no settings in this test", e.Name())
	}
	require.Len(t, byName, len(solvers.Algorithms()))
	return byName
}
