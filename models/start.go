package models

import (
	"fmt"
	"math"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/internal/philox"
)

// Start names the distribution of start values of a linear map of fanIn inputs and fanOut outputs.
type Start string

const (
	// He draws weights from normals of variance 2/fanIn and sets biases to 0 (He, Zhang, Ren, Sun, ICCV 2015, eq. 10):
	// it keeps the variance of activations through layers of relu.
	He Start = "he"
	// Glorot draws weights uniformly on ±√(6/(fanIn+fanOut)) and sets biases to 0 (Glorot, Bengio, AISTATS 2010, eq.
	// 16): it keeps the variance of activations and gradients through layers that are nearly linear around 0.
	Glorot Start = "glorot"
	// PyTorch draws weights and biases uniformly on ±1/√fanIn, as torch.nn.Linear does where nothing else is said.
	PyTorch Start = "pytorch"
)

// starts has a row for each distribution.
var starts = []struct {
	name   Start
	normal bool // else uniform on ±scale
	scale  func(fanIn, fanOut int) float64
	biases bool // biases are drawn like the weights, else they are 0
}{
	{He, true, func(in, _ int) float64 { return math.Sqrt(2 / float64(in)) }, false},
	{Glorot, false, func(in, out int) float64 { return math.Sqrt(6 / float64(in+out)) }, false},
	{PyTorch, false, func(in, _ int) float64 { return 1 / math.Sqrt(float64(in)) }, true},
}

func (s Start) check() error {
	var names []string
	for _, row := range starts {
		if row.name == s {
			return nil
		}
		names = append(names, string(row.name))
	}
	return fmt.Errorf("unknown start values %q (there are %s)%s",
		string(s), strings.Join(names, ", "), nearest.Hint(string(s), names))
}

// weights fills dst with start values of a weight array, which depend on the seed and the array's number alone.
func (s Start) weights(dst []float64, fanIn, fanOut int, seed uint64, number int) {
	for _, row := range starts {
		if row.name == s {
			draw(dst, row.normal, row.scale(fanIn, fanOut), seed, number)
		}
	}
}

// bias is weights for the bias of the same linear map.
func (s Start) bias(dst []float64, fanIn, fanOut int, seed uint64, number int) {
	for _, row := range starts {
		if row.name == s && row.biases {
			draw(dst, row.normal, row.scale(fanIn, fanOut), seed, number)
		}
	}
}

// draw fills dst with scale times a standard normal number, or with uniform numbers on ±scale, rounded to float32.
func draw(dst []float64, normal bool, scale float64, seed uint64, number int) {
	draws := make([]float32, len(dst))
	if normal {
		philox.Normals(draws, seed, uint32(number), philox.StreamInit, 0)
	} else {
		philox.Uniforms(draws, seed, uint32(number), philox.StreamInit, 0)
	}
	for i, z := range draws {
		v := float64(z)
		if !normal {
			v = 2*v - 1
		}
		dst[i] = float64(float32(scale * v))
	}
}
