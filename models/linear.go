package models

import (
	"fmt"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Softmax is softmax regression: outputs (logits) [B, Classes] = inputs · Wᵀ + b, with weight W [Classes, Inputs] and
// bias b [Classes], start values zero. A class's weights lie side by side, like the inputs they meet, so that products
// with few classes run along the inputs. tensor.CrossEntropy is its loss.
type Softmax struct {
	Inputs, Classes int
	NoBias          bool // true where the inputs carry a column of ones
	Normalize       Normalization
}

// Check refuses sizes that make no sense.
func (m Softmax) Check() error {
	if m.Inputs < 1 || m.Classes < 2 {
		return fmt.Errorf("softmax regression from %d inputs to %d classes: wants at least 1 and 2",
			m.Inputs, m.Classes)
	}
	return m.Normalize.check(m.Inputs)
}

func (m Softmax) Params() params.Layout {
	must("Softmax", m.Check())
	return affine(m.Inputs, m.Classes, m.NoBias)
}

func (m Softmax) State() params.Layout { return nil }

func (m Softmax) Init(uint64) (p, state params.Values) { return zeros(m.Params()), params.Values{} }

func (m Softmax) Apply(p, state, inputs *tensor.Node, mode params.Mode) (outputs, next *tensor.Node) {
	w, _ := open("Softmax", m, p, state, mode)
	return applyAffine(w, m.Normalize.apply(rows("Softmax", inputs, m.Inputs))), nil
}

// Logistic is logistic regression for two classes: outputs [B, 1] = inputs · wᵀ + b, the log-odds of class 1, with
// weight w [1, Inputs] and bias b [1], start values zero. BinaryCrossEntropy is its loss.
type Logistic struct {
	Inputs    int
	NoBias    bool // true where the inputs carry a column of ones
	Normalize Normalization
}

// Check refuses sizes that make no sense.
func (m Logistic) Check() error {
	if m.Inputs < 1 {
		return fmt.Errorf("logistic regression from %d inputs: wants at least 1", m.Inputs)
	}
	return m.Normalize.check(m.Inputs)
}

func (m Logistic) Params() params.Layout {
	must("Logistic", m.Check())
	return affine(m.Inputs, 1, m.NoBias)
}

func (m Logistic) State() params.Layout { return nil }

func (m Logistic) Init(uint64) (p, state params.Values) { return zeros(m.Params()), params.Values{} }

func (m Logistic) Apply(p, state, inputs *tensor.Node, mode params.Mode) (outputs, next *tensor.Node) {
	w, _ := open("Logistic", m, p, state, mode)
	return applyAffine(w, m.Normalize.apply(rows("Logistic", inputs, m.Inputs))), nil
}

// affine is the layout of one linear map, with the names of torch.nn.Linear.
func affine(inputs, outputs int, noBias bool) params.Layout {
	l := params.Layout{}.With("weight", outputs, inputs)
	if !noBias {
		l = l.With("bias", outputs)
	}
	return l
}

// applyAffine is x·Wᵀ + b, without b where there is none.
func applyAffine(w params.Vars, x *tensor.Node) *tensor.Node {
	return plusBias(x.MatMul(w["weight"].T()), w["bias"])
}

// plusBias is z + b, or z where b is nil.
func plusBias(z, b *tensor.Node) *tensor.Node {
	if b == nil {
		return z
	}
	return z.Add(b)
}

// zeros are values of a layout, all zero.
func zeros(l params.Layout) params.Values {
	return params.Values{Layout: l, Flat: make([]float64, l.Size())}
}
