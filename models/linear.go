package models

import (
	"fmt"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Softmax is softmax regression: outputs (logits) [B, Classes] = inputs · Wᵀ + b, with weight W [Classes, Inputs] and
// bias b [Classes]. All start values are zero. The weights of one class are contiguous, as the inputs of one row are,
// so that products with few classes run along the inputs. Its loss is tensor.CrossEntropy.
type Softmax struct {
	Inputs, Classes int
	NoBias          bool // leaves out b, for inputs that have a column of ones
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

// Costs is the one linear map.
func (m Softmax) Costs() []LayerCost {
	return []LayerCost{{Kind: "linear", Output: []int{m.Classes}, Parameters: m.Params().Size(),
		MultiplyAdds: m.Inputs * m.Classes, Activations: m.Classes}}
}

func (m Softmax) State() params.Layout { return nil }

func (m Softmax) Init(uint64) (p, state params.Values) { return zeros(m.Params()), params.Values{} }

func (m Softmax) Apply(p, state, inputs *tensor.Node, mode params.Mode) (outputs, next *tensor.Node) {
	w, _ := open("Softmax", m, p, state, mode)
	return applyAffine(w, m.Normalize.apply(rows("Softmax", inputs, m.Inputs))), nil
}

// Logistic is logistic regression for two classes: outputs [B, 1] = inputs · wᵀ + b are the log-odds of class 1, with
// weight w [1, Inputs] and bias b [1]. All start values are zero. Its loss is BinaryCrossEntropy.
type Logistic struct {
	Inputs    int
	NoBias    bool // leaves out b, for inputs that have a column of ones
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

// applyAffine is x·Wᵀ + b, or x·Wᵀ where the model has no bias.
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

// zeros are the values of a layout, all of them 0.
func zeros(l params.Layout) params.Values {
	return params.Values{Layout: l, Flat: make([]float64, l.Size())}
}
