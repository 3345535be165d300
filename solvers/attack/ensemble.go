package attack

// Standard is the standard version of AutoAttack (Croce, Hein, ICML 2020, section 5): APGD on the cross-entropy,
// targeted APGD on the difference of logits ratio, targeted FAB, each with 100 steps and one start, and Square with
// 5,000 queries.
func Standard() []Attack {
	return []Attack{APGD{Restarts: 1}, APGD{Loss: "dlr-targeted", Restarts: 1}, FAB{Restarts: 1}, Square{}}
}
