package models

import (
	"fmt"
	"math"

	"bilevel/models/params"
)

// Affine is a layer of a trained network in evaluation, φ(W x + b).
type Affine struct {
	In, Out    int
	Weight     []float64  // W [Out, In]
	Bias       []float64  // [Out]
	Activation Activation // φ
}

// Layers are the perceptron in evaluation as maps that follow one another, with each batch normalization made part of
// the linear map before it:
//
//	w ← w · weight/√(var + ε),   b ← (b - mean) · weight/√(var + ε) + bias
//
// A weight that is zero stays so. Inputs that the network normalizes itself are refused.
func (m MLP) Layers(p, state params.Values) ([]Affine, error) {
	if m.Normalize.Mean != nil {
		return nil, fmt.Errorf("the perceptron normalizes its inputs, which its layers leave out: wants one without")
	}
	var list []Affine
	for _, d := range m.layers() {
		a := Affine{In: d.in, Out: d.out, Weight: make([]float64, d.in*d.out), Bias: make([]float64, d.out),
			Activation: m.Activation}
		if a.Activation == "" {
			a.Activation = Relu
		}
		if d.last {
			a.Activation = Identity
		}
		weight := p.Of(d.linear + ".weight")
		for i := range a.Weight {
			if a.Weight[i] = weight[i]; m.InputsFirst {
				a.Weight[i] = weight[i%d.in*d.out+i/d.in]
			}
		}
		if d.bias {
			copy(a.Bias, p.Of(d.linear+".bias"))
		}
		if d.norm != "" {
			scale, shift := p.Of(d.norm+".weight"), p.Of(d.norm+".bias")
			mean, variance := state.Of(d.norm+runningMean), state.Of(d.norm+runningVar)
			for i := range a.Out {
				by := scale[i] / math.Sqrt(variance[i]+batchNormEpsilon)
				for j := range a.In {
					a.Weight[i*a.In+j] *= by
				}
				a.Bias[i] = (a.Bias[i]-mean[i])*by + shift[i]
			}
		}
		list = append(list, a)
	}
	return list, nil
}
