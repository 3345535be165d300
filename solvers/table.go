package solvers

import (
	"fmt"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/internal/settings"
)

// Entry is one algorithm's row in the list: its paper, and the algorithm with every setting left to be chosen. What it
// needs is in Needs; what its state is and what an iteration costs is counted by its engine.
type Entry struct {
	Source    string
	Principle Principle
	Loops     string // "one", or "two" where steps on y repeat inside an iteration
	// Rate is how many iterations, or draws of samples, bring |∇h|² below ε, up to logarithms, under the assumptions of
	// the paper: for steps on minibatches where the algorithm is made for them. Rates of one algorithm differ between
	// papers; empty: none is known here.
	Rate  string
	About string // what it does, in a sentence
	Zero  Algorithm
}

// Principle is the way in which an algorithm differentiates through the lower level.
type Principle string

const (
	Implicit      Principle = "implicit"       // v ≈ H⁻¹∇yF, by the implicit function theorem
	Unrolled      Principle = "unrolled"       // the derivative of the inner steps
	Direct        Principle = "direct"         // none: the way through y*(x) is left out
	ValueFunction Principle = "value function" // gradients of G at y and at its minimizer, no second derivatives
)

// Name is the algorithm's.
func (e Entry) Name() string { return e.Zero.Name() }

// Algorithms lists every algorithm.
func Algorithms() []Entry {
	return []Entry{
		{"Ji, Yang, Liang, ICML 2021", Implicit, "two", "ε⁻¹",
			"Gradient steps on y, conjugate gradients on the linear system from the last v, then a step of x.",
			AIDBiO{}},
		{"Grazzi, Franceschi, Pontil, Salzo, ICML 2020", Implicit, "two", "ε⁻¹",
			"Gradient steps on y, fixed-point steps on the linear system from the last v, then a step of x.",
			AIDFP{}},
		{"Xiao, Shen, Yin, Chen, AISTATS 2023", Implicit, "two", "ε⁻²",
			"ALSET with linear equations on the lower level: projected steps on y, a series in their null space.",
			AiPOD{}},
		{"Chen, Sun, Yin, NeurIPS 2021", Implicit, "two", "ε⁻²",
			"A few stochastic steps on y, a Neumann series of random length, then a step of x on the same time scale.",
			ALSET{}},
		{"plain alternation", Direct, "two", "",
			"Steps on y for G and a step of x for F, as if y did not depend on x: the failure to compare with.",
			Alternation{}},
		{"Arbel, Mairal, ICLR 2022", Implicit, "two", "ε⁻²",
			"Stochastic steps on y and on the linear system, both from where they stood, then a step of x.", AmIGO{}},
		{"Ghadimi, Wang, arXiv 1802.02246, 2018", Implicit, "two", "ε⁻¹",
			"A growing loop of gradient steps on y, conjugate gradients to the end, then a step of x.", BA{}},
		{"Liu, Mu, Yuan, Zeng, Zhang, ICML 2020", Unrolled, "two", "asymptotic",
			"Steps on y for both objectives, then a step of x along the derivative of F through all of them.", BDA{}},
		{"Fan, Choné-Ducasse, Schmidt, Thrampoulidis, NeurIPS 2023", Implicit, "two", "",
			"Gradient steps on y and a step of x whose lengths are found by line searches on the minibatch at hand.",
			BiSLS{}},
		{"Liu, Ye, Wright, Stone, Liu, NeurIPS 2022", ValueFunction, "two", "",
			"A step of x and y along a direction that lowers F as far as the gap of the lower level may fall.", BOME{}},
		{"Ghadimi, Wang, arXiv 1802.02246, 2018", Implicit, "two", "ε⁻²",
			"A growing loop of stochastic steps on y, a Neumann series of random length, then a step of x.", BSA{}},
		{"Giovannelli, Kent, Vicente, 2021", Implicit, "two", "",
			"A growing loop of steps on y; outer products of gradients stand for the second derivatives.", BSG1{}},
		{"Giovannelli, Kent, Vicente, 2021", Implicit, "two", "ε⁻²",
			"A growing loop of steps on y, conjugate gradients from zero, then a step of x.", BSGH{}},
		{"Giovannelli, Kent, Vicente, 2021", Implicit, "two", "ε⁻²",
			"BSG-H with all second derivatives by finite differences of gradients.", BSGNFD{}},
		{"Xiao, Shen, Yin, Chen, AISTATS 2023", Implicit, "two", "ε⁻²",
			"AiPOD that leaves most projections out, of y by chance and of x for some steps, with a correction.",
			EAiPOD{}},
		{"Liu, Liu, Yuan, Zeng, Zhang, ICML 2021", ValueFunction, "two", "asymptotic",
			"Steps on z for G, on y for F with a barrier that keeps G near its value at z, then a step of x.", BVFIM{}},
		{"Kwon, Kwon, Wright, Nowak, ICML 2023", ValueFunction, "two", "ε^-7/2",
			"Gradient steps on y for F plus a multiple of G and on z for G alone; x moves by their difference.",
			F2SA{}},
		{"Yang, Jiang, Tatli, Xiao, RPI 2023", ValueFunction, "two", "",
			"F2SA with steps of Adam, whose moments of y and z begin anew in each iteration.", F2SAAdam{}},
		{"Kwon, Kwon, Wright, Nowak, ICML 2023", ValueFunction, "one", "ε^-5/2",
			"F2SA with one inner step and estimates with the momentum of STORM in the place of gradients.", F3SA{}},
		{"Li, Gu, Huang, AAAI 2022", Implicit, "one", "ε⁻²",
			"One step on y, on the linear system and on x, the last along an estimate with momentum.", FSLA{}},
		{"Shen, Chen, ICML 2023", ValueFunction, "one", "γ ε⁻¹",
			"A step of x and y on F plus a penalty on the squared gradient of G.", GPBGD{}},
		{"Xiao, Lu, Chen, NeurIPS 2023", Implicit, "two", "ε⁻¹",
			"Gradient steps on y, least squares for a linear system that may be singular, then a step of x.",
			GALET{}},
		{"Pedregosa, ICML 2016", Implicit, "two", "asymptotic",
			"The lower level and the linear system to tolerances that fall and have a finite sum, then a step of x.",
			HOAG{}},
		{"Liu, Liu, Zeng, Zhang, NeurIPS 2021", Unrolled, "two", "asymptotic",
			"Gradient steps from a start that is learned, differentiated up to the one where F is largest.", IAPTTGM{}},
		{"Ji, Yang, Liang, ICML 2021", Unrolled, "two", "ε⁻¹",
			"Gradient steps on y, then a step of x along the derivative of F through all of them.", ITDBiO{}},
		{"Shaban, Cheng, Hatch, Boots, AISTATS 2019", Unrolled, "two", "ε⁻¹ + bias",
			"Gradient steps on y, then a step of x along the derivative of F through the last few of them.", KRMD{}},
		{"Chen, Xiao, Balasubramanian, 2023", Implicit, "one", "ε⁻²",
			"SOBA whose x moves along an average of its directions.", MASOBA{}},
		{"Liu, Liu, Yao, Zeng, Zhang, ICML 2024", ValueFunction, "one", "",
			"One step on z for the Moreau envelope of G, on x and on y for F plus a penalty on the gap to it.",
			MEHA{}},
		{"Hu, Zhong, Yang, NeurIPS 2022", Implicit, "one", "ε⁻²",
			"SOBA on a few of many lower levels, whose x moves along an average, with ascent in a further variable.",
			MMB{}},
		{"Gu, Lu, Ram, Weng, ICLR 2023", Implicit, "one", "√n K^-2/5",
			"A step on y, on x by a Neumann series, and one of ascent in the weights of several upper objectives.",
			MORBiT{}},
		{"Yang, Ji, Liang, NeurIPS 2021", Implicit, "one", "ε^-3/2",
			"Steps of y and x along estimates with the momentum of STORM, with a Neumann series of fixed length.",
			MRBO{}},
		{"Khanduri, Zeng, Hong, Wai, Wang, Yang, 2021", Implicit, "one", "ε⁻²",
			"Plain steps of y, steps of x along an estimate with the momentum of STORM, with a random series.",
			MSTSA{}},
		{"Sow, Ji, Guan, Liang, 2022", ValueFunction, "two", "",
			"Steps on z for G, a step of the multiplier of the gap between y and z, then one of x and y.", PDBO{}},
		{"Sow, Ji, Liang, NeurIPS 2022", Unrolled, "two", "",
			"Gradient steps on y at x and at x moved along random directions; their differences give the step of x.",
			PZOBO{}},
		{"Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022", Implicit, "one", "(n+m)^2/3 ε⁻¹",
			"SOBA with the variance reduction of SAGA, which keeps tables of the last values of each minibatch.",
			SABA{}},
		{"Akhtar, Bedi, Thomdapu, Rajawat, IEEE TSP 2022", Implicit, "one", "gap ε⁻³ or ε⁻⁴",
			"Frank-Wolfe steps of x in a compact set along an estimate with the momentum of STORM.", SBFW{}},
		{"Ramzi, Mannel, Bai, Starck, Ciuciu, Moreau, ICLR 2022", Implicit, "two", "asymptotic",
			"HOAG whose v comes from the pairs of the quasi-Newton method that solves the lower level.", SHINE{}},
		{"Khanduri, Tsaknakis, Zhang, Liu, Liu, Zhang, Hong, ICML 2023", Implicit, "two", "asymptotic",
			"Projected steps on y with a small random linear term, then a linear system in the free coordinates.",
			SIGD{}},
		{"Fan, Ram, Liu, 2021", Unrolled, "two", "",
			"Sign steps on y, whose derivative is zero, then a step of x along the direct part of the derivative.",
			SignUnrolling{}},
		{"Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022", Implicit, "one", "ε⁻²",
			"One stochastic step on y, on the linear system and on x at once, each along an unbiased direction.",
			SOBA{}},
		{"Dagréou, Moreau, Vaiter, Ablin, AISTATS 2024", Implicit, "one", "(n+m)^1/2 ε⁻¹",
			"SOBA with the variance reduction of SARAH: differences of directions, exact ones once a period.", SRBA{}},
		{"Chen, Sun, Xiao, Yin, AISTATS 2022", Implicit, "one", "ε⁻²",
			"Estimates of the second derivatives as matrices; y moves with its minimizer along the tangent.", STABLE{}},
		{"Ji, Yang, Liang, ICML 2021", Implicit, "two", "ε⁻²",
			"Stochastic steps on y, a Neumann series of fixed length, then a step of x.", StocBiO{}},
		{"Khanduri, Zeng, Hong, Wai, Wang, Yang, NeurIPS 2021", Implicit, "one", "ε^-3/2",
			"Steps of y and x along estimates with the momentum of STORM, with a Neumann series of random length.",
			SUSTAIN{}},
		{"Guo, Hu, Zhang, Yang, 2021", Implicit, "one", "ε^-3/2",
			"Estimates with the momentum of STORM of every gradient and of the second derivatives as matrices.",
			SVRB{}},
		{"Hong, Wai, Wang, Yang, SIOPT 2023", Implicit, "one", "ε^-5/2",
			"One stochastic step on y, a Neumann series of random length, and a step of x that falls faster.", TTSA{}},
		{"Shen, Chen, ICML 2023", ValueFunction, "two", "γ ε⁻¹",
			"Gradient steps on z for G, then a step of x and y on F plus a penalty on the gap between y and z.",
			VPBGD{}},
		{"Yang, Ji, Liang, NeurIPS 2021", Implicit, "two", "ε^-3/2",
			"Steps of x, and of y in a loop, along recursive differences; exact directions once a period.", VRBO{}},
	}
}

// AlgorithmByName finds an algorithm; its error names the nearest one.
func AlgorithmByName(name string) (Entry, error) {
	var names []string
	for _, e := range Algorithms() {
		if e.Name() == name {
			return e, nil
		}
		names = append(names, e.Name())
	}
	return Entry{}, fmt.Errorf("unknown algorithm %q (there are %s)%s", name, strings.Join(names, ", "),
		nearest.Hint(name, names))
}

// plain refuses algorithms whose fields cannot be set: those that are no struct, or a pointer to one.
func plain(a Algorithm) error { return settings.Check("an algorithm", a) }

// Fields lists the names of an algorithm's settings.
func Fields(a Algorithm) (names []string) { return settings.Fields(a) }

// Decode sets fields of an algorithm from a YAML mapping or a JSON object, {"step": 0.1, "schedule": "linear"}; the
// others keep their values. Its error names an unknown field with the nearest one, or what a field wants.
func Decode(a Algorithm, text []byte) (Algorithm, error) {
	if err := plain(a); err != nil {
		return nil, err
	}
	return settings.Decode(a, text)
}

// Set sets fields given as texts, "step=0.1", as a command line gives them.
func Set(a Algorithm, assignments ...string) (Algorithm, error) {
	if err := plain(a); err != nil {
		return nil, err
	}
	return settings.Set(a, assignments...)
}
