package train

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"

	"bilevel/internal/onnx"
	"bilevel/models"
	"bilevel/models/params"
)

// WriteStateDict writes the network's arrays alone, with the names and the shapes that PyTorch gives them, as a
// .safetensors file: what load_state_dict of the same network takes. A network with fewer channels than its name says
// wants one of the layers that the shapes tell. How inputs are scaled is left out, but for the file's metadata.
func (t *Trained) WriteStateDict(path string) error {
	n, err := t.Network()
	if err != nil {
		return err
	}
	metadata := maps.Clone(t.file.metadata)
	for _, name := range []string{meanName, deviationName} {
		text, err := json.Marshal(t.file.arrays[name].values)
		if err != nil {
			return err
		}
		metadata[name] = string(text)
	}
	return params.WriteSafetensors(path, metadata, n.Params, n.State)
}

// WriteONNX writes the network, the scaling of its inputs included, as an ONNX file: features [rows, inputs] give
// logits [rows, classes].
func (t *Trained) WriteONNX(w io.Writer) error {
	net, err := t.Network()
	if err != nil {
		return err
	}
	if _, ok := net.Model.(models.Network); ok {
		return fmt.Errorf("the model %s is a network of convolutions, which is not written as ONNX: "+
			"write a .safetensors file for PyTorch", net.Name)
	}
	g := onnx.Graph{
		Name: t.file.metadata[modelKey], Producer: "bilevel",
		Input:  onnx.Value{Name: "features", Width: len(net.Scaler.Mean)},
		Output: onnx.Value{Name: "logits", Width: net.Classes},
	}
	x := g.Input.Name
	node := func(op string, reads ...string) *onnx.Node {
		out := fmt.Sprint("value ", len(g.Nodes)+1)
		g.Nodes = append(g.Nodes, onnx.Node{Op: op, In: append([]string{x}, reads...), Out: []string{out}})
		x = out
		return &g.Nodes[len(g.Nodes)-1]
	}
	array := func(name string, shape []int, values []float64) string {
		a := onnx.Array{Name: name, Shape: shape, Values: make([]float32, len(values))}
		for i, v := range values {
			a.Values[i] = float32(v)
		}
		g.Arrays = append(g.Arrays, a)
		return name
	}
	of := func(v params.Values, name string) (string, bool) {
		a, err := v.Layout.Find(name)
		if err != nil {
			return "", false
		}
		return array(name, a.Shape, v.Of(name)), true
	}
	node("Sub", array(meanName, []int{len(net.Scaler.Mean)}, net.Scaler.Mean))
	node("Div", array(deviationName, []int{len(net.Scaler.Deviation)}, net.Scaler.Deviation))
	for i, layer := range net.Params.Layout.Groups(models.LayerOf) {
		prefix := layer + "."
		if len(net.Params.Layout) > 0 && net.Params.Layout[0].Name == "weight" { // a model of one layer
			prefix = ""
		}
		weight, _ := of(net.Params, prefix+"weight")
		bias, hasBias := of(net.Params, prefix+"bias")
		if mean, isNorm := of(net.State, prefix+"running_mean"); isNorm {
			variance, _ := of(net.State, prefix+"running_var")
			node("BatchNormalization", weight, bias, mean, variance).Floats = map[string]float32{"epsilon": 1e-5}
			continue
		}
		if i > 0 {
			node("Relu")
		}
		reads := []string{weight}
		if hasBias {
			reads = append(reads, bias)
		}
		node("Gemm", reads...).Ints = map[string]int{"transB": 1}
	}
	g.Nodes[len(g.Nodes)-1].Out[0] = g.Output.Name
	return onnx.Write(w, g)
}
