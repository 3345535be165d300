package solvers

// Draw is the number below limit that iteration k of a run draws.
func Draw(r Run, k, limit int) int { return r.draw(k, limit) }
