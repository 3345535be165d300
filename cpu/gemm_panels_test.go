package cpu

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/expr"
)

func vectors(g *Gemm) strategy { return &vectorStrategy{Gemm: g} }
func panels(g *Gemm) strategy  { return &panelStrategy{Gemm: g} }

// by is a product that takes one strategy, whatever is fastest, as it is given or transposed.
func by(p *Pool, s func(*Gemm) strategy, turned bool, out, a, b Array, maskA, maskB *Array, e *expr.Expr) *Gemm {
	g := NewGemm(p, out, a, b, maskA, maskB, e, nil)
	if g.transposed != turned {
		g.transpose()
	}
	g.after = nil
	g.strategy = s(g)
	g.strategy.plan()
	g.sumsInOut = g.out.cs == 1 && (g.noEpilogue || g.extrasApart && !turned)
	g.place()
	return g
}

// Panels give the bits of the strategy that copies nothing in common, for any number of threads: operands as they lie,
// transposed, every other element, masked; parts of panels; threads that copy what they read themselves, because B is
// small, because their rows are few, or because they have columns of their own; sums in several parts.
func TestPanels(t *testing.T) {
	for _, level := range Levels() {
		if kernelsOf(level).panelRows == 0 {
			continue
		}
		for _, threads := range []int{1, 2, 3, 7} {
			t.Run(fmt.Sprintf("%v on %d", level, threads), func(t *testing.T) {
				p, r := newPoolAt(t, threads, level), rng(uint64(threads))
				var bd build
				twice := bd.outs(bd.step(expr.Mul, bd.in(0), bd.c(2)))
				for range 60 {
					m, k, n := 12+r.IntN(240), 1+r.IntN(200), 32+r.IntN(220)
					switch r.IntN(5) {
					case 0:
						m, k = 12+r.IntN(30), 1+r.IntN(1300)
					case 1:
						m, k = 96*threads+r.IntN(30), 600+r.IntN(50)
					}
					turned := r.IntN(2) == 0
					how := func() string { return layouts[r.IntN(len(layouts))] }
					a, b := scattered(r, how(), 1, m, k), scattered(r, how(), 1, k, n)
					var maskA, maskB *Array
					if r.IntN(4) == 0 {
						maskA = asMask(r, scattered(r, how(), 1, m, k))
					}
					if r.IntN(4) == 0 {
						maskB = asMask(r, scattered(r, how(), 1, k, n))
					}
					var e *expr.Expr
					if r.IntN(3) == 0 {
						e = twice
					}
					out := scattered(r, how(), 1, m, n)
					require.NoError(t, hold(p, by(p, vectors, false, out, a, b, maskA, maskB, e)))
					want := elements(out)
					clear(out.Real)
					require.NoError(t, hold(p, by(p, panels, turned, out, a, b, maskA, maskB, e)))
					require.Equal(t, want, elements(out), "%d×%d·%d×%d, strides %v %v %v", m, k, k, n, a.Strides,
						b.Strides, out.Strides)
				}
			})
		}
	}
}

// The products that panels are for take them.
func TestPanelsAreTaken(t *testing.T) {
	for _, level := range Levels() {
		p := newPoolAt(t, 2, level)
		square := func(strides ...int) Array {
			return Array{Shape: []int{1, 512, 512}, Strides: strides, Real: make([]float32, 512*512)}
		}
		g := NewGemm(p, square(0, 512, 1), square(0, 1, 512), square(0, 512, 1), nil, nil, nil, nil)
		_, taken := g.strategy.(*panelStrategy)
		require.Equal(t, kernelsOf(level).panelRows > 0, taken, "%v", level)
	}
}
