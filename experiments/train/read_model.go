package train

import (
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/models"
)

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
	if err != nil || len(size) != 3 || slices.Min(size) < 1 || slices.Max(size) > mostInputs {
		return i, fmt.Errorf("its metadata %q are no height, width and channels", imageKey)
	}
	i = models.Image{Height: size[0], Width: size[1], Channels: size[2]}
	if size[0]*size[1] > mostInputs/size[2] {
		return i, fmt.Errorf("its metadata say that its images are %v; at most %d numbers are read", i, mostInputs)
	}
	return i, nil
}

// mostInputs bounds the numbers of an image in model files.
const mostInputs = 1 << 24

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
