package solvers

// Draw is the number below limit that iteration k of a run draws.
func Draw(r Run, k, limit int) int { return r.draw(k, limit) }

// Multiplier is λ_k of F2SA, Penalty is γ_k of VPBGD.
func Multiplier(a F2SA, k int) float64 {
	return growing("", a.Multiplier, a.Growth, a.GrowthExponent).At(k)
}

func Penalty(a VPBGD, k int) float64 { return a.penalty(k) }
