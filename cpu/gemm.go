package cpu

import "bilevel/internal/expr"

// Kc is the number of terms that a product sums in registers before it adds them to memory. It is one fixed number: a
// product is never cut along k by threads or cache sizes, so its bits depend on its shape and the instruction set alone.
// A panel of Kc×nr of B and one of mr×Kc of A lie together in the first-level cache.
const Kc = 256

// Sizes of the tile of the product that one item computes. They cut only rows and columns, which no sum crosses, so they
// may follow the number of threads. A tile, and the part of B behind it, stay in the second-level cache.
const (
	tileRows = 64
	tileCols = 256
	// leastTile is the number of elements below which a tile is not cut further: 512 of them, 256 terms each, are 40 µs.
	leastTile = 512
)

const (
	// smallProduct is the number of multiplications up to which plain loops beat packing and tiles.
	smallProduct = 256
	// packAFrom is the number of columns from which A is worth packing where its terms do not lie one after the other:
	// the copy costs about as much as four columns, and spares a cache line per element for each panel of B.
	packAFrom = 48
	// narrow is the number of rows up to which a product that has more columns is computed as its transpose: the
	// operand that is packed should be the small one.
	narrow = 16
	// shareB is the largest B, in elements, that is packed once for all tiles; beyond it each tile packs its own part.
	shareB = 4 << 20
	// gemmRate estimates the speed, in multiplications per nanosecond.
	gemmRate = 3
)

// Gemm computes out[b] = φ(A'[b]·B'[b], extras) for each b, where A' = A or mask ⊙ A and B' likewise. See NewGemm.
//
// The product is cut into tiles of rows and columns. One item computes a tile in scratch memory, all of k, and then
// hands it to φ, a block program whose given input it is, row by row of out.
type Gemm struct {
	pool           *Pool
	a, b           matrix // as computed: both transposed, and swapped, where flip is set
	batch, m, n, k int
	flip           bool // computing outᵀ = Bᵀ·Aᵀ
	kernel         micro
	epilogue       *program
	packA          bool
	small          bool

	packed  []float32 // all of B, packed once per run, or nil
	packing packB

	rows, cols           int // of a tile
	rowTiles, colTiles   int
	tileAt, aAt, bAt, to int // where in a worker's scratch the tile, packed A and B, and a transposed tile begin
}

// NewGemm makes a product of a [b,m,k] and b [b,k,n] into out [b,m,n], in any strides. maskA and maskB, where not nil,
// have the shape of their operand. The epilogue φ is an expression whose input 0 is the product and inputs 1… are
// extras, all [b,m,n]; nil is the product itself. out overlaps neither operands nor masks; an extra may be exactly out.
//
// The cost is 2bmnk flops. Error: |fl(AB) - AB| ≤ (k+2) u |A||B| elementwise; a mask adds 1.
func NewGemm(pool *Pool, out, a, b Array, maskA, maskB *Array, epilogue *expr.Expr, extras []Array) *Gemm {
	g := &Gemm{
		pool: pool, a: newMatrix(&a, maskA), b: newMatrix(&b, maskB),
		batch: a.Shape[0], m: a.Shape[1], n: b.Shape[2], k: a.Shape[2],
	}
	if epilogue == nil {
		epilogue = &expr.Expr{Steps: []expr.Step{{Fn: expr.Input}}, Outs: []int{0}}
	}
	g.epilogue = compile(spec{
		expr: epilogue, shape: out.Shape, given: true,
		in: append([]Array{out}, extras...), out: []Array{out},
	})
	if size(out.Shape) > 0 {
		g.plan()
	}
	return g
}

// plan chooses orientation, kernel and tiles.
func (g *Gemm) plan() {
	if g.batch > 1 && g.b.shared() && g.a.merges(g.m) {
		g.batch, g.m = 1, g.batch*g.m // one matrix on the right: the rows of all products are one matrix
	}
	if g.m <= narrow && g.m < g.n {
		g.flip = true
		g.a, g.b = g.b.transposed(), g.a.transposed()
		g.m, g.n = g.n, g.m
	}
	g.small = g.m*g.n*g.k <= smallProduct
	g.kernel = microFor(g.n)
	g.packA = g.a.mask != nil || g.a.cs != 1 && g.n >= packAFrom

	up := func(n, unit int) int { return (n + unit - 1) / unit * unit }
	g.rows, g.cols = min(tileRows, up(g.m, g.kernel.mr)), min(tileCols, up(g.n, g.kernel.nr))
	for g.tiles() < 2*g.pool.Threads() && g.rows*g.cols > leastTile { // enough items for all threads
		if g.rows >= g.cols {
			g.rows = up(g.rows/2, g.kernel.mr)
		} else {
			g.cols = up(g.cols/2, g.kernel.nr)
		}
	}
	g.rowTiles, g.colTiles = (g.m+g.rows-1)/g.rows, (g.n+g.cols-1)/g.cols
	reals, ints := g.epilogue.scratch()
	kc := min(g.k, Kc)
	g.tileAt = reals
	g.aAt = g.tileAt + g.rows*g.cols
	g.bAt = g.aAt + g.rows*kc
	g.to = g.bAt + kc*g.cols
	reals = g.to
	if g.flip {
		reals += g.rows * g.cols
	}
	g.pool.reserve(reals, ints)

	if all := g.k * up(g.n, g.kernel.nr); !g.small && all <= shareB && (g.batch == 1 || g.b.shared()) && (g.rowTiles > 1 || g.batch > 1) {
		g.packed = make([]float32, all)
		g.packing = packB{g}
	}
}

// tiles is the number of tiles that the product is cut into.
func (g *Gemm) tiles() int {
	return g.batch * ((g.m + g.rows - 1) / g.rows) * ((g.n + g.cols - 1) / g.cols)
}

// Run does the work; the caller holds the pool.
func (g *Gemm) Run() error {
	if g.epilogue.points == 0 {
		return nil
	}
	g.epilogue.begin(g.pool.workers[0])
	if g.packed != nil {
		const move = 0.7 // nanoseconds per element
		g.pool.share(g.packing.items(), move*float64(len(g.packed)), &g.packing)
	}
	perPoint := float64(g.k)/gemmRate + g.epilogue.cost
	g.pool.share(g.tiles(), perPoint*float64(g.epilogue.points), g)
	return nil
}

// packB packs all of B once, for the tiles to share.
type packB struct{ *Gemm }

// items is the number of pieces: Kc rows by tileCols columns.
func (g *packB) items() int { return (g.k + Kc - 1) / Kc * g.colTiles }

// Do packs one piece.
func (g *packB) Do(_ *Worker, item int) {
	col, k0 := item%g.colTiles*g.cols, item/g.colTiles*Kc
	kc, n := min(Kc, g.k-k0), min(g.cols, g.n-col)
	g.b.pack(g.packedAt(k0, kc, col), 0, k0, col, kc, n, g.kernel.nr)
}

// packedAt is where the panels of the shared B for rows k0…k0+kc-1 and columns col… begin. col is a multiple of nr.
func (g *Gemm) packedAt(k0, kc, col int) []float32 {
	padded := (g.n + g.kernel.nr - 1) / g.kernel.nr * g.kernel.nr
	return g.packed[k0*padded+kc*col:]
}
