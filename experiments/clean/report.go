package clean

import "bilevel/experiments"

// guidedReport is what `bilevel clean` shows of every form but Plain.
func guidedReport() experiments.Report {
	return experiments.Report{
		Before: []string{"corruption", "headline", "choice"},
		Rows: []experiments.Row{
			{Title: "test error of the cleaned model", Scalar: "test_error", Percent: true},
			{Title: "  of a model trained on all rows", Scalar: "controls.all.test_error", Percent: true},
			{Title: "  on the trusted rows alone", Scalar: "controls.trusted.test_error", Percent: true},
			{Title: "  by self-training", Scalar: "controls.self_training.test_error", Percent: true},
			{Title: "  on what confident learning keeps", Scalar: "controls.confident_learning.test_error",
				Percent: true},
			{Title: "error on held-out trusted rows, cleaned", Scalar: "held_out_error", Percent: true},
			{Title: "  trained on all rows", Scalar: "controls.all.held_out_error", Percent: true},
			{Title: "  on the trusted rows alone", Scalar: "controls.trusted.held_out_error", Percent: true},
			{Title: "  by self-training", Scalar: "controls.self_training.held_out_error", Percent: true},
			{Title: "  on what confident learning keeps", Scalar: "controls.confident_learning.held_out_error",
				Percent: true},
			{Title: "wrong labels by confident learning's estimate", Scalar: "confident_learning.wrong_labels",
				Whole: true},
			{Title: "ranking: a wrong label comes before a right one", Scalar: "auc", Percent: true},
			{Title: "  wrong among the first k rows, k the wrong labels", Scalar: "p_at_k", Percent: true},
			{Title: "  wrong among the flagged rows", Scalar: "precision", Percent: true},
			{Title: "  flagged among the wrong rows", Scalar: "recall", Percent: true},
			{Title: "hypergradient norm at the end of the last round", Scalar: "hypergradient.norm"},
			{Title: "  its error figure ({hypergradient.kind})", Scalar: "hypergradient.error"},
			{Title: "  share of the implicit term", Scalar: "hypergradient.implicit_share", Percent: true},
		},
		After: []string{"rule", "expected", "what_to_do", "advice"},
		Plots: []experiments.Plot{{
			File: "error-rounds", X: "round", Y: "error (%)", Over: "round", ScaleToPercent: true,
			Lines: []experiments.Line{{Name: "held-out trusted rows", Column: "held_out_error", Optional: true},
				{Name: "test, used for nothing else", Column: "test_error", Optional: true}},
		}},
		Histogram: experiments.Plot{
			File: "p-given", X: "p_given, the model's probability of the given label",
			Mark: experiments.Mark{Name: "above 0.5 the given label is the most probable", At: 0.5},
		},
	}
}
