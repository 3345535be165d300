package train

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/internal/exactread"
	"bilevel/internal/npy"
	"bilevel/internal/safetensors"
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

// fileArray is an array of a file with its numbers.
type fileArray struct {
	shape  []int
	values []float64
}

// file is what a file holds.
type file struct {
	path     string
	arrays   map[string]fileArray
	metadata map[string]string
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

// openFile reads all arrays of a file.
func openFile(path string) (*file, error) {
	switch {
	case strings.HasSuffix(path, ".safetensors"):
		return openSafetensors(path)
	case strings.HasSuffix(path, ".npz"):
		return openNPZ(path)
	}
	return nil, experiments.Usagef("%s: a network is a .safetensors or .npz file; PyTorch writes one by "+
		"safetensors.torch.save_file(net.state_dict(), path) or numpy.savez(path, **{k: v.numpy() for k, v in "+
		"net.state_dict().items()})", path)
}

func openSafetensors(path string) (*file, error) {
	f, err := safetensors.ReadFile(path, "model")
	if unreadable := (*fs.PathError)(nil); errors.As(err, &unreadable) {
		return nil, fmt.Errorf("the model cannot be read: %w", err)
	}
	if err != nil {
		return nil, err
	}
	o := &file{path: path, arrays: map[string]fileArray{}, metadata: f.Metadata}
	for name, a := range f.Arrays {
		o.arrays[name] = fileArray{a.Shape, a.Reals()}
	}
	return o, nil
}

func openNPZ(path string) (*file, error) {
	f, size, err := exactread.Open(path)
	if err != nil {
		return nil, fmt.Errorf("the model cannot be read: %w", err)
	}
	defer f.Close()
	members, err := npy.Members(f, size)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	o := &file{path: path, arrays: map[string]fileArray{}}
	for _, m := range members {
		values, shape, err := numbers(m)
		if err != nil {
			return nil, fmt.Errorf("%s: array %s: %w", path, m.Name, err)
		}
		o.arrays[m.Name] = fileArray{shape, values}
	}
	return o, nil
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

// convolutional is a network of images.
func (f *file) convolutional(n *Network, r Reading, scale models.Normalization) (err error) {
	in := r.Inputs
	if text, ok := f.metadata[imageKey]; ok {
		own, err := imageOf(text)
		if err != nil {
			return err
		}
		if in.Image.Size() > 0 && in.Image != own {
			return fmt.Errorf("its network is for images of %v, and those of the data are %v", own, in.Image)
		}
		in.Image, in.NoImage = own, nil
	}
	if in.NoImage != nil {
		return fmt.Errorf("the model %s is for images: %w", n.Name, in.NoImage)
	}
	in.Count = in.Image.Size()
	if text, ok := f.metadata[classesKey]; ok {
		if n.Classes, err = strconv.Atoi(text); err != nil {
			return fmt.Errorf("its metadata say that it has %q classes", text)
		}
	}
	switch len(scale.Mean) {
	case 0:
	case in.Image.Channels:
		in.Normalize = scale
	case in.Count:
		n.Scaler = &data.Scaler{Mean: scale.Mean, Deviation: scale.Deviation}
		in.Normalize = models.Normalization{}
	default:
		return fmt.Errorf("it scales %d inputs, but its images are %v", len(scale.Mean), in.Image)
	}
	n.Inputs = in.Count
	if n.Model, err = Architecture(n.Name, n.BatchNorm, "", in, n.Classes); err != nil {
		return err
	}
	if text, ok := f.metadata[unitsKey]; ok {
		n.Model, err = withUnits(n.Model, text)
	}
	return err
}

// withUnits is the model with fewer units, as many as the text lists.
func withUnits(m models.Model, text string) (models.Model, error) {
	var counts []int
	if err := json.Unmarshal([]byte(text), &counts); err != nil {
		return nil, fmt.Errorf("its metadata %q are no list of numbers", unitsKey)
	}
	s, ok := m.(models.Shrinkable)
	if !ok {
		return nil, fmt.Errorf("its metadata %q do not go with a model without units", unitsKey)
	}
	return s.WithUnits(counts)
}

// imageOf reads the size of images.
func imageOf(text string) (i models.Image, err error) {
	var size []int
	err = json.Unmarshal([]byte(text), &size)
	if err != nil || len(size) != 3 || slices.Min(size) < 1 || slices.Max(size) > mostPixels {
		return i, fmt.Errorf("its metadata %q are no height, width and channels", imageKey)
	}
	return models.Image{Height: size[0], Width: size[1], Channels: size[2]}, nil
}

// mostPixels bounds the sides of images in model files.
const mostPixels = 1 << 16

// perceptron is a network of linear maps, or one alone.
func (f *file) perceptron(n *Network, r Reading, scale models.Normalization) (err error) {
	net, err := shapeOf(f.arrays)
	if err != nil {
		return err
	}
	n.BatchNorm = n.BatchNorm || net.BatchNorm
	switch {
	case n.Name == "" && len(net.Widths) < 2:
		return fmt.Errorf("its arrays (%s) are not those of a network of linear maps: wants 0.weight, 0.bias, "+
			"2.weight, … as PyTorch names them, or weight and bias; of another network say which one it is",
			strings.Join(namesOf(f.arrays), ", "))
	case n.Name == "" && net.plain:
		n.Model = models.Softmax{Inputs: net.Widths[0], Classes: net.Widths[1], NoBias: net.NoBias}
	case n.Name == "":
		n.Model = net.MLP
	default:
		if len(net.Widths) < 2 { // so that what is missing can be named
			net.Widths = []int{1, 2}
		}
		in := Inputs{Count: net.Widths[0]}
		n.Model, err = Architecture(n.Name, n.BatchNorm, "", in, net.Widths[len(net.Widths)-1])
		if err != nil {
			return err
		}
	}
	n.Inputs, n.Classes = net.Widths[0], net.Widths[len(net.Widths)-1]
	inside := scale
	if !r.Pixels {
		inside = models.Normalization{}
		if len(scale.Mean) > 0 {
			n.Scaler = &data.Scaler{Mean: scale.Mean, Deviation: scale.Deviation}
		}
	}
	switch v := n.Model.(type) {
	case models.Softmax:
		v.Normalize = inside
		n.Model = v
	case models.MLP:
		v.Normalize, v.Activation = inside, r.Activation
		n.Model = v
	}
	if c, ok := n.Model.(interface{ Check() error }); ok {
		if err := c.Check(); err != nil {
			return err
		}
	}
	f.foldBiases(n.Model)
	return nil
}

// prefixes are what programs put before the names of a network's arrays: nn.DataParallel, a wrapper whose member the
// network is, torch.compile.
var prefixes = []string{"module.", "model.", "net.", "_orig_mod."}

// stripPrefixes takes them away, unless two arrays would then have one name.
func (f *file) stripPrefixes() {
	bare := func(name string) string {
		for _, p := range slices.Repeat(prefixes, 2) {
			name = strings.TrimPrefix(name, p)
		}
		return name
	}
	arrays := map[string]fileArray{}
	for name, a := range f.arrays {
		arrays[bare(name)] = a
	}
	if len(arrays) == len(f.arrays) {
		f.arrays = arrays
	}
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
	out := make([]params.Values, 2)
	for i, l := range layouts {
		out[i] = params.Values{Layout: l, Flat: make([]float64, l.Size())}
		for _, a := range l {
			wanted[a.Name] = true
			got, ok := f.arrays[a.Name]
			switch {
			case !ok && strings.HasSuffix(a.Name, ".num_batches_tracked"):
			case !ok:
				missing = append(missing, a.Name)
			case !slices.Equal(got.shape, a.PeerShape()):
				wrong = append(wrong, fmt.Sprintf("%s is %v, not %v", a.Name, got.shape, a.PeerShape()))
			default:
				copy(out[i].Of(a.Name), a.FromPeer(got.values))
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
	return out[0], out[1], nil
}

func namesOf(arrays map[string]fileArray) []string { return slices.Sorted(maps.Keys(arrays)) }
