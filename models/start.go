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
	// He draws weights from a normal distribution of variance 2/fanIn and sets biases to 0 (He, Zhang, Ren, Sun, ICCV
	// 2015, eq. 10). With relu, the activations then have about the same variance in all layers.
	He Start = "he"
	// Glorot draws weights uniformly from ±√(6/(fanIn+fanOut)) and sets biases to 0 (Glorot, Bengio, AISTATS 2010,
	// eq. 16). With activations that are nearly linear around 0, activations and gradients then have about the same
	// variance in all layers.
	Glorot Start = "glorot"
	// PyTorch draws weights and biases uniformly from ±1/√fanIn, the default of torch.nn.Linear.
	PyTorch Start = "pytorch"
)

// starts has a row for each distribution.
var starts = []struct {
	name   Start
	normal bool                            // true: normal with deviation scale; false: uniform on ±scale
	scale  func(fanIn, fanOut int) float64 // of the numbers drawn
	biases bool                            // true: biases are drawn like the weights; false: they are 0
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

// weights fills dst with start values for the weights of a linear map. They depend on nothing but the distribution, the
// sizes, the seed and the array's number.
func (s Start) weights(dst []float64, fanIn, fanOut int, seed uint64, number int) {
	for _, row := range starts {
		if row.name == s {
			draw(dst, row.normal, row.scale(fanIn, fanOut), seed, number)
		}
	}
}

// bias fills dst with start values for the bias of a linear map, and leaves it alone where biases start at 0.
func (s Start) bias(dst []float64, fanIn, fanOut int, seed uint64, number int) {
	for _, row := range starts {
		if row.name == s && row.biases {
			draw(dst, row.normal, row.scale(fanIn, fanOut), seed, number)
		}
	}
}

// draw fills dst with scale times standard normal numbers, or with uniform numbers on ±scale, rounded to float32.
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
