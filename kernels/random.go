package kernels

import "bilevel/internal/kind"

// Random fills Out [N] with random numbers, the bits of internal/philox. Seed is Int [2], low word first, Step Int [1];
// the first stride of each counts.
type Random struct {
	Kind            kind.Random
	N               int
	Seed, Step, Out Strided
	Stream, Below   uint32
}

// random is struct Random of random.cu.
type random struct{ N, Out, Seed, Vector int32 }

// Plan says how it is done: random.cu, a thread for 4 elements. The result is exact by contract: only +, × and √, each
// rounded to nearest, none fused.
func (r Random) Plan() Plan {
	if r.N == 0 {
		return Plan{}
	}
	entry := [...]string{"random_bits", "random_integers", "random_uniforms", "random_normals"}[r.Kind]
	step := int32(r.Out.Strides[0])
	return Plan{Launches: []Launch{
		{
			Module: "random",
			Entry:  entry,
			Grid:   [3]int{min(ceil(ceil(r.N, 4), block), gridMost), 1, 1},
			Block:  [3]int{block, 1, 1},
			Args: []any{
				batch(r.Seed, 0), batch(r.Step, 0), batch(r.Out, 0),
				random{int32(r.N), step, int32(r.Seed.Strides[0]), word(step == 1 && multiples(4, r.Out.Off))},
				r.Stream, r.Below,
			},
		},
	}}
}
