package train

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/models"
	"bilevel/models/params"
)

// Network is the model of a file with its numbers.
type Network struct {
	Name          string // as Architecture knows it
	BatchNorm     bool
	Model         models.Model
	Params, State params.Values
	Scaler        *data.Scaler // of the inputs; nil where the model's first layer does it, or nothing does
	Inputs        int
	Classes       int
}

// Normalizes tells whether the model brings its inputs to mean 0 and deviation 1 itself.
func (n Network) Normalizes() bool {
	switch m := n.Model.(type) {
	case models.Network:
		return len(m.Normalization().Mean) > 0
	case models.MLP:
		return len(m.Normalize.Mean) > 0
	case models.Softmax:
		return len(m.Normalize.Mean) > 0
	}
	return false
}

// Fits refuses a network that reads other rows than those of the data, or has other classes.
func (n Network) Fits(path string, inputs, classes int) error {
	if n.Inputs != inputs || n.Classes != classes {
		return fmt.Errorf("%s takes %d features and has %d classes; the data have %d and %d", path, n.Inputs, n.Classes,
			inputs, classes)
	}
	return nil
}

// Reading says what is known of a network before its file is read.
type Reading struct {
	Name       string // its architecture, see Architecture; empty: as the file says
	Otherwise  string // its architecture where the file does not say, and Name is empty
	BatchNorm  bool
	Activation models.Activation // between the layers of a perceptron; empty is relu
	Inputs     Inputs            // the data's rows, for networks of images whose file does not say what they read
	Classes    int               // of the data, likewise
	White      float64           // the value of a white pixel in the data; 0: 1
	// Pixels says that the model is to read pixels in [0, 1], values of the data divided by White. Otherwise it reads
	// the data's values.
	Pixels bool
}

// ReadNetwork reads a network of a .npz or .safetensors file, with the names that PyTorch gives the arrays of an
// nn.Sequential of linear maps, batch normalizations and activations (0.weight, 0.bias, 2.weight, …), weight and bias
// of a single linear map, or those that a network of images has in public code (conv1.weight, layer1.0.bn1.weight, …).
// Where its architecture is not given, the file's metadata or the shapes of its arrays tell.
//
// Names may begin with module., model. or what else a program that trained the network has put before them. A scaling
// of inputs that the file has becomes the model's first layer: that of files of this program, or mu and sigma, or mean
// and std, for pixels in [0, 1], as in the checkpoints of RobustBench. In perceptrons that read the data's values it is
// Network.Scaler instead.
//
// Errors name the file, and all arrays that are missing, that belong to no layer, or that have another shape.
func ReadNetwork(path string, r Reading) (n Network, err error) {
	f, err := openFile(path)
	if err != nil {
		return n, err
	}
	if n, err = f.network(r); err != nil {
		return n, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

// network makes a model of the file's arrays.
func (f *file) network(r Reading) (n Network, err error) {
	f.stripPrefixes()
	scale, err := f.scaling(r)
	if err != nil {
		return n, err
	}
	n.Name, n.BatchNorm, n.Classes = r.Name, r.BatchNorm, r.Classes
	if n.Name == "" && f.metadata[modelKey] != "" {
		n.Name, n.BatchNorm = f.metadata[modelKey], n.BatchNorm || f.metadata[batchNormKey] == "true"
	}
	if n.Name == "" {
		n.Name = r.Otherwise
	}
	if models.IsNetwork(n.Name) {
		err = f.convolutional(&n, r, scale)
	} else {
		err = f.perceptron(&n, r, scale)
	}
	if err != nil {
		return n, err
	}
	n.Params, n.State, err = f.fill(n.Model.Params(), n.Model.State())
	return n, err
}

// normalizations are the names that the scaling of inputs has in files: of this program, in the data's values, and of
// others, for pixels in [0, 1].
var normalizations = []struct {
	mean, deviation string
	own             bool
}{{meanName, deviationName, true}, {"mu", "sigma", false}, {"mean", "std", false}}

// scaling is the first layer that the file asks for, in the values that the model is to read, and takes its arrays away
// from the others.
func (f *file) scaling(r Reading) (n models.Normalization, err error) {
	white := r.White
	if white == 0 {
		white = 1
	}
	for _, name := range normalizations {
		mean, ok1 := f.arrays[name.mean]
		deviation, ok2 := f.arrays[name.deviation]
		if !ok1 && !ok2 {
			continue
		}
		if len(mean.values) != len(deviation.values) {
			return n, fmt.Errorf("%s has %d numbers, and %s has %d: wants as many", name.mean, len(mean.values),
				name.deviation, len(deviation.values))
		}
		delete(f.arrays, name.mean)
		delete(f.arrays, name.deviation)
		n = models.Normalization{Mean: slices.Clone(mean.values), Deviation: slices.Clone(deviation.values)}
		if name.own == r.Pixels {
			by := white
			if r.Pixels {
				by = 1 / white
			}
			for i := range n.Mean {
				n.Mean[i], n.Deviation[i] = n.Mean[i]*by, n.Deviation[i]*by
			}
		}
		return n, nil
	}
	return n, nil
}

// foldBiases takes the bias of a linear map that is followed by a batch normalization into its running mean, where
// evaluation subtracts it: Linear(…, bias=True) before BatchNorm1d, which the networks of package models do without.
func (f *file) foldBiases(m models.Model) {
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
		bias, mean := f.arrays[name], f.arrays[a.Name]
		if want[name] || len(bias.values) == 0 || len(bias.values) != len(mean.values) {
			continue
		}
		moved := slices.Clone(mean.values)
		for i, b := range bias.values {
			moved[i] -= b
		}
		f.arrays[a.Name] = fileArray{mean.shape, moved}
		delete(f.arrays, name)
	}
}

// fill takes the arrays of a model's parameters and state, and names all that do not fit. Counts of the batches behind
// running statistics may be missing, as in files of early versions of PyTorch.
func (f *file) fill(layouts ...params.Layout) (p, state params.Values, err error) {
	var missing, wrong, extra []string
	wanted := map[string]bool{}
	for _, l := range layouts {
		for _, a := range l {
			wanted[a.Name] = true
			got, ok := f.arrays[a.Name]
			switch {
			case !ok && strings.HasSuffix(a.Name, ".num_batches_tracked"):
			case !ok:
				missing = append(missing, a.Name)
			case !slices.Equal(got.shape, a.PeerShape()):
				wrong = append(wrong, fmt.Sprintf("%s is %v, not %v", a.Name, got.shape, a.PeerShape()))
			}
		}
	}
	for _, name := range namesOf(f.arrays) {
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
	// Memory is taken only now, when the file is known to hold the numbers: its metadata may claim any size.
	out := make([]params.Values, 2)
	for i, l := range layouts {
		out[i] = params.Values{Layout: l, Flat: make([]float64, l.Size())}
		for _, a := range l {
			if got, ok := f.arrays[a.Name]; ok {
				copy(out[i].Of(a.Name), a.FromPeer(got.values))
			}
		}
	}
	return out[0], out[1], nil
}
