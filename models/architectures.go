package models

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
)

// LeNet is a network of convolutions of 5×5 and linear maps (LeCun, Bottou, Bengio, Haffner, Proc. IEEE 86, 1998, with
// relu, and the largest of 2×2 pixels between the convolutions, as in today's code): conv1, conv2, fc1, fc2, fc3. Its
// images are 32×32; smaller ones are padded by 2 on each side of the first convolution below 32 pixels, and of the
// second below 28, so that digits of 8×8 do too.
type LeNet struct {
	Image        Image
	Classes      int
	Convolutions []int // channels; nil: 6, 16
	Hidden       []int // widths of the linear maps before the last; nil: 120, 84
	// Pad pads every convolution by 2, whatever the images: their size is then halved twice.
	Pad       bool
	Normalize Normalization
	Start     Start
}

// Network is the network of these settings.
func (m LeNet) Network() (Network, error) {
	channels, hidden := m.Convolutions, m.Hidden
	if channels == nil {
		channels = []int{6, 16}
	}
	if hidden == nil {
		hidden = []int{120, 84}
	}
	side := min(m.Image.Height, m.Image.Width)
	var layers []layer
	for i, k := range channels {
		pad := 0
		if m.Pad || i == 0 && side < 32 || i > 0 && side < 28 {
			pad = 2
		}
		layers = append(layers, conv{name: fmt.Sprint("conv", i+1), outputs: k, kernel: 5, stride: 1, padding: pad,
			bias: true}, relu{}, maxPool{2})
	}
	for i, k := range hidden {
		layers = append(layers, linear{fmt.Sprint("fc", i+1), k}, relu{})
	}
	layers = append(layers, linear{fmt.Sprint("fc", len(hidden)+1), m.Classes})
	return network("lenet", m.Image, m.Classes, m.Normalize, m.Start, layers...)
}

// Shortcut is how the first block of a stage of a residual network leads its input to maps of another size.
type Shortcut string

const (
	// ShortcutA takes every second pixel and adds channels of zeros: no parameters (He, Zhang, Ren, Sun, CVPR 2016,
	// option A).
	ShortcutA Shortcut = "a"
	// ShortcutB is a convolution of 1×1 and a batch normalization (option B).
	ShortcutB Shortcut = "b"
	// ShortcutInput is a convolution of 1×1 of the block's input x, for networks with pre-activation. Public code of
	// robust training has it.
	ShortcutInput Shortcut = "input"
	// ShortcutActivation is a convolution of 1×1 of relu(BN x), for networks with pre-activation (He, Zhang, Ren, Sun,
	// ECCV 2016, and most public code for CIFAR).
	ShortcutActivation Shortcut = "activation"
)

// ResNet is a residual network for small images: a convolution of 3×3, stages of blocks of two convolutions of 3×3, the
// mean over the map and a linear map. The first block of each stage but the first has stride 2. Its arrays are conv1,
// bn1, layer1.0.conv1, layer1.0.bn1, …, layer2.0.shortcut.0, …, linear, as in public code for CIFAR.
//
//	ResNet-20, -32, -56   Widths 16, 32, 64 and 3, 5, 9 blocks in each stage; Shortcut a or b (CVPR 2016, section 4.2)
//	ResNet-18             Widths 64, 128, 256, 512 and 2 blocks in each stage; Shortcut b
//	PreActResNet-18       the same with PreActivation; Shortcut input or activation
//
// With PreActivation a block is x + conv(relu(BN(conv(relu(BN x))))) (ECCV 2016), the first convolution has no
// normalization, and one follows the last block, called bn.
type ResNet struct {
	Name          string
	Image         Image
	Classes       int
	Widths        []int // channels of each stage
	Blocks        []int // of each stage
	PreActivation bool
	Shortcut      Shortcut
	NoFinalNorm   bool // leaves out bn and the relu behind it, as some public code with PreActivation does
	Normalize     Normalization
	Start         Start
}

// Network is the network of these settings.
func (m ResNet) Network() (n Network, err error) {
	allowed := []Shortcut{ShortcutA, ShortcutB}
	if m.PreActivation {
		allowed = []Shortcut{ShortcutInput, ShortcutActivation}
	}
	switch {
	case len(m.Widths) < 1 || len(m.Widths) != len(m.Blocks):
		return n, fmt.Errorf("%s: widths %v and blocks %v: wants one of each for every stage", m.Name, m.Widths,
			m.Blocks)
	case slices.Min(m.Blocks) < 1 || slices.Min(m.Widths) < 1:
		return n, fmt.Errorf("%s: widths %v and blocks %v: wants at least 1 of each", m.Name, m.Widths, m.Blocks)
	case !slices.Contains(allowed, m.Shortcut):
		return n, fmt.Errorf("%s: the shortcut %q: wants one of %q", m.Name, m.Shortcut, allowed)
	case m.NoFinalNorm && !m.PreActivation:
		return n, errors.New(m.Name + ": only a network with pre-activation has a normalization behind its last block")
	}
	if err := checkBlocks(m.Name, m.Blocks...); err != nil {
		return n, err
	}
	for i, width := range m.Widths[1:] {
		if more := width - m.Widths[i]; m.Shortcut == ShortcutA && (more < 0 || more%2 != 0) {
			return n, fmt.Errorf("%s: layer shortcut: option A leads from %d to %d channels: wants an even number "+
				"more; option B has no such limit", m.Name, m.Widths[i], width)
		}
	}
	layers := []layer{conv3("conv1", m.Widths[0], 1)}
	if !m.PreActivation {
		layers = append(layers, norm{"bn1"}, relu{})
	}
	in := m.Widths[0]
	for i, width := range m.Widths {
		for j := range m.Blocks[i] {
			stride := 1
			if i > 0 && j == 0 {
				stride = 2
			}
			layers = append(layers, m.block(fmt.Sprintf("layer%d.%d.", i+1, j), in, width, stride)...)
			in = width
		}
	}
	if m.PreActivation && !m.NoFinalNorm {
		layers = append(layers, norm{"bn"}, relu{})
	}
	layers = append(layers, mean{}, linear{"linear", m.Classes})
	return network(m.Name, m.Image, m.Classes, m.Normalize, m.Start, layers...)
}

// mostBlocks are the most blocks of a residual network: some more than the 600 of ResNet-1202, the deepest published
// one of this kind. Names of networks come in files of models, which somebody else may have written.
const mostBlocks = 1000

// checkBlocks refuses stages that have more blocks together.
func checkBlocks(name string, blocks ...int) error {
	left := mostBlocks
	for _, b := range blocks {
		if b > left {
			return fmt.Errorf("%s: it has more than %d blocks, which is the most", name, mostBlocks)
		}
		left -= b
	}
	return nil
}

// conv3 is a convolution of 3×3 without bias that keeps the size of maps but for its stride.
func conv3(name string, outputs, stride int) layer {
	return conv{name: name, outputs: outputs, kernel: 3, stride: stride, padding: 1}
}

// block is one block, whose arrays are called at and what they are.
func (m ResNet) block(at string, in, width, stride int) []layer {
	r := residual{}
	if m.PreActivation {
		r.body = []layer{norm{at + "bn1"}, relu{}, conv3(at+"conv1", width, stride), norm{at + "bn2"}, relu{},
			conv3(at+"conv2", width, 1)}
	} else {
		r.body = []layer{conv3(at+"conv1", width, stride), norm{at + "bn1"}, relu{}, conv3(at+"conv2", width, 1),
			norm{at + "bn2"}}
	}
	if stride != 1 || in != width {
		project := conv{name: at + "shortcut.0", outputs: width, kernel: 1, stride: stride}
		switch m.Shortcut {
		case ShortcutA:
			r.shortcut = []layer{narrow{stride, (width - in) / 2, (width - in) / 2}}
		case ShortcutB:
			r.shortcut = []layer{project, norm{at + "shortcut.1"}}
		case ShortcutInput:
			r.shortcut = []layer{project}
		case ShortcutActivation:
			r.shortcut, r.shared = []layer{project}, 2
		}
	}
	if m.PreActivation {
		return []layer{r}
	}
	return []layer{r, relu{}}
}

// WideResNet is a residual network with pre-activation of Depth = 6 n + 4 layers in three stages of n blocks, with
// Widen times 16, 32 and 64 channels (Zagoruyko, Komodakis, BMVC 2016): WRN-28-10 has Depth 28 and Widen 10. Where a
// block changes the number of channels its shortcut is a convolution of relu(BN x). Its arrays are conv1,
// block1.layer.0.bn1, …conv1, …bn2, …conv2, …convShortcut, bn1 and fc, as in public code.
type WideResNet struct {
	Image        Image
	Classes      int
	Depth, Widen int
	// Base are the channels of the first convolution, and of the stages before they are widened; nil: 16, 16, 32, 64.
	Base      []int
	Normalize Normalization
	Start     Start
}

// Network is the network of these settings.
func (m WideResNet) Network() (n Network, err error) {
	name := fmt.Sprintf("wideresnet%d-%d", m.Depth, m.Widen)
	if m.Depth < 10 || (m.Depth-4)%6 != 0 || m.Widen < 1 {
		return n, errors.New(name + ": wants a depth of 6 n + 4, such as 28, and a widening factor of at least 1")
	}
	each := (m.Depth - 4) / 6 // blocks of a stage
	if err := checkBlocks(name, each, each, each); err != nil {
		return n, err
	}
	base := m.Base
	if base == nil {
		base = []int{16, 16, 32, 64}
	}
	if len(base) != 4 || slices.Min(base) < 1 {
		return n, fmt.Errorf("%s: base %v: wants four positive numbers of channels", name, base)
	}
	layers := []layer{conv3("conv1", base[0], 1)}
	in := base[0]
	for i, base := range base[1:] {
		width := base * m.Widen
		for j := range each {
			stride := 1
			if i > 0 && j == 0 {
				stride = 2
			}
			at := fmt.Sprintf("block%d.layer.%d.", i+1, j)
			r := residual{body: []layer{norm{at + "bn1"}, relu{}, conv3(at+"conv1", width, stride), norm{at + "bn2"},
				relu{}, conv3(at+"conv2", width, 1)}}
			if stride != 1 || in != width {
				r.shortcut = []layer{conv{name: at + "convShortcut", outputs: width, kernel: 1, stride: stride}}
				r.shared = 2
			}
			layers = append(layers, r)
			in = width
		}
	}
	layers = append(layers, norm{"bn1"}, relu{}, mean{}, linear{"fc", m.Classes})
	return network(name, m.Image, m.Classes, m.Normalize, m.Start, layers...)
}

// VGG is a network of convolutions of 3×3, each with a bias, a batch normalization and a relu, that halves its maps
// between them, and one linear map (Simonyan, Zisserman, ICLR 2015; with normalizations and one linear map, as in
// public code for CIFAR). Its arrays are features.0, features.1, …, counted as in an nn.Sequential, and classifier. A
// normalization takes the biases before it out again; they are there because public code has them.
type VGG struct {
	Image     Image
	Classes   int
	Widths    []int // channels of the convolutions, 0 for a halving; nil: those of VGG-16
	Normalize Normalization
	Start     Start
}

// vgg16 are the widths of configuration D.
var vgg16 = []int{64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0}

// Network is the network of these settings.
func (m VGG) Network() (Network, error) {
	widths, name := m.Widths, "vgg"
	if widths == nil {
		widths, name = vgg16, "vgg16"
	}
	var layers []layer
	member := 0 // of the nn.Sequential
	for _, width := range widths {
		if width == 0 {
			layers = append(layers, maxPool{2})
			member++
			continue
		}
		layers = append(layers, conv{name: "features." + strconv.Itoa(member), outputs: width, kernel: 3, stride: 1,
			padding: 1, bias: true}, norm{"features." + strconv.Itoa(member+1)}, relu{})
		member += 3
	}
	layers = append(layers, mean{}, linear{"classifier", m.Classes})
	return network(name, m.Image, m.Classes, m.Normalize, m.Start, layers...)
}
