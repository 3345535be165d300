package clean

import (
	"math"

	"bilevel/data"
)

// demonstration is the share of labels that are redrawn where a run shows what it can do on the embedded digits.
const demonstration = 0.2

// GuidedDefaults gives the settings of the forms other than Plain for a set; given is what the user asked for, and demo
// says that no data was named. Rows are drawn at random only where labels are corrupted on purpose, so that the
// source's are the truth; steps and iterations that stay zero are chosen by model, see net.stepFor and
// net.iterationsFor.
func GuidedDefaults(set *data.Dataset, given Config, demo bool) Config {
	s := given.settings()
	d := Config{Weights: given.Weights, Model: given.Model, Algorithm: "soba", Reg: s.Reg,
		Batch: min(s.Batch, set.Train.N())}
	if demo {
		d.Corrupt = demonstration
	}
	if (demo || given.Corrupt > 0) && set.Val == nil {
		p := Defaults(set, 0)
		d.Train, d.Val = p.Train, p.Val
	}
	return d
}

// Defaults gives the settings of the plain form for a set; iterations is what the user asked for, 0 where nothing was
// said.
//
// Steps and regularization were chosen on MNIST by the error on 10,000 training images that are in neither part of a
// run: regularization 0.0025 to 0.02, steps 0.02 to 0.4, outer steps 300 to 100,000, falling linearly or as a cosine or
// as 1/√k, after 4,096 and 20,000 iterations, three and two seeds. Error is flat around the values here. The rules
// carry them over to other sets: the lower step shrinks as √(1/iterations) and with the curvature, which grows with the
// number of standardized features; a row's weight moves by outer step / rows at each visit.
func Defaults(set *data.Dataset, iterations int) Config {
	n := set.Train.N()
	d := Config{Algorithm: "soba", Batch: 64, Reg: 0.005, Iterations: 4096, Schedule: "linear"}
	switch set.Name {
	case "mnist", "fashion-mnist":
		d.Corrupt, d.Train, d.Val = 0.5, 20000, 5000
	case "digits":
		d.Corrupt, d.Train, d.Val = 0.5, 1200, 200 // few trusted rows, as is usual; 397 are left for the test
		d.Iterations = 1000
	default: // a user's own rows: nothing is corrupted on purpose
		d.Train = n
		if set.Val == nil {
			d.Val = n / 5
			d.Train -= d.Val
		}
		if set.Test == nil {
			d.Train -= n / 5
		}
	}
	if set.Val != nil {
		d.Val = set.Val.N()
	}
	if iterations > 0 {
		d.Iterations = iterations
	}
	const features, steps = 785, 4096 // of the setting that was tuned
	d.Step = 0.05 * math.Sqrt(steps/float64(d.Iterations)) * math.Sqrt(features/float64(set.Train.Dim+1))
	d.OuterStep = 0.1 * float64(d.Train)
	return d
}
