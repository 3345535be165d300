package experiments

import "bilevel/data"

// CleanDefaults are the settings of a data set that a user did not give: sizes, regularization, steps and schedule. They
// were chosen on validation rows (see README, Defaults) and depend on the number of iterations.
type CleanDefaults struct {
	Corrupt         float64
	Train, Val      int
	Iterations      int
	Batch           int
	Reg             float64
	Step, OuterStep float64
	Schedule        string
}

// DefaultsForClean gives the settings for a set; iterations is what the user asked for, 0 where nothing was said.
func DefaultsForClean(set *data.Dataset, iterations int) CleanDefaults {
	n := set.Train.N()
	d := CleanDefaults{Batch: 64, Reg: 0.005, Iterations: 4096, Schedule: "linear", Step: 0.1, OuterStep: 3e4}
	switch set.Name {
	case "mnist", "fashion-mnist":
		d.Corrupt, d.Train, d.Val = 0.5, 20000, 5000
	case "digits":
		d.Corrupt, d.Train, d.Val = 0.5, 1000, 300
		d.Iterations = 2000
		d.OuterStep = 1000
	default: // a user's own rows: nothing is corrupted on purpose
		d.Train, d.Val = n, 0
		if set.Val == nil {
			d.Val = n / 5
			d.Train -= d.Val
		}
		if set.Test == nil {
			d.Train -= n / 5
		}
		d.OuterStep = 1.5 * float64(d.Train)
	}
	if set.Val != nil {
		d.Val = set.Val.N()
	}
	if iterations > 0 {
		d.Iterations = iterations
	}
	return d
}
