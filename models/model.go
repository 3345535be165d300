// Package models holds networks as graph builders. A model is a plain value that names the arrays of its flat parameter
// vector, draws start values for them, and turns parameters and inputs into outputs.
//
// Parameters are one vector, so that solver arithmetic (steps, dot products, conjugate gradients) is one operation
// whatever the depth; the named arrays are views of it and cost nothing. A model with batch normalization also keeps
// running statistics, its state, in a second vector. Names and shapes are those that PyTorch gives the arrays of an
// nn.Sequential of the same layers, so that params.ReadNPZ and params.WriteNPZ exchange networks with it.
package models

import (
	"strings"

	"bilevel/models/params"
	"bilevel/tensor"
)

// Model is a function of parameters, state and inputs.
type Model interface {
	// Params describes the parameter vector [q].
	Params() params.Layout
	// State describes the state vector [s], the running statistics; it is empty where the model keeps none.
	State() params.Layout
	// Init is start values for parameters and state. The same seed gives the same values, which are float32 numbers on
	// every device.
	Init(seed uint64) (p, state params.Values)
	// Apply is the model's outputs for parameters [q], state [s] and inputs [B, …] under a mode, and the next state
	// [s]. Under params.Train the next state holds the moved running statistics, through which no derivative passes;
	// under the other modes it is the state as it came. A model without state takes nil and returns nil. The next state
	// of one pass may be the state of the following one.
	//
	// A vector of the wrong shape, a state given to a model that keeps none or missing where it keeps one, and inputs
	// that do not fit panic with a *tensor.BuildError, which tensor.Executor.Compile returns as an error.
	Apply(p, state, inputs *tensor.Node, m params.Mode) (outputs, next *tensor.Node)
}

var (
	_ Model = Softmax{}
	_ Model = Logistic{}
	_ Model = MLP{}
)

// IsWeight says whether an array holds the weights of a linear map, which are pruned and decayed, and not a bias or the
// scale of a normalization: it has two axes or more.
func IsWeight(a params.Array) bool { return len(a.Shape) >= 2 }

// LayerOf is the name of the layer that an array belongs to: what stands before the last dot of its name, 3 for
// 3.weight, and 0 where there is no dot, as in a model of one layer. It is a key for params.Layout.Groups and ByGroup,
// such as one weight decay per layer.
func LayerOf(a params.Array) string {
	if dot := strings.LastIndexByte(a.Name, '.'); dot >= 0 {
		return a.Name[:dot]
	}
	return "0"
}

// open checks the vectors given to a model and names their arrays. op is the model's name for errors.
func open(op string, m Model, p, state *tensor.Node, mode params.Mode) (weights, statistics params.Vars) {
	if mode > params.Eval {
		tensor.Fail(op, "there is no mode %s", mode)
	}
	weights = named(op, "parameters", m.Params(), p)
	l := m.State()
	switch {
	case len(l) == 0 && state != nil:
		tensor.Fail(op, "it keeps no state, but was given one of shape %v: wants nil", state.Shape())
	case len(l) == 0:
		return weights, nil
	case state == nil:
		tensor.Fail(op, "its state is missing: it keeps %s", strings.Join(l.Names(), ", "))
	}
	return weights, named(op, "state", l, state)
}

func named(op, what string, l params.Layout, vector *tensor.Node) params.Vars {
	if vector == nil || len(vector.Shape()) != 1 || vector.Size() != l.Size() {
		shape := "nil"
		if vector != nil {
			shape = vector.String()
		}
		tensor.Fail(op, "its %s are a vector of %d elements, not %s", what, l.Size(), shape)
	}
	return l.Vars(vector)
}

// rows is inputs [B, …] as a matrix [B, features].
func rows(op string, inputs *tensor.Node, features int) *tensor.Node {
	shape := inputs.Shape()
	if len(shape) < 2 || inputs.Size() != shape[0]*features {
		tensor.Fail(op, "inputs of shape %v: wants rows of %d numbers", shape, features)
	}
	return inputs.Reshape(shape[0], features)
}

// must panics with a model's own error where its fields make no sense.
func must(op string, err error) {
	if err != nil {
		tensor.Fail(op, "%v", err)
	}
}
