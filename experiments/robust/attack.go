package robust

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/internal/exactread"
	"bilevel/internal/npy"
	"bilevel/internal/safetensors"
	"bilevel/models"
	"bilevel/models/params"
)

// Trained is a network that was trained elsewhere, or by another command of this program, and the numbers it stands on.
type Trained struct {
	Model           models.Model
	Inputs, Classes int
	Params, State   params.Values
}

// fileArray is an array of a file with its numbers.
type fileArray struct {
	shape  []int
	values []float64
}

// Names that files of this program have beside the arrays of a network, see package train.
const (
	fileMean, fileDeviation = "scaler.mean", "scaler.deviation"
	fileModel, fileNorm     = "model", "batch_norm"
)

// ReadNetwork reads a network of a .npz or .safetensors file, with the names that PyTorch gives the arrays of an
// nn.Sequential of linear maps, batch normalizations and activations (0.weight, 0.bias, 2.weight, …), or weight and
// bias of a single linear map. name is its architecture, softmax or mlp:300-100; where it is empty, the file's metadata
// or the shapes of its arrays tell. activation is that between the layers; empty is relu.
//
// A file of this program says how its inputs are scaled. That scaling becomes the network's first layer, for pixels in
// [0, 1] that are values of the data divided by white.
//
// Errors name the file, and all arrays that are missing, that belong to no layer, or that have another shape.
func ReadNetwork(path, name string, activation models.Activation, white float64) (*Trained, error) {
	arrays, metadata, err := readArrays(path)
	if err != nil {
		return nil, err
	}
	t, err := networkOf(arrays, metadata, name, activation, white)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// readArrays reads all arrays of a file.
func readArrays(path string) (arrays map[string]fileArray, metadata map[string]string, err error) {
	arrays = map[string]fileArray{}
	switch {
	case strings.HasSuffix(path, ".safetensors"):
		f, err := safetensors.ReadFile(path, "model")
		if unreadable := (*fs.PathError)(nil); errors.As(err, &unreadable) {
			return nil, nil, fmt.Errorf("the network cannot be read: %w", err)
		}
		if err != nil {
			return nil, nil, err
		}
		for name, a := range f.Arrays {
			arrays[name] = fileArray{a.Shape, a.Reals()}
		}
		return arrays, f.Metadata, nil
	case strings.HasSuffix(path, ".npz"):
		f, size, err := exactread.Open(path)
		if err != nil {
			return nil, nil, fmt.Errorf("the network cannot be read: %w", err)
		}
		defer f.Close()
		members, err := npy.Members(f, size)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", path, err)
		}
		for _, m := range members {
			values, shape, err := numbers(m)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: array %s: %w", path, m.Name, err)
			}
			arrays[m.Name] = fileArray{shape, values}
		}
		return arrays, nil, nil
	}
	return nil, nil, experiments.Usagef("%s: a network is a .safetensors or .npz file; PyTorch writes one by "+
		"numpy.savez(path, **{k: v.numpy() for k, v in net.state_dict().items()})", path)
}

// numbers are those of an array of any type.
func numbers(m npy.Member) (values []float64, shape []int, err error) {
	a, err := m.ReadIf(nil)
	if err != nil {
		return nil, nil, err
	}
	switch {
	case a.DType == npy.Float64Type:
		values, err = npy.Values[float64](a)
		return values, a.Shape, err
	case a.DType.IsInteger():
		whole, err := a.Int64s()
		for _, v := range whole {
			values = append(values, float64(v))
		}
		return values, a.Shape, err
	}
	short, err := a.Float32s()
	for _, v := range short {
		values = append(values, float64(v))
	}
	return values, a.Shape, err
}

// networkOf makes a model of a file's arrays.
func networkOf(arrays map[string]fileArray, metadata map[string]string, name string, activation models.Activation,
	white float64) (*Trained, error) {
	scale, err := scaling(arrays, white)
	if err != nil {
		return nil, err
	}
	net, err := shapeOf(arrays)
	if err != nil {
		return nil, err
	}
	batchNorm := net.BatchNorm
	if name == "" {
		name = metadata[fileModel]
		batchNorm = batchNorm || name != "" && metadata[fileNorm] == "true"
	}
	var m models.Model
	switch {
	case name == "" && len(net.Widths) < 2:
		return nil, fmt.Errorf("its arrays (%s) are not those of a network of linear maps: wants 0.weight, 0.bias, "+
			"2.weight, … as PyTorch names them, or weight and bias", strings.Join(namesOf(arrays), ", "))
	case name == "" && net.plain:
		m = models.Softmax{Inputs: net.Widths[0], Classes: net.Widths[1], NoBias: net.NoBias}
	case name == "":
		m = net.MLP
	default:
		if len(net.Widths) < 2 { // so that what is missing can be named
			net.Widths = []int{1, 2}
		}
		in := train.Inputs{Count: net.Widths[0],
			NoImage: errors.New("attacks on networks of images from a file are not made here")}
		if m, err = train.Architecture(name, batchNorm, "", in, net.Widths[len(net.Widths)-1]); err != nil {
			return nil, err
		}
	}
	switch v := m.(type) {
	case models.Softmax:
		v.Normalize = scale
		m = v
	case models.MLP:
		v.Normalize, v.Activation = scale, activation
		m = v
	}
	if c, ok := m.(interface{ Check() error }); ok {
		if err := c.Check(); err != nil {
			return nil, err
		}
	}
	foldBiases(arrays, m)
	p, state, err := fill(arrays, m.Params(), m.State())
	if err != nil {
		return nil, err
	}
	return &Trained{m, net.Widths[0], net.Widths[len(net.Widths)-1], p, state}, nil
}

// scaling is the first layer that a file of this program asks for. The program subtracts the mean of the values of the
// data and divides by the deviation; with values white·x that is (x - mean/white)/(deviation/white).
func scaling(arrays map[string]fileArray, white float64) (n models.Normalization, err error) {
	mean, ok1 := arrays[fileMean]
	deviation, ok2 := arrays[fileDeviation]
	if !ok1 && !ok2 {
		return n, nil
	}
	if len(mean.values) != len(deviation.values) {
		return n, fmt.Errorf("%s has %d numbers, and %s has %d: wants as many", fileMean, len(mean.values),
			fileDeviation, len(deviation.values))
	}
	delete(arrays, fileMean)
	delete(arrays, fileDeviation)
	for i := range mean.values {
		n.Mean = append(n.Mean, mean.values[i]/white)
		n.Deviation = append(n.Deviation, deviation.values[i]/white)
	}
	return n, nil
}

// inferred is a perceptron as the arrays of a file tell it; plain is a single linear map without a number.
type inferred struct {
	models.MLP
	plain bool
}

var numbered = regexp.MustCompile(`^([0-9]{1,6})\.weight$`)

// shapeOf looks at the weights of linear maps, in the order of their numbers.
func shapeOf(arrays map[string]fileArray) (net inferred, err error) {
	if a, ok := arrays["weight"]; ok && len(a.shape) == 2 {
		_, bias := arrays["bias"]
		return inferred{models.MLP{Widths: []int{a.shape[1], a.shape[0]}, NoBias: !bias}, true}, nil
	}
	var order []int
	for name, a := range arrays {
		if m := numbered.FindStringSubmatch(name); m != nil && len(a.shape) == 2 {
			n, _ := strconv.Atoi(m[1])
			order = append(order, n)
		}
		net.BatchNorm = net.BatchNorm || strings.HasSuffix(name, ".running_mean")
	}
	slices.Sort(order)
	last := ""
	for i, n := range order {
		name := fmt.Sprintf("%d.weight", n)
		shape := arrays[name].shape
		if i == 0 {
			net.Widths = []int{shape[1]}
		} else if before := net.Widths[i]; before != shape[1] {
			return net, fmt.Errorf("%s takes %d inputs, and the layer before it (%s) gives %d", name, shape[1], last,
				before)
		}
		net.Widths, last = append(net.Widths, shape[0]), name
	}
	if len(order) > 0 {
		_, bias := arrays[fmt.Sprintf("%d.bias", order[len(order)-1])]
		net.NoBias = !bias
	}
	return net, nil
}

// foldBiases takes the bias of a linear map that is followed by a batch normalization into its running mean, where
// evaluation subtracts it: Linear(…, bias=True) before BatchNorm1d, which the networks of package models do without.
func foldBiases(arrays map[string]fileArray, m models.Model) {
	want := map[string]bool{}
	for _, a := range m.Params() {
		want[a.Name] = true
	}
	for _, a := range m.State() {
		layer, ok := strings.CutSuffix(a.Name, ".running_mean")
		n, err := strconv.Atoi(layer)
		if !ok || err != nil {
			continue
		}
		name := fmt.Sprintf("%d.bias", n-1)
		bias, mean := arrays[name], arrays[a.Name]
		if want[name] || len(bias.values) == 0 || len(bias.values) != len(mean.values) {
			continue
		}
		moved := slices.Clone(mean.values)
		for i, b := range bias.values {
			moved[i] -= b
		}
		arrays[a.Name] = fileArray{mean.shape, moved}
		delete(arrays, name)
	}
}

// fill takes the arrays of two layouts, and names all that do not fit.
func fill(arrays map[string]fileArray, layouts ...params.Layout) (p, state params.Values, err error) {
	var missing, wrong, extra []string
	wanted := map[string]bool{}
	out := make([]params.Values, 2)
	for i, l := range layouts {
		for _, a := range l {
			wanted[a.Name] = true
			got, ok := arrays[a.Name]
			switch {
			case !ok:
				missing = append(missing, a.Name)
			case !slices.Equal(got.shape, a.Shape):
				wrong = append(wrong, fmt.Sprintf("%s is %v, not %v", a.Name, got.shape, a.Shape))
			default:
				out[i] = out[i].AndShaped(a.Name, a.Shape, got.values)
			}
		}
	}
	for _, name := range namesOf(arrays) {
		if !wanted[name] {
			extra = append(extra, name)
		}
	}
	var all []string
	for _, kind := range []struct {
		says  string
		names []string
	}{{"missing ", missing}, {"in no layer ", extra}, {"", wrong}} {
		if len(kind.names) > 0 {
			all = append(all, kind.says+strings.Join(kind.names, ", "))
		}
	}
	if all != nil {
		return p, state, errors.New("its arrays do not fit: " + strings.Join(all, "; "))
	}
	return out[0], out[1], nil
}

func namesOf(arrays map[string]fileArray) []string { return slices.Sorted(maps.Keys(arrays)) }
