package train

import (
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/ref"
	"bilevel/internal/safetensors"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/tensor"
)

// wave fills an array with numbers that look random.
func wave(n int, phase float64) []float64 {
	v := make([]float64, n)
	for i := range v {
		v[i] = math.Sin(float64(i*i%101) + phase)
	}
	return v
}

// pixels reads a network of pixels in [0, 1].
func pixels(name string, activation models.Activation) Reading {
	return Reading{Name: name, Activation: activation, White: 255, Pixels: true}
}

// outputs are the logits of rows on the reference device.
func outputs(t *testing.T, n Network, rows []float32, count int) []float64 {
	t.Helper()
	dev := ref.New()
	ex := tensor.NewExecutor(dev)
	p, x := ex.Variable("p", tensor.Real, n.Params.Size()), ex.Variable("x", tensor.Real, count, n.Inputs)
	z := ex.Variable("z", tensor.Real, count, n.Classes)
	require.NoError(t, p.Write(n.Params.Flat))
	require.NoError(t, x.Write32(rows))
	var state *tensor.Node
	if n.State.Size() > 0 {
		v := ex.Variable("state", tensor.Real, n.State.Size())
		require.NoError(t, v.Write(n.State.Flat))
		state = v.Node()
	}
	f, err := ex.Compile("outputs", func() []tensor.Update {
		out, _ := n.Model.Apply(p.Node(), state, x.Node(), params.Eval)
		return []tensor.Update{{Var: z, Value: out}}
	})
	require.NoError(t, err)
	require.NoError(t, f.Run(1))
	values, err := z.Read()
	require.NoError(t, err)
	require.NoError(t, ex.Close())
	require.NoError(t, dev.Close())
	return values
}

func TestReadNetwork(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, v params.Values, drop ...string) string {
		kept := params.Values{}
		for _, a := range v.Layout {
			if !slices.Contains(drop, a.Name) {
				kept = kept.AndShaped(a.Name, a.Shape, v.Of(a.Name))
			}
		}
		path := filepath.Join(dir, name)
		require.NoError(t, params.WriteNPZ(path, kept))
		return path
	}
	small := params.Values{}.AndShaped("0.weight", []int{4, 3}, wave(12, 0)).And("0.bias", wave(4, 1)...).
		AndShaped("2.weight", []int{2, 4}, wave(8, 2)).And("2.bias", wave(2, 3)...)

	net, err := ReadNetwork(write("mlp.npz", small), pixels("", models.Tanh))
	require.NoError(t, err)
	require.Equal(t, models.MLP{Widths: []int{3, 4, 2}, Activation: models.Tanh}, net.Model)
	require.Equal(t, small.Flat, net.Params.Flat)
	require.Equal(t, []int{3, 2}, []int{net.Inputs, net.Classes})

	// All that does not fit is named at once.
	_, err = ReadNetwork(write("bad.npz", small.And("3.bias", 1), "0.bias"), pixels("mlp:5", ""))
	require.EqualError(t, err, filepath.Join(dir, "bad.npz")+": its arrays do not fit: missing 0.bias; "+
		"in no layer 3.bias; 0.weight is [4 3], not [5 3], 2.weight is [2 4], not [2 5]")
	_, err = ReadNetwork(write("chain.npz", params.Values{}.AndShaped("0.weight", []int{4, 3}, wave(12, 0)).
		AndShaped("2.weight", []int{2, 5}, wave(10, 2))), pixels("", ""))
	require.ErrorContains(t, err, "2.weight takes 5 inputs, and the layer before it (0.weight) gives 4")
	_, err = ReadNetwork(write("names.npz", params.Values{}.AndShaped("W1", []int{4, 3}, wave(12, 0))), pixels("", ""))
	require.ErrorContains(t, err, "its arrays (W1) are not those of a network of linear maps")
	_, err = ReadNetwork(write("w.npz", small), pixels("", "rellu"))
	require.ErrorContains(t, err, `did you mean "relu"?`)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "text.npz"), []byte("text"), 0o600))
	_, err = ReadNetwork(filepath.Join(dir, "text.npz"), pixels("", ""))
	require.ErrorContains(t, err, "not a usable .npz file")

	// A linear map with a bias before a batch normalization, as PyTorch has it by default.
	norm := params.Values{}.AndShaped("0.weight", []int{4, 3}, wave(12, 0)).And("0.bias", wave(4, 1)...).
		And("1.weight", 1, 2, 3, 4).And("1.bias", wave(4, 5)...).And("1.running_mean", wave(4, 6)...).
		And("1.running_var", 1, 0.5, 2, 3).AndShaped("1.num_batches_tracked", nil, []float64{7}).
		AndShaped("3.weight", []int{2, 4}, wave(8, 2)).And("3.bias", wave(2, 3)...)
	net, err = ReadNetwork(write("norm.npz", norm), pixels("", ""))
	require.NoError(t, err)
	x := []float32{0.2, 0.5, 0.9}
	want := slices.Clone(norm.Of("3.bias"))
	for i := range 4 {
		h := norm.Of("0.bias")[i]
		for j, v := range x {
			h += norm.Of("0.weight")[i*3+j] * float64(v)
		}
		h = (h - norm.Of("1.running_mean")[i]) / math.Sqrt(norm.Of("1.running_var")[i]+1e-5)
		h = max(0, h*norm.Of("1.weight")[i]+norm.Of("1.bias")[i])
		for k := range want {
			want[k] += norm.Of("3.weight")[k*4+i] * h
		}
	}
	require.InDeltaSlice(t, want, outputs(t, net, x, 1), 1e-6) // arrays of the file may be float32

	// A file of this program: what it is and how inputs are scaled stand in it.
	scaled := safetensors.File{Arrays: map[string]safetensors.Array{
		"weight": {Shape: []int{2, 3}, F64: wave(6, 0)}, "bias": {Shape: []int{2}, F64: wave(2, 1)},
		"scaler.mean":      {Shape: []int{3}, F64: []float64{10, 20, 30}},
		"scaler.deviation": {Shape: []int{3}, F64: []float64{2, 4, 8}},
	}, Metadata: map[string]string{"model": "softmax", "batch_norm": "false"}}
	path := filepath.Join(dir, "own.safetensors")
	f, err := os.Create(path)
	require.NoError(t, err)
	require.NoError(t, safetensors.Write(f, scaled))
	require.NoError(t, f.Close())
	net, err = ReadNetwork(path, Reading{White: 100, Pixels: true})
	require.NoError(t, err)
	want = wave(2, 1)
	for k := range want {
		for j, v := range x {
			mean, deviation := []float64{10, 20, 30}[j], []float64{2, 4, 8}[j]
			want[k] += wave(6, 0)[k*3+j] * (100*float64(v) - mean) / deviation
		}
	}
	require.InDeltaSlice(t, want, outputs(t, net, x, 1), 1e-12)
}

// A state dict of a network of images is read whatever a program has put before its names, and with the normalization
// that it has as mu and sigma of pixels in [0, 1], as in RobustBench's checkpoints; the counts of batches may be
// missing. The logits are those of the network that was written.
func TestReadStateDict(t *testing.T) {
	const name = "preactresnet:4-6/1-1:no-final-norm"
	in := Inputs{Count: 6 * 7 * 3, Image: models.Image{Height: 6, Width: 7, Channels: 3}}
	mean, deviation := []float64{0.5, 0.25, 0.375}, []float64{0.25, 0.5, 0.125} // float32 numbers
	in.Normalize = models.Normalization{Mean: mean, Deviation: deviation}
	m, err := Architecture(name, false, "", in, 5)
	require.NoError(t, err)
	n := Network{Model: m, Inputs: in.Count, Classes: 5}
	n.Params, n.State = m.Init(3)
	for i := range n.State.Flat {
		n.State.Flat[i] = float64(float32(0.5 + 0.4*math.Sin(float64(i))))
	}
	x := make([]float32, 2*in.Count)
	for i, v := range wave(len(x), 1) {
		x[i] = float32(math.Abs(v))
	}
	want := outputs(t, n, x, 2)
	dir := t.TempDir()
	write := func(file, prefix string, change func(map[string]safetensors.Array)) string {
		arrays := map[string]safetensors.Array{}
		for _, v := range []params.Values{n.Params, n.State} {
			for _, a := range v.Layout {
				arrays[prefix+a.Name] = safetensors.Compact(a.PeerShape(), a.ToPeer(v.Of(a.Name)))
			}
		}
		change(arrays)
		path := filepath.Join(dir, file)
		f, err := os.Create(path)
		require.NoError(t, err)
		require.NoError(t, safetensors.Write(f, safetensors.File{Arrays: arrays}))
		require.NoError(t, f.Close())
		return path
	}
	normalization := func(mu, sigma string) func(map[string]safetensors.Array) {
		return func(arrays map[string]safetensors.Array) {
			arrays[mu] = safetensors.Compact([]int{1, 3, 1, 1}, mean)
			arrays[sigma] = safetensors.Compact([]int{1, 3, 1, 1}, deviation)
		}
	}
	r := pixels(name, "")
	r.Inputs, r.Classes = in, 5
	r.Inputs.Normalize = models.Normalization{}
	for file, c := range map[string]struct {
		prefix, mu, sigma string
	}{
		"plain.safetensors":    {"", "mu", "sigma"},
		"parallel.safetensors": {"module.", "module.mu", "module.sigma"},
		"wrapped.safetensors":  {"module.model.", "module.mu", "module.sigma"},
		"compiled.safetensors": {"_orig_mod.", "mean", "std"},
	} {
		got, err := ReadNetwork(write(file, c.prefix, normalization(c.mu, c.sigma)), r)
		require.NoError(t, err, file)
		require.True(t, got.Normalizes())
		require.Equal(t, want, outputs(t, got, x, 2), file)
	}

	// For a model that reads bytes, the normalization is that of bytes.
	bytes := r
	bytes.Pixels = false
	got, err := ReadNetwork(filepath.Join(dir, "plain.safetensors"), bytes)
	require.NoError(t, err)
	require.Equal(t, []float64{127.5, 63.75, 95.625}, got.Model.(models.Network).Normalization().Mean)

	// Without a normalization in the file the network has that of the reading: none here.
	got, err = ReadNetwork(write("bare.safetensors", "", func(arrays map[string]safetensors.Array) {
		for array := range arrays {
			if filepath.Ext(array) == ".num_batches_tracked" {
				delete(arrays, array)
			}
		}
	}), r)
	require.NoError(t, err)
	require.False(t, got.Normalizes())
	require.NotEqual(t, want, outputs(t, got, x, 2))

	// What does not fit is named, and so are images of another size than the network's.
	wrong := r
	wrong.Name = "preactresnet:4-6/1-1"
	_, err = ReadNetwork(filepath.Join(dir, "plain.safetensors"), wrong)
	require.ErrorContains(t, err, "its arrays do not fit: missing bn.weight, bn.bias, bn.running_mean, bn.running_var")
	wrong = r
	wrong.Classes = 7
	_, err = ReadNetwork(filepath.Join(dir, "plain.safetensors"), wrong)
	require.ErrorContains(t, err, "linear.weight is [5 6], not [7 6], linear.bias is [5], not [7]")
	wrong = r
	wrong.Inputs = Inputs{Count: 7, NoImage: errors.New("rows are 7 numbers")}
	_, err = ReadNetwork(filepath.Join(dir, "plain.safetensors"), wrong)
	require.ErrorContains(t, err, "is for images: rows are 7 numbers")
	_, err = ReadNetwork(write("odd.safetensors", "", func(arrays map[string]safetensors.Array) {
		arrays["mu"], arrays["sigma"] = safetensors.Compact([]int{2}, mean[:2]), safetensors.Compact([]int{2}, mean[:2])
	}), r)
	require.ErrorContains(t, err, "it scales 2 inputs, but its images are 6×7×3")
}

// What a file's metadata claim takes no memory: not where its arrays do not fit, and images have a largest size.
func TestClaimsOfMetadata(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m.safetensors")
	for image, says := range map[string]string{
		"[4096, 4096, 1]":           "its arrays do not fit: missing conv1.weight",
		"[65536, 65536, 65536]":     "at most 16777216 numbers are read",
		"[4611686018427387904,4,4]": "are no height, width and channels",
	} {
		f, err := os.Create(path)
		require.NoError(t, err)
		require.NoError(t, safetensors.Write(f, safetensors.File{
			Arrays:   map[string]safetensors.Array{"a": safetensors.Compact([]int{1}, []float64{1})},
			Metadata: map[string]string{modelKey: "lenet", imageKey: image, classesKey: "1000000000000000"},
		}))
		require.NoError(t, f.Close())
		_, err = ReadNetwork(path, Reading{})
		require.ErrorContains(t, err, says)
	}
}
