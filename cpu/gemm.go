package cpu

import (
	"slices"

	"bilevel/internal/expr"
)

// Kc is the most terms that a product sums in registers before it adds them to memory. A product is cut along k into
// equal pieces by its depth alone, never by threads or cache sizes, so its bits depend on its shape and the instruction
// set alone. A panel of A, 14×Kc or 28 KiB, stays in the first-level cache while B passes by. Of 256, 384, 512, 768 and 1024,
// 512 was fastest for 1024³ (0.73 of the peak on two threads; 384: 0.70, 1024: 0.63).
const Kc = 512

// Sizes of the tile of the product that one item computes. They cut only rows and columns, which no sum crosses, so they
// may follow the number of threads. What a tile reads again and again, the block of B (Kc×tileCols, 1 MiB) and a panel of
// A, stays in the second-level cache; the sums of large tiles pass by once for each piece of k. Tall tiles copy B less
// often: of 344×352, 512×512, 1024×512 and 2048×512 the last was fastest for 2048³ (two threads, Xeon with 2 MiB of L2,
// 4 KiB pages: 0.80 of the peak, 1024×512 0.79, 2048×704 0.58).
const (
	tileRows = 2048
	tileCols = 512
	// leastWork is the time, in nanoseconds, below which a tile is not cut further.
	leastWork = 10_000
)

// Gemm computes out[b] = φ(A'[b]·B'[b], extras) for each b, where A' = A or mask ⊙ A and B' likewise. See NewGemm.
//
// The product is cut into tiles of rows and columns; one item computes a tile, all of k. Kernels read A where it lies,
// whatever its layout, and B too where its rows lie in memory one element after the other; other operands, and those with
// a mask, are copied block by block. Where there are matrix units, both operands of a large product are cut into pieces for
// them instead. Without an epilogue the sums go straight to out; otherwise to scratch memory, from where φ, a block program
// whose given input they are, takes them row by row of out.
type Gemm struct {
	pool           *Pool
	kernels        *kernels
	a, b           matrix // as computed: both transposed, and swapped, where flip is set
	out            matrix // as computed; where sums go if direct is set
	batch, m, n, k int
	flip           bool // computing outᵀ = Bᵀ·Aᵀ
	bare           bool // no epilogue
	after          *Map // φ in place, once all sums are there; nil: tile by tile, or there is none
	alone          bool // no extra is out, which may then hold the sums
	direct         bool // the sums go straight to out
	copyA, copyB   bool
	dots           int     // columns of a kernel whose vectors run along k; 0: they run along the columns
	pieces         bool    // in bfloat16 pieces (gemm_pieces.go)
	nanos          float64 // estimate of the time on one thread
	rowsA, rowsB   *Rows   // where the rows of A or B are found; nil: in their place
	args           []Array // out, A, B, masks and extras
	epilogue       *program

	vecs                                  int // width of a kernel in vectors
	kc                                    int // terms of a piece of k
	rows, cols                            int // of a tile
	block                                 int // columns of B cut into pieces at a time
	rowTiles, colTiles                    int
	tileAt, aAt, bAt, tempAt, spareAt, to int // where in a worker's scratch the tile, copies of A and B, half-done copies, and a transposed tile begin
}

// mostEager is the most elements of out that get their epilogue tile by tile. Beyond, its short runs of a row cost more than
// a second pass over out: 64×784·784×1024 + bias + relu takes 0.39 ms so and 0.33 ms in two passes (two threads). Below, a
// gradient of 784-300-100-10 at batch 64 gains 3–9 %.
const mostEager = 1 << 15

// NewGemm makes a product of a [b,m,k] and b [b,k,n] into out [b,m,n], in any strides. maskA and maskB, where not nil,
// have the shape of their operand. The epilogue φ is an expression whose input 0 is the product and inputs 1… are
// extras, all [b,m,n]; nil is the product itself. out overlaps neither operands nor masks; an extra may be exactly out.
//
// The cost is 2bmnk flops. Error: |fl(AB) - AB| ≤ (k+2) u |A||B| elementwise; a mask adds 1.
func NewGemm(pool *Pool, out, a, b Array, maskA, maskB *Array, epilogue *expr.Expr, extras []Array) *Gemm {
	return newGemm(pool, kernelsOf(pool.level), out, a, b, maskA, maskB, epilogue, extras)
}

// newGemm is NewGemm with the kernels of the pool's level, or some of them.
func newGemm(pool *Pool, kernels *kernels, out, a, b Array, maskA, maskB *Array, epilogue *expr.Expr, extras []Array) *Gemm {
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
	g.bare = epilogue.Steps[epilogue.Outs[0]] == expr.Step{Fn: expr.Input}
	g.epilogue = compile(spec{
		level: pool.level, expr: epilogue, shape: out.Shape, given: true,
		in: append([]Array{out}, extras...), out: []Array{out},
	})
	g.alone = !slices.ContainsFunc(extras, func(x Array) bool { return x.same(&out) })
	if size(out.Shape) > 0 {
		g.plan()
	}
	if g.direct && !g.bare && size(out.Shape) > mostEager {
		g = newGemm(pool, kernels, out, a, b, maskA, maskB, nil, nil)
		g.after = NewMap(pool, epilogue, out.Shape, append([]Array{out}, extras...), []Array{out})
	}
	return g
}

// plan chooses orientation, copies and tiles.
func (g *Gemm) plan() {
	if g.batch > 1 && g.b.shared() && g.a.merges(g.m) && g.out.merges(g.m) {
		g.batch, g.m = 1, g.batch*g.m // one matrix on the right: the rows of all products are one matrix
	}
	flipped := *g
	flipped.turn()
	flipped.choose()
	if g.choose(); flipped.nanos < 0.95*g.nanos {
		*g = flipped
	}
	g.vecs = g.width()
	g.copyA = g.a.mask != nil || g.n > leastReuse && (g.a.scattered() || conflicting(g.a.layout, g.kernels.most[g.kernels.wide]))
	g.copyB = !g.b.plain() || g.m > leastReuse && conflicting(g.b.layout, g.k) || g.m >= leastAligned && g.b.rs%16 != 0
	most := Kc
	if g.dots > 0 {
		g.copyA, g.copyB, most = false, !g.b.down(), dotsKc
	}
	parts := max(1, (g.k+most-1)/most)
	g.kc = (g.k + parts - 1) / parts
	if g.pieces {
		parts = (g.k + pieceKc - 1) / pieceKc
		g.kc = roundUp((g.k+parts-1)/parts, pieceTerms)
		g.cutPieces()
	} else {
		g.cut()
	}
	g.direct = g.out.cs == 1 && (g.bare || g.alone && !g.flip)
	if g.pieces && g.k > g.kc && g.colTiles > 1 && g.out.rs%16 != 0 {
		g.direct = false // two threads would add to the same lines again and again
	}
	g.place()
}

// leastReuse is the number of times that an element takes part in sums from which on its copy pays. One thread, share of
// the peak with and without, Xeon with 48 KiB and 2 MiB: A conflicting, 256×1024·1024×1024, 0.82 and 0.79; B conflicting, 64
// rows, 0.68 and 0.73, 256 rows, 0.82 and 0.78; A scattered, 784×256·256×n, n = 1024, 0.87 and 0.81, n = 64, 0.69 and 0.73.
const leastReuse = 128

// leastAligned is the number of rows from which on a copy of B pays where its rows do not begin on cache lines, so that every
// vector touches two: 1024×784·784×300 on one thread 0.88 of the peak, in place 0.83; for 256 rows there is no difference.
const leastAligned = 1024

// conflicting says whether rows lie such that they compete for the same places of a cache: a multiple of a page apart,
// more rows than a cache has ways.
func conflicting(l layout, rows int) bool {
	const page = 4096 / 4
	return l.cs == 1 && l.rs != 0 && l.rs%page == 0 && rows > 8
}

// scattered says whether the terms of a row of A lie in different cache lines, most often different pages.
func (l layout) scattered() bool { return l.rs == 1 && l.cs >= 64 }

// turn makes g compute the transpose of the product.
func (g *Gemm) turn() {
	g.flip = !g.flip
	g.a, g.b, g.out = g.b.transposed(), g.a.transposed(), g.out.transposed()
	g.m, g.n = g.n, g.m
}

// dotsKc is the most terms of a piece where vectors run along k: twelve columns of B stay in the first-level cache.
const dotsKc = 1024

// mayDots says whether vectors may run along k: the rows of A lie in place and columns are few.
func (g *Gemm) mayDots() bool {
	return g.kernels.mostDots > 0 && g.n > 0 && g.n <= 2*g.kernels.mostDots && g.k > 0 && g.a.plain()
}

// choose takes the fastest kind of kernel for the present orientation.
func (g *Gemm) choose() {
	g.dots, g.pieces = 0, false
	g.nanos = g.time()
	if g.mayDots() {
		parts := (g.n + g.kernels.mostDots - 1) / g.kernels.mostDots
		g.dots = (g.n + parts - 1) / parts
		if d := g.time(); d < g.nanos {
			g.nanos = d
		} else {
			g.dots = 0
		}
	}
	if p := g.kernels.pieces; p != nil && g.k >= leastPieces && float64(g.m)*float64(g.n)*float64(g.k) >= p.least {
		if t := g.pieceTime(); t < g.nanos {
			g.nanos, g.pieces, g.dots = t, true, 0
		}
	}
}

// width is the number of vectors that a kernel computes at a time: as few as hold all columns, otherwise what is fastest,
// which for few rows is what gives enough independent sums.
func (g *Gemm) width() int {
	k := g.kernels
	switch {
	case g.n <= k.lanes:
		return 1
	case g.m <= k.most[4] && g.n > 2*k.lanes:
		return 4
	}
	return k.wide
}

// time estimates the nanoseconds of the product in its present orientation on one thread.
func (g *Gemm) time() float64 {
	const move, lanes = 0.15, 0.5 // of an element that is transposed, and of adding the lanes of a sum
	k := g.kernels
	var t float64
	inPlace := g.b.plain()
	if g.dots > 0 {
		inPlace = g.b.down()
		t = float64(g.m*g.n) * (float64(roundUp(g.k, k.lanes))/k.rate/0.85 + lanes)
	} else {
		vecs := (g.n + k.lanes - 1) / k.lanes
		sums := min(g.m, k.most[1]) * min(vecs, g.width())
		t = float64(g.m*vecs*k.lanes*g.k) / k.rate * max(1, 8/float64(sums)) // 8 sums hide the latency
	}
	if !inPlace {
		t += move * float64(g.k*g.n)
	}
	if g.a.mask != nil {
		t += move * float64(g.m*g.k)
	}
	if g.flip || g.out.cs != 1 {
		t += move * float64(g.m*g.n)
	}
	return t * float64(g.batch)
}

// rowsEach says whether each thread had better have rows of its own: the operations before and after, elementwise ones
// among them, share rows too, so that what a thread wrote it reads again, while lines that another core has just written
// travel slowly. Every thread then reads all of B, which pays where it stays in the second-level cache (the gradient of
// 784-300-100-10 at batch 64: 0.31 ms, 0.44 by columns; of 784-1024-1024-10: 3.3 ms, 2.9) or meets many rows.
func (g *Gemm) rowsEach() bool {
	const small, few, many = 1 << 18, 8, 2 * leastReuse // elements of B, rows
	each := g.m / g.pool.Threads()
	return each >= many || !g.copyB && each >= few && g.k*g.n <= small
}

// cut chooses the tiles: enough of them that the threads end together, of whole panels, and none too short.
func (g *Gemm) cut() {
	width := g.vecs * g.kernels.lanes
	if g.dots > 0 {
		width = g.dots
	}
	panels := (g.n + width - 1) / width
	down, across := (g.m+tileRows-1)/tileRows, (g.n+tileCols-1)/tileCols
	work := float64(g.m) * float64(g.n) * float64(g.k) / g.kernels.rate
	if threads := g.pool.Threads(); threads > 1 && g.rowsEach() && work > minParallel {
		down = roundUp(down, threads)
		if !g.copyB && g.m >= 4*threads*g.kernels.most[g.vecs] { // tiles enough that a late thread is helped
			down = roundUp(down, 2*threads)
		}
	}
	for {
		g.divide(down, across, 1, width)
		if g.tiles() >= 2*g.pool.Threads() || g.pool.Threads() == 1 || work/float64(g.rowTiles*g.colTiles) < 2*leastWork {
			return
		}
		switch {
		case across < panels && (g.cols >= g.rows || !g.b.plain()): // rows would turn B again
			across++
		case down < g.m:
			down++
		default:
			return
		}
	}
}

// divide makes tiles of whole panels, high rows by wide columns: as many down and across, or fewer.
func (g *Gemm) divide(down, across, high, wide int) {
	part := func(n, parts, panel int) int { return ((n+panel-1)/panel + parts - 1) / parts * panel }
	g.rows, g.cols = part(g.m, down, high), part(g.n, across, wide)
	g.rowTiles, g.colTiles = (g.m+g.rows-1)/g.rows, (g.n+g.cols-1)/g.cols
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
	g.tileAt = take(!g.direct, g.rows*g.cols)
	if g.pieces {
		rows := piecePanel
		if g.keepA() {
			rows = g.rows
		}
		g.aAt, g.bAt = take(true, panelRoom(rows, g.kc)), take(true, panelRoom(g.block, g.kc))
		g.tempAt, g.spareAt = take(true, 2*piecePanel*g.kc), take(true, piecePanel*g.kc)
	} else {
		g.aAt, g.bAt = take(g.copyA, g.kernels.most[1]*(g.kc+16)), take(g.copyB, g.sizeB())
		g.tempAt = take(g.b.mask != nil, g.sizeB())
	}
	g.to = take(g.flip && !g.direct, g.rows*g.cols)
	g.pool.reserve(reals, ints)
}

// tiles is the number of tiles that the product is cut into.
func (g *Gemm) tiles() int { return g.batch * g.rowTiles * g.colTiles }

// Run does the work; the caller holds the pool.
func (g *Gemm) Run() error {
	if g.epilogue.points == 0 {
		return nil
	}
	g.epilogue.begin(g.pool.workers[0])
	g.pool.share(g.tiles(), g.nanos+g.epilogue.cost*float64(g.epilogue.points), g)
	if g.after != nil {
		return g.after.Run()
	}
	return nil
}
