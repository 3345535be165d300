package kernels

// Gemm describes Out[b,i,j] = Σ_k A'[b,i,k]·B'[b,k,j], with A' = MaskA ⊙ A or A, and B' likewise.
// Operands of its plan are numbered as its Strided fields say; addresses of elements 0 are multiples of 16 bytes.
type Gemm struct {
	Batch, M, N, K int
	A, B, Out      Strided // (batch, row, column)
	MaskA, MaskB   *Strided
	TensorCores    bool // TF32: factors rounded to 10 bits; |error| ≤ (2^-10 + K·2^-22)|A||B|, about
	Processors     int  // multiprocessors of the card, which decide tiles and split-K by the shape
}

// product is struct Product of gemm.cu.
type product struct {
	M, N, K            int32
	A, B, MaskA, MaskB [3]int32 // batch, across the tile, along k
	Out                [3]int32
}

// tiled is struct Product of gemm_tile.cu.
type tiled struct {
	product
	Depth, Rows                   int32
	AlongA, AlongB, Vector, First int32
	Band, Last                    divisor
}

// A tile is what one block makes of the result.
type tile struct {
	name          string
	height, width int
	threads       int
	cost          float64 // time for an element of the tile, relative to the largest tile's
}

const (
	slice     = 16     // of k, the most that a block multiplies between two barriers
	band      = 16     // rows of tiles that blocks take column by column
	maxGridYZ = 65535  // blocks along y and z
	tiny      = 4096   // multiplications of a product that one thread an element does
	small     = "gemm" // the module of gemm_tiny
)

// The skinny tile serves results of at most its width; the others compete by the number of blocks.
var (
	skinny = tile{"gemm_skinny", 128, 16, 128, 2}
	tiles  = []tile{{"gemm_128", 128, 128, 256, 1}, {"gemm_64", 64, 64, 128, 1.2}}
)

// Plan says how the product is done: gemm_tile.cu, a block of 128 or 256 threads for each tile of the result and each
// split of k, batches along z. Every element is one chain of fused multiply-adds along k, ascending: |error| ≤
// K·u·Σ|A'||B'| with u = 2^-24, and u more for each mask. Where there are too few tiles for the card, k is split, the
// parts lie in workspace, and the last block of each tile adds them in order: the same shape on the same number of
// processors gives the same bits.
//
// With TensorCores the tiles of 128 and 64 round factors to 11 significant bits and add on tensor cores:
// |error| ≤ (2^-10 + K·2^-22)·Σ|A'||B'|. Results of at most 16 rows or columns stay in float32. Strides, offsets of the
// operands inside a launch and sizes of dense parts are below 2^31.
func (g Gemm) Plan() Plan {
	if g.Batch == 0 || g.M == 0 || g.N == 0 {
		return Plan{}
	}
	processors := g.Processors
	if processors <= 0 {
		processors = 108
	}
	marks := []int{0, 1, 2}
	if g.turned() { // outᵀ = B'ᵀ A'ᵀ
		marks = []int{0, 2, 1}
		flip := func(s Strided) Strided {
			s.Strides[1], s.Strides[2] = s.Strides[2], s.Strides[1]
			return s
		}
		flipMask := func(s *Strided) *Strided {
			if s == nil {
				return nil
			}
			f := flip(*s)
			return &f
		}
		g.M, g.N = g.N, g.M
		g.A, g.B, g.Out = flip(g.B), flip(g.A), flip(g.Out)
		g.MaskA, g.MaskB = flipMask(g.MaskB), flipMask(g.MaskA)
	}
	if g.Batch > 1 && g.M <= skinny.width && g.N <= skinny.width && g.M*g.N*g.K <= tiny {
		return g.many(processors, marks)
	}
	t := g.tile(processors)
	blocks := ceil(g.M, t.height) * ceil(g.N, t.width)
	splits, depth := g.split(blocks*g.Batch, t.height*t.width, processors)

	var plan Plan
	workspace, counters := any(uint64(0)), any(uint64(0))
	if splits > 1 {
		workspace, counters = Operand{Number: Scratch(0)}, Operand{Number: Counter}
		plan.Workspace = []int{4 * splits * g.Batch * blocks * t.height * t.width}
		plan.Counters = g.Batch * blocks
	}
	rows, columns := ceil(g.M, t.height), ceil(g.N, t.width)
	p := tiled{
		product: g.product(g.Out), Depth: int32(depth), Rows: int32(rows), Band: divide(band * columns),
		Last: divide((rows-1)%band + 1), AlongA: word(along(g.A.Strides[2], g.A.Strides[1])),
		AlongB: word(along(g.B.Strides[1], g.B.Strides[2])),
	}
	if g.TensorCores && t.name != skinny.name { // 4 warps, whatever the tile
		t.name, t.threads = t.name+"_tf32", 128
	}
	entry := g.entry(t, &p)
	p.Vector = word(g.Out.Strides[2] == 1 && g.N%4 == 0 &&
		multiples(4, g.Out.Off, g.Out.Strides[0], g.Out.Strides[1]))

	for first := 0; first < g.Batch; first += maxGridYZ {
		p.First = int32(first)
		plan.Launches = append(plan.Launches, Launch{
			Module: entry, Entry: entry, Grid: [3]int{blocks, splits, min(g.Batch-first, maxGridYZ)},
			Block: [3]int{t.threads, 1, 1},
			Args:  append(g.factors(first), batch(g.Out, first), workspace, counters, p), Marks: marks,
		})
	}
	return plan
}

// entry names the kernel of a tile, which is its module too: the name of the tile and a suffix. A group is four
// elements that lie together, at a multiple of 16 bytes, and are loaded at once: across the tile, which is along a
// column of A or a row of B.
//
//	(none)     no mask; both operands have groups across
//	_a, _b     no mask; A, or B, has none and is loaded element by element
//	_any       no mask; neither has groups
//	_mask      A or B is masked on its way; operands and masks have groups, across or along k
//	_any_mask  the same without groups
func (g *Gemm) entry(t tile, p *tiled) string {
	if !g.masked() {
		across := [2]bool{
			grouped(g.A, 2, 1, g.K, g.M, false),
			grouped(g.B, 1, 2, g.K, g.N, false) && t.name != skinny.name,
		}
		return t.name + map[[2]bool]string{{true, true}: "", {false, true}: "_a", {true, false}: "_b",
			{false, false}: "_any"}[across]
	}
	vector := grouped(g.A, 2, 1, g.K, g.M, p.AlongA == 1) && grouped(g.B, 1, 2, g.K, g.N, p.AlongB == 1)
	for _, m := range []struct {
		of            *Strided
		k, axis, size int
		along         int32
	}{{g.MaskA, 2, 1, g.M, p.AlongA}, {g.MaskB, 1, 2, g.N, p.AlongB}} {
		vector = vector && (m.of == nil || grouped(*m.of, m.k, m.axis, g.K, m.size, m.along == 1))
	}
	if !vector {
		return t.name + "_any_mask"
	}
	return t.name + "_mask"
}

// many plans a batch of tiny products: a thread for each element, none of them shared.
func (g *Gemm) many(processors int, marks []int) Plan {
	size := g.Batch * g.M * g.N
	return Plan{Launches: []Launch{
		{
			Module: small, Entry: "gemm_tiny", Grid: [3]int{min(ceil(size, 256), 8*processors), 1, 1},
			Block: [3]int{256, 1, 1},
			Args: append(
				g.factors(0), batch(g.Out, 0), g.product(g.Out), divide(g.M), divide(g.N), int32(size),
			),
			Marks: marks,
		},
	}}
}

// product fills in the sizes and strides.
func (g *Gemm) product(out Strided) product {
	side := func(s *Strided, axis, k int) [3]int32 {
		if s == nil {
			return [3]int32{}
		}
		return [3]int32{int32(s.Strides[0]), int32(s.Strides[axis]), int32(s.Strides[k])}
	}
	return product{
		M: int32(g.M), N: int32(g.N), K: int32(g.K), A: side(&g.A, 1, 2), B: side(&g.B, 2, 1),
		MaskA: side(g.MaskA, 1, 2), MaskB: side(g.MaskB, 2, 1), Out: narrow(out.Strides),
	}
}

func (g *Gemm) masked() bool { return g.MaskA != nil || g.MaskB != nil }

// factors are the addresses of the operands that are read, from a batch on; a mask that is not there is null.
func (g *Gemm) factors(first int) []any {
	args := []any{batch(g.A, first), batch(g.B, first)}
	for _, m := range []*Strided{g.MaskA, g.MaskB} {
		if m == nil {
			args = append(args, uint64(0))
		} else {
			args = append(args, batch(*m, first))
		}
	}
	return args
}

// turned says whether the transposed product is the better one: the narrow side across, columns of the result
// contiguous.
func (g *Gemm) turned() bool {
	if min(g.M, g.N) <= skinny.width && g.M != g.N {
		return g.M < g.N
	}
	return g.Out.Strides[1] == 1 && g.Out.Strides[2] != 1
}

// tile takes the tile whose busiest processor has the least to do.
func (g *Gemm) tile(processors int) tile {
	if g.N <= skinny.width {
		return skinny
	}
	best, least := tiles[0], 0.
	for i, t := range tiles {
		blocks := ceil(g.M, t.height) * ceil(g.N, t.width) * g.Batch
		if time := float64(ceil(blocks, processors)*t.height*t.width) * t.cost; i == 0 || time < least {
			best, least = t, time
		}
	}
	return best
}

// split says into how many parts k is cut and how deep each is: as many as give each processor two blocks, none
// shallower than 128, the parts together at most 2^28 elements.
func (g *Gemm) split(blocks, area, processors int) (splits, depth int) {
	const shallow, most, room = 128, 64, 1 << 28
	splits = min(2*processors/blocks, g.K/shallow, most, room/(blocks*area))
	if splits <= 1 {
		return 1, max(g.K, 1)
	}
	depth = ceil(ceil(g.K, splits), slice) * slice
	return ceil(g.K, depth), depth
}

// along says whether neighbouring threads had better load along k.
func along(k, across int) bool { return k == 1 && across != 1 || k != 0 && across > k }

// grouped says whether the operand can be loaded in aligned groups of 4 along its contiguous axis.
func grouped(s Strided, k, axis, depth, extent int, alongK bool) bool {
	fast, slow, size := axis, k, extent
	if alongK {
		fast, slow, size = k, axis, depth
	}
	return s.Strides[fast] == 1 && size%4 == 0 && multiples(4, s.Off, s.Strides[0], s.Strides[slow])
}

// batch is the address of an operand's element (i, 0, 0).
func batch(s Strided, i int) Operand { return Operand{s.Number, s.Off + i*s.Strides[0]} }
