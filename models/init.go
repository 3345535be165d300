package models

import (
	"math"

	"bilevel/internal/philox"
)

// Init draws the start values of one weight array of fanIn × fanOut elements. The values depend on the seed and the
// array's number alone.
type Init func(dst []float64, fanIn, fanOut int, seed uint64, number uint32)

// He draws normals of variance 2/fanIn (He, Zhang, Ren, Sun, ICCV 2015, eq. 10): it keeps the variance of
// activations through layers of relu.
func He(dst []float64, fanIn, _ int, seed uint64, number uint32) {
	draws := make([]float32, len(dst))
	philox.Normals(draws, seed, number, philox.StreamInit, 0)
	scale := math.Sqrt(2 / float64(fanIn))
	for i, z := range draws {
		dst[i] = float64(float32(scale * float64(z)))
	}
}

// Glorot draws uniforms on ±√(6/(fanIn+fanOut)) (Glorot, Bengio, AISTATS 2010, eq. 16): it keeps the variance of
// activations and gradients through layers that are nearly linear around 0.
func Glorot(dst []float64, fanIn, fanOut int, seed uint64, number uint32) {
	draws := make([]float32, len(dst))
	philox.Uniforms(draws, seed, number, philox.StreamInit, 0)
	limit := math.Sqrt(6 / float64(fanIn+fanOut))
	for i, u := range draws {
		dst[i] = float64(float32(limit * (2*float64(u) - 1)))
	}
}
