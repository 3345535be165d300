package cpu

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
)

// Threads that sum parts of k at the same time give the bits of one thread, which sums them one after the other.
func TestPartsOfTerms(t *testing.T) {
	for _, level := range Levels() {
		if kernelsOf(level).mostDots == 0 {
			continue
		}
		taken := 0
		for _, threads := range []int{2, 3, 7} {
			one, many, r := newPoolAt(t, 1, level), newPoolAt(t, threads, level), rng(uint64(threads))
			var bd build
			plus := bd.outs(bd.step(expr.Add, bd.in(0), bd.c(2)))
			for range 40 {
				m, k, n := 1+r.IntN(300), 300+r.IntN(3000), 1+r.IntN(26)
				a, b := scattered(r, "padded", 1, m, k), scattered(r, layouts[r.IntN(len(layouts))], 1, k, n)
				var e *expr.Expr
				if r.IntN(2) == 0 {
					e = plus
				}
				out := scattered(r, layouts[r.IntN(len(layouts))], 1, m, n)
				require.NoError(t, hold(one, NewGemm(one, out, a, b, nil, nil, e, nil)))
				want := elements(out)
				clear(out.Real)
				g := NewGemm(many, out, a, b, nil, nil, e, nil)
				if d, ok := g.strategy.(*dotStrategy); ok && d.parts > 1 {
					taken++
				}
				require.NoError(t, hold(many, g))
				require.Equal(t, want, elements(out), fmt.Sprintf("%v on %d: %d×%d·%d×%d", level, threads, m, k, k, n))
			}
		}
		require.Greater(t, taken, 5, "%v", level)
	}
}
