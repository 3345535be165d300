package solvers

import (
	"context"

	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
)

// InitDrawing is Init with the lengths of randomized series given: iteration k takes lengths(k, limit).
func InitDrawing(ctx context.Context, b *problem.Bound, a Algorithm, n int, lengths func(k, limit int) int) (
	*engine.Engine, Algorithm, error) {
	return initRun(ctx, b, a, Run{Iterations: n, length: lengths})
}

// Draw is the number below limit that iteration k of a run draws.
func Draw(r Run, k, limit int) int { return r.draw(k, limit) }

// Multiplier is λ_k of F2SA, Penalty is γ_k of VPBGD.
func Multiplier(a F2SA, k int) float64 {
	return growing("", a.Multiplier, a.Growth, a.GrowthExponent).At(k)
}

func Penalty(a VPBGD, k int) float64 { return a.penalty(k) }
