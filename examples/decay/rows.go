package main

import (
	"math/rand/v2"

	"bilevel/solvers/problem"
)

// rows draws n rows of three classes of Gaussians in eight dimensions, as arrays of one's own would come.
func rows(n int, seed uint64) problem.Rows {
	random := rand.New(rand.NewPCG(seed, 0))
	features, labels := make([]float32, 8*n), make([]int32, n)
	for i := range n {
		labels[i] = int32(random.IntN(3))
		for j := range 8 {
			features[8*i+j] = float32(random.NormFloat64())
		}
		features[8*i+int(labels[i])] += 1.5
	}
	return problem.Rows{"features": problem.Reals(features, 8), "label": problem.Ints(labels)}
}
