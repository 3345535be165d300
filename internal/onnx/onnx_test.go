package onnx

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// net is a small network with every operator that the module writes.
func net() Graph {
	return Graph{
		Name: "net", Producer: "test", Input: Value{"features", 3}, Output: Value{"logits", 2},
		Arrays: []Array{
			{"mean", []int{3}, []float32{0.5, -1, 2}}, {"deviation", []int{3}, []float32{2, 1, 0.5}},
			{"0.weight", []int{2, 3}, []float32{1, -2, 3, 0.5, 0, -1}}, {"1.weight", []int{2}, []float32{1.5, -2}},
			{"1.bias", []int{2}, []float32{0.25, 4}}, {"1.running_mean", []int{2}, []float32{0.5, -0.5}},
			{"1.running_var", []int{2}, []float32{2, 0.5}}, {"3.weight", []int{2, 2}, []float32{1, 2, 3, -4}},
			{"3.bias", []int{2}, []float32{0.125, -8}},
		},
		Nodes: []Node{
			{Op: "Sub", In: []string{"features", "mean"}, Out: []string{"a"}},
			{Op: "Div", In: []string{"a", "deviation"}, Out: []string{"b"}},
			{Op: "Gemm", In: []string{"b", "0.weight"}, Out: []string{"c"}, Ints: map[string]int{"transB": 1}},
			{Op: "BatchNormalization", In: []string{"c", "1.weight", "1.bias", "1.running_mean", "1.running_var"},
				Out: []string{"d"}, Floats: map[string]float32{"epsilon": 1e-5}},
			{Op: "Relu", In: []string{"d"}, Out: []string{"e"}},
			{Op: "Gemm", In: []string{"e", "3.weight", "3.bias"}, Out: []string{"logits"},
				Ints: map[string]int{"transB": 1}},
		},
	}
}

// Write writes the bytes of net.onnx, a file that testdata/check_net.py has checked by the rules of ONNX and run in
// onnxruntime, with the outputs that NumPy computes.
func TestWritesWhatOnnxruntimeRuns(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, Write(&b, net()))
	want, err := os.ReadFile(filepath.Join("testdata", "net.onnx"))
	require.NoError(t, err)
	require.True(t, bytes.Equal(want, b.Bytes()))
}

// Attributes are written in the order of their names.
func TestWritesTheSameBytes(t *testing.T) {
	names := []string{"a", "b", "c", "d", "e", "f"}
	ints, floats := map[string]int{}, map[string]float32{}
	for i, name := range names {
		ints["i"+name], floats["r"+name] = i, float32(i)
	}
	b := []byte(Node{Op: "Conv", Ints: ints, Floats: floats}.encode())
	for _, kind := range []string{"i", "r"} {
		for _, name := range names {
			at := bytes.Index(b, []byte(kind+name))
			require.Positive(t, at, "%s follows what comes before it", name)
			b = b[at:]
		}
	}
}

func TestRefuses(t *testing.T) {
	for says, change := range map[string]func(*Graph){
		`a node Sub reads "mean"`:           func(g *Graph) { g.Arrays = g.Arrays[1:] },
		`the array "mean" of shape [4]`:     func(g *Graph) { g.Arrays[0].Shape = []int{4} },
		`nothing computes the output "out"`: func(g *Graph) { g.Output.Name = "out" },
		`a node Div reads "a"`:              func(g *Graph) { g.Nodes[0], g.Nodes[1] = g.Nodes[1], g.Nodes[0] },
	} {
		g := net()
		change(&g)
		require.ErrorContains(t, Write(&bytes.Buffer{}, g), says)
	}
	require.Error(t, Write(full{}, net()))
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space") }
