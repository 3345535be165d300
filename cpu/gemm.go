package cpu

import (
	"slices"

	"bilevel/internal/expr"
)

// Sizes of the tile of the product that one item computes. They cut only rows and columns, which no sum crosses, so
// they may follow the number of threads and the caches. What a tile reads again and again, the block of B, takes half
// of the second-level cache (see tileCols), and a panel of A stays in the first-level cache; the sums of large tiles
// pass by once for each block of k. Tall tiles copy B less often: of 344×352, 512×512, 1024×512 and 2048×512 the last
// was fastest for 2048³ (two threads, Xeon with 2 MiB of L2, 4 KiB pages: 0.80 of the peak, 1024×512 0.79, 2048×704
// 0.58).
const (
	tileRows = 2048
	// leastWork is the time, in nanoseconds, below which a tile is not cut further.
	leastWork = 3_000
)

// Gemm computes out[b] = φ(A'[b]·B'[b], extras) for each b, where A' = A or mask ⊙ A and B' likewise. See NewGemm.
//
// The product is cut into tiles of rows and columns; one item computes a tile, all of k. How the sums of a tile are
// computed is the matter of a strategy (gemm_strategy.go): the fastest of several for the shapes and layouts at hand.
// Without an epilogue the sums go straight to out; otherwise to scratch memory, from where φ, a block program whose
// given input they are, takes them row by row of out.
type Gemm struct {
	pool           *Pool
	kernels        *kernels
	a, b           matrix // as computed: both transposed, and swapped, where transposed is set
	out            matrix // as computed; where sums go if sumsInOut is set
	batch, m, n, k int
	transposed     bool // computing outᵀ = Bᵀ·Aᵀ
	noEpilogue     bool
	after          *Map // φ in place, once all sums are there; nil: tile by tile, or there is none
	extrasApart    bool // no extra is out, which may then hold the sums
	sumsInOut      bool // the sums go straight to out, not to scratch memory first
	strategy       strategy
	nanos          float64 // estimate of the time on one thread
	fetch          float64 // and of that in which rows of a table come from memory (see TakeRows)
	args           []Array // out, A, B, masks and extras
	epilogue       *program

	kc                  int // terms that are summed before they are added to a tile
	rows, cols          int // of a tile, at most
	rowUnit, columnUnit int // tiles begin at multiples of them
	rowTiles, colTiles  int
	tileAt, to          int // where in a worker's scratch a tile, and a transposed tile, begin
}

// maxTileEpilogue is the most elements of out that get their epilogue tile by tile. Beyond, its short runs of a row
// cost more than a second pass over out: 64×784·784×1024 + bias + relu takes 0.39 ms so and 0.33 ms in two passes (two
// threads). Below, a gradient of 784-300-100-10 at batch 64 gains 3–9 %. Tiles of panels that hold whole rows always
// get theirs: 1024×100·100×300 times the derivative of relu 387 µs, 403 in two passes.
const maxTileEpilogue = 1 << 15

// NewGemm makes a product of a [b,m,k] and b [b,k,n] into out [b,m,n], in any strides. maskA and maskB, where not nil,
// have the shape of their operand. The epilogue φ is an expression whose input 0 is the product and inputs 1… are
// extras, all [b,m,n]; nil is the product itself. out overlaps neither operands nor masks; an extra may be exactly out.
//
// The cost is 2bmnk flops. Error: |fl(AB) - AB| ≤ (k+2) u |A||B| elementwise; a mask adds 1.
func NewGemm(pool *Pool, out, a, b Array, maskA, maskB *Array, epilogue *expr.Expr, extras []Array) *Gemm {
	return newGemm(pool, kernelsOf(pool.level), out, a, b, maskA, maskB, epilogue, extras)
}

// newGemm is NewGemm with the kernels of the pool's level, or some of them.
func newGemm(
	pool *Pool, kernels *kernels, out, a, b Array, maskA, maskB *Array, epilogue *expr.Expr, extras []Array,
) *Gemm {
	g := &Gemm{
		pool: pool, kernels: kernels,
		a: newMatrix(&a, maskA), b: newMatrix(&b, maskB), out: newMatrix(&out, nil),
		batch: a.Shape[0], m: a.Shape[1], n: b.Shape[2], k: a.Shape[2],
		args: append([]Array{out, a, b}, extras...),
	}
	for _, mask := range []*Array{maskA, maskB} {
		if mask != nil {
			g.args = append(g.args, *mask)
		}
	}
	if epilogue == nil {
		epilogue = &expr.Expr{Steps: []expr.Step{{Fn: expr.Input}}, Outs: []int{0}}
	}
	g.noEpilogue = epilogue.Steps[epilogue.Outs[0]] == expr.Step{Fn: expr.Input}
	g.epilogue = compile(spec{
		level: pool.level, expr: epilogue, shape: out.Shape, given: true,
		in: append([]Array{out}, extras...), out: []Array{out},
	})
	g.extrasApart = !slices.ContainsFunc(extras, func(x Array) bool { return x.same(&out) })
	if size(out.Shape) > 0 {
		g.plan()
	}
	if g.sumsInOut && !g.noEpilogue && size(out.Shape) > maxTileEpilogue && !g.strategy.wholeRows() {
		g = newGemm(pool, kernels, out, a, b, maskA, maskB, nil, nil)
		g.after = NewMap(pool, epilogue, out.Shape, append([]Array{out}, extras...), []Array{out})
	}
	return g
}

// plan chooses orientation, strategy and tiles.
func (g *Gemm) plan() {
	if g.batch > 1 && g.b.shared() && g.a.merges(g.m) && g.out.merges(g.m) {
		g.batch, g.m = 1, g.batch*g.m // one matrix on the right: the rows of all products are one matrix
	}
	other := *g
	other.transpose()
	choice, nanos := g.fastest()
	if c, t := other.fastest(); t < 0.95*nanos {
		*g = other
		choice, nanos = c, t
	}
	g.nanos, g.strategy = nanos, choice(g)
	g.strategy.plan()
	g.sumsInOut = g.out.cs == 1 && (g.noEpilogue || g.extrasApart && !g.transposed) && g.strategy.mayAddToOut()
	g.place()
}

// transpose makes g compute the transpose of the product.
func (g *Gemm) transpose() {
	g.transposed = !g.transposed
	g.a, g.b, g.out = g.b.transposed(), g.a.transposed(), g.out.transposed()
	g.m, g.n = g.n, g.m
}

// divide makes tiles of whole panels, high rows by wide columns: as many down and across, or fewer, nearly equal ones.
func (g *Gemm) divide(down, across, high, wide int) {
	rows, columns := (g.m+high-1)/high, (g.n+wide-1)/wide
	g.rowTiles, g.colTiles = min(down, rows), min(across, columns)
	g.rowUnit, g.columnUnit = high, wide
	g.rows, g.cols = (rows+g.rowTiles-1)/g.rowTiles*high, (columns+g.colTiles-1)/g.colTiles*wide
}

// row and column are where the tiles of a row and of a column begin.
func (g *Gemm) row(tile int) int {
	return min(g.m, (g.m+g.rowUnit-1)/g.rowUnit*tile/g.rowTiles*g.rowUnit)
}
func (g *Gemm) column(tile int) int {
	return min(g.n, (g.n+g.columnUnit-1)/g.columnUnit*tile/g.colTiles*g.columnUnit)
}

func roundUp(n, unit int) int { return (n + unit - 1) / unit * unit }

// place lays out the scratch memory of a worker.
func (g *Gemm) place() {
	reals, ints := g.epilogue.scratch() // whole blocks: what follows begins on a cache line
	take := func(need bool, n int) (at int) {
		at = reals
		if need {
			reals += roundUp(n, 16)
		}
		return at
	}
	g.tileAt = take(!g.sumsInOut, g.rows*g.cols)
	g.strategy.place(take)
	g.to = take(g.transposed && !g.sumsInOut, g.rows*min(g.cols, turnedRows))
	g.pool.reserve(reals, ints)
}

// tiles is the number of tiles that the product is cut into.
func (g *Gemm) tiles() int { return g.batch * g.rowTiles * g.colTiles }

// ready is that of strategies which copy nothing for all tiles, wholeRows of those whose tiles gain nothing by it.
func (g *Gemm) ready()          {}
func (g *Gemm) wholeRows() bool { return false }

// Run does the work; the caller holds the pool.
func (g *Gemm) Run() error {
	if g.epilogue.points == 0 {
		return nil
	}
	g.epilogue.begin(g.pool.workers[0])
	g.strategy.ready()
	g.pool.share(g.tiles(), g.nanos+g.fetch+g.epilogue.cost*float64(g.epilogue.points), g)
	if g.after != nil {
		return g.after.Run()
	}
	return nil
}
