// Package models holds networks as graph builders. A model is a plain value that names the arrays of its flat parameter
// vector, draws start values for them, and turns parameters and inputs into outputs.
//
// All parameters are one vector, so that a solver's step or dot product is one operation however deep the network is;
// the named arrays are views of the vector and cost nothing. A model with batch normalization also keeps running
// statistics, its state, in a second vector. Names and shapes are those that PyTorch gives the arrays of an
// nn.Sequential of the same layers, so that params.ReadNPZ and params.WriteNPZ exchange networks with PyTorch.
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
	// Init gives start values for parameters and state. The same seed gives the same values on every device; they are
	// float32 numbers.
	Init(seed uint64) (p, state params.Values)
	// Apply gives the model's outputs for parameters [q], state [s] and inputs [B, …] under a mode, and the next state
	// [s]. Under params.Train the next state holds the updated running statistics, through which no derivative passes;
	// under the other modes it is the given state. A model without state takes nil and returns nil. Several passes in
	// one graph chain by giving the next state of each to the following one.
	//
	// Apply panics with a *tensor.BuildError, which tensor.Executor.Compile returns as an error, where a vector has the
	// wrong shape, where a model with state gets none or one without state gets one, and where the inputs do not fit.
	Apply(p, state, inputs *tensor.Node, m params.Mode) (outputs, next *tensor.Node)
}

var (
	_ Model = Softmax{}
	_ Model = Logistic{}
	_ Model = MLP{}
	_ Model = Network{}
)

// IsWeight reports whether an array holds the weights of a linear map, which pruning and weight decay apply to, rather
// than a bias or the scale of a normalization: such an array has two or more axes.
func IsWeight(a params.Array) bool { return len(a.Shape) >= 2 }

// LayerOf is the name of the layer that an array belongs to: the part of its name before the last dot, such as 3 of
// 3.weight, and 0 where the name has no dot, as in a model of one layer. Given to params.Layout.Groups and ByGroup as a
// key, it makes one group of each layer, for one weight decay per layer, say.
func LayerOf(a params.Array) string {
	if dot := strings.LastIndexByte(a.Name, '.'); dot >= 0 {
		return a.Name[:dot]
	}
	return "0"
}

// open checks the vectors given to a model and gives their arrays by name. op is the model's name for errors.
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

// named checks that a vector has the length of its layout, and gives its arrays by name. what is the vector's name for
// errors.
func named(op, what string, l params.Layout, vector *tensor.Node) params.Vars {
	if vector == nil || len(vector.Shape()) != 1 || vector.Size() != l.Size() {
		shape := "nil"
		if vector != nil {
			shape = vector.String()
		}
		tensor.Fail(op, "its %s must be a vector of %d elements, not %s", what, l.Size(), shape)
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

// must panics with the error of a model's Check, unless it is nil.
func must(op string, err error) {
	if err != nil {
		tensor.Fail(op, "%v", err)
	}
}
