package prune

import "bilevel/internal/philox"

// Random is a random order of the elements: scores drawn uniformly from (0, 1), a baseline that looks at nothing (Liu,
// Chen, Chen, Chen, Chen, Mocanu, Wang, Mocanu, Pechenizkiy, ICLR 2022). A seed gives the same scores everywhere.
func Random(s Structure, seed uint64) []float64 {
	draws := make([]float32, s.Scores.Size())
	philox.Uniforms(draws, seed, 0, streamRandom, 0)
	scores := make([]float64, len(draws))
	for i, u := range draws {
		scores[i] = float64(u)
	}
	return scores
}

// streamRandom keeps random scores apart from other draws of the same seed.
const streamRandom = 0x70727565
