package models_test

import (
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"bilevel/device"
	"bilevel/device/cpudevice"
	"bilevel/device/ref"
	"bilevel/internal/safetensors"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/tensor"

	"github.com/stretchr/testify/require"
)

// torchNetworks are the networks that testdata/networks.py writes.
func torchNetworks(t *testing.T) map[string]models.Network {
	image := func(c, h, w int) models.Image { return models.Image{Height: h, Width: w, Channels: c} }
	resNet := func(i models.Image, pre bool, s models.Shortcut, noFinal bool, widths, blocks []int) models.ResNet {
		return models.ResNet{Name: "resnet", Image: i, Classes: 5, Widths: widths, Blocks: blocks, PreActivation: pre,
			Shortcut: s, NoFinalNorm: noFinal}
	}
	out := map[string]models.Network{}
	for name, of := range map[string]interface {
		Network() (models.Network, error)
	}{
		"lenet": models.LeNet{Image: image(2, 12, 10), Classes: 5, Convolutions: []int{3, 4},
			Hidden: []int{9, 7}},
		"resnet-a":          resNet(image(3, 9, 11), false, models.ShortcutA, false, []int{4, 6, 8}, []int{1, 2, 1}),
		"resnet-b":          resNet(image(3, 8, 9), false, models.ShortcutB, false, []int{4, 6, 8}, []int{2, 1, 1}),
		"preact-input":      resNet(image(1, 7, 8), true, models.ShortcutInput, false, []int{4, 7}, []int{1, 2}),
		"preact-activation": resNet(image(1, 8, 7), true, models.ShortcutActivation, true, []int{4, 7}, []int{2, 1}),
		"wideresnet": models.WideResNet{Image: image(3, 9, 8), Classes: 5, Depth: 10, Widen: 2,
			Base: []int{4, 2, 3, 4}},
		"vgg": models.VGG{Image: image(3, 11, 8), Classes: 5, Widths: []int{4, 0, 6, 5, 0}},
	} {
		n, err := of.Network()
		require.NoError(t, err, name)
		out[name] = n
	}
	return out
}

// seen is what a pass over a batch of images gives.
type seen struct{ logits, gradient, state []float64 }

// look makes a pass on a device; images are PyTorch's, [rows, channels, height, width].
func look(t *testing.T, dev device.Device, n models.Network, p, state params.Values, x []float64, labels []int32,
	mode params.Mode) (out seen) {
	t.Helper()
	ex := tensor.NewExecutor(dev)
	defer func() { require.NoError(t, ex.Close()) }()
	variable := func(values []float64, shape ...int) *tensor.Node {
		v := ex.Variable("v", tensor.Real, shape...)
		require.NoError(t, v.Write(values))
		return v.Node()
	}
	rows, in := len(labels), n.Image()
	lasting := make([]float64, len(x)) // channels last
	for i := range x {
		column := i % in.Width
		row := i / in.Width % in.Height
		channel := i / in.Width / in.Height % in.Channels
		image := i / in.Size()
		lasting[((image*in.Height+row)*in.Width+column)*in.Channels+channel] = x[i]
	}
	y := ex.Variable("labels", tensor.Int, rows)
	require.NoError(t, y.WriteInts(labels))
	pn, xn := variable(p.Flat, p.Size()), variable(lasting, rows, in.Size())
	var sn *tensor.Node
	if state.Size() > 0 {
		sn = variable(state.Flat, state.Size())
	}
	var updates []tensor.Update
	f, err := ex.Compile("pass", func() []tensor.Update {
		z, next := n.Apply(pn, sn, xn, mode)
		of := []*tensor.Node{z, tensor.Grad(tensor.CrossEntropy(z, y.Node()).Mean(), pn)[0]}
		if next != nil {
			of = append(of, next)
		}
		for _, n := range of {
			updates = append(updates, tensor.Update{Var: ex.Variable("out", tensor.Real, n.Shape()...), Value: n})
		}
		return updates
	})
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	for i, u := range updates {
		values, err := u.Var.Read()
		require.NoError(t, err)
		*[]*[]float64{&out.logits, &out.gradient, &out.state}[i] = values
	}
	return out
}

// A network with the arrays of PyTorch's state dict gives PyTorch's logits in both modes, its gradient and the running
// statistics behind a pass. PyTorch computed in float64, from the same float32 numbers: on the float64 device nothing
// is between the two but the rounding of the golden gradients and statistics to float32, 6e-8 of each. In float32 a
// logit passes through at most 9 layers of sums of up to 72 products: 1e-5 is what the networks are held to.
func TestNetworksOfPyTorch(t *testing.T) {
	golden, err := safetensors.ReadFile(filepath.Join("testdata", "networks.safetensors"), "file")
	require.NoError(t, err)
	for name, n := range torchNetworks(t) {
		read, err := params.ReadSafetensors(filepath.Join("testdata", name+".safetensors"), n.Params(), n.State())
		require.NoError(t, err, name)
		p, state := read[0], read[1]
		x, labels := golden.Arrays[name+"/x"].Reals(), golden.Arrays[name+"/label"].I32
		for _, on := range []struct {
			dev               device.Device
			logits, gradients float64
		}{{ref.New(), 1e-12, 1e-7}, {cpudevice.New(2), 1e-5, 1e-5}} {
			near := func(want, got []float64, tolerance float64, what string) {
				t.Helper()
				require.Len(t, got, len(want), "%s %s", name, what)
				scale := 1.0
				for _, v := range want {
					scale = max(scale, math.Abs(v))
				}
				require.InDeltaSlice(t, want, got, tolerance*scale, "%s %s", name, what)
			}
			out := look(t, on.dev, n, p, state, x, labels, params.Eval)
			near(golden.Arrays[name+"/eval"].Reals(), out.logits, on.logits, "eval")
			require.Equal(t, len(state.Flat), len(out.state))
			out = look(t, on.dev, n, p, state, x, labels, params.Train)
			near(golden.Arrays[name+"/train"].Reals(), out.logits, on.logits, "train")
			var gradient []float64
			for _, a := range p.Layout {
				gradient = append(gradient, a.ToPeer(p.Like(out.gradient).Of(a.Name))...)
			}
			near(golden.Arrays[name+"/gradient"].Reals(), gradient, on.gradients, "gradient")
			for _, a := range state.Layout {
				after := state.Like(out.state).Of(a.Name)
				near(golden.Arrays[name+"/after."+a.Name].Reals(), after, on.gradients, a.Name)
			}
			require.NoError(t, on.dev.Close())
		}
	}
}

// torchVariable is the environment variable that names a Python with PyTorch and safetensors.
const torchVariable = "BILEVEL_TORCH"

// What is written is the state dict that was read. Where there is a PyTorch, it takes the files, strictly, and computes
// the same logits from them.
func TestNetworksForPyTorch(t *testing.T) {
	dir := t.TempDir()
	for name, n := range torchNetworks(t) {
		path := filepath.Join("testdata", name+".safetensors")
		read, err := params.ReadSafetensors(path, n.Params(), n.State())
		require.NoError(t, err)
		require.NoError(t, params.WriteSafetensors(filepath.Join(dir, name+".safetensors"), nil, read...))
		want, err := safetensors.ReadFile(path, "state dict")
		require.NoError(t, err)
		got, err := safetensors.ReadFile(filepath.Join(dir, name+".safetensors"), "state dict")
		require.NoError(t, err)
		require.Len(t, got.Arrays, len(want.Arrays))
		for array, a := range want.Arrays {
			require.Equal(t, a.Shape, got.Arrays[array].Shape, "%s %s", name, array)
			require.Equal(t, a.Reals(), got.Arrays[array].Reals(), "%s %s", name, array)
		}
		// The same through NumPy's format.
		npz := filepath.Join(dir, name+".npz")
		require.NoError(t, params.WriteNPZ(npz, read...))
		again, err := params.ReadNPZ(npz, n.Params(), n.State())
		require.NoError(t, err)
		require.Equal(t, read[0].Flat, again[0].Flat, name)
	}
	python := os.Getenv(torchVariable)
	if python == "" {
		t.Skipf("$%s names no Python with PyTorch: the written files were compared with PyTorch's, not loaded by it",
			torchVariable)
	}
	text, err := exec.Command(python, filepath.Join("testdata", "networks.py"), "--check", dir).CombinedOutput()
	require.NoError(t, err, string(text))
}

// All that is wrong with a state dict is said at once.
func TestWrongStateDict(t *testing.T) {
	n := torchNetworks(t)["lenet"]
	p, _ := n.Init(1)
	f, err := safetensors.ReadFile(filepath.Join("testdata", "lenet.safetensors"), "file")
	require.NoError(t, err)
	other := params.Values{}
	for _, a := range p.Layout {
		got := f.Arrays[a.Name]
		switch a.Name {
		case "conv1.bias", "fc2.weight": // missing
		case "conv2.weight": // as this project keeps it
			other = other.AndShaped(a.Name, a.Shape, got.Reals())
		case "fc3.bias":
			other = other.AndShaped(a.Name, []int{1, 5}, got.Reals())
		default:
			other = other.AndShaped(a.Name, got.Shape, got.Reals())
		}
	}
	other = other.And("fc4.weight", 1).And("bn.bias", 2)
	path := filepath.Join(t.TempDir(), "wrong.safetensors")
	require.NoError(t, params.WriteSafetensors(path, nil, other))
	_, err = params.ReadSafetensors(path, n.Params(), n.State())
	require.EqualError(t, err, path+": its arrays do not fit: missing conv1.bias, fc2.weight; not asked for bn.bias, "+
		"fc4.weight; conv2.weight is [5 5 3 4], not [4 3 5 5], fc3.bias is [1 5], not [5]")
	_, err = params.ReadSafetensors(filepath.Join("testdata", "batchnorm.json"), n.Params())
	require.ErrorContains(t, err, "batchnorm.json is no state dict in the safetensors format")
	require.ErrorContains(t, params.WriteSafetensors(path, nil, other, other), `two arrays are called "conv1.weight"`)
}
