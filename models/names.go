package models

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"bilevel/internal/nearest"
)

// Spec is what a network is made for.
type Spec struct {
	Image     Image
	Classes   int
	Normalize Normalization
	Start     Start
}

// family is a kind of network by its name. What follows the name's own part are numbers that the network is made of:
// the depth of resnet20, say.
type family struct {
	name  string   // before the numbers
	forms string   // how it is written
	about []string // in short lines
	// words are what may follow a colon, and the first of them is what an empty one means.
	words []string
	make  func(s Spec, numbers string, words []string) (Network, error)
}

// cifarStages are the channels of ResNets for CIFAR, stages those of ResNet-18.
var cifarStages, stages = []int{16, 32, 64}, []int{64, 128, 256, 512}

// families lists the networks that ByName knows.
var families = []family{
	{"lenet", "lenet", []string{"convolutions of 5×5 with 6 and 16 channels, linear maps of 120 and 84"}, nil,
		func(s Spec, numbers string, _ []string) (Network, error) {
			if numbers != "" {
				return Network{}, errors.New("there is one lenet: leave out " + numbers)
			}
			return LeNet{Image: s.Image, Classes: s.Classes, Normalize: s.Normalize, Start: s.Start}.Network()
		}},
	{"resnet", "resnet20, resnet32, resnet56, … resnet18",
		[]string{"residual networks: 6 n + 2 layers with 16, 32, 64 channels, or ResNet-18 with a first layer for",
			"small images; shortcuts a (zeros) or b (1×1 convolutions, which resnet18 has alone)"},
		[]string{string(ShortcutA), string(ShortcutB)}, resNet},
	{"preactresnet", "preactresnet18, preactresnet:16-32-64/2-2-2",
		[]string{"residual networks with pre-activation, the second with given channels and blocks of its stages;",
			"the 1×1 convolution of a shortcut reads the input x or the activation relu(BN x) of its block;",
			"no-final-norm leaves out the last normalization"},
		[]string{string(ShortcutInput), string(ShortcutActivation), noFinalNorm}, preActResNet},
	{"vgg", "vgg16", []string{"VGG-16 with batch normalization and one linear map"}, nil,
		func(s Spec, numbers string, _ []string) (Network, error) {
			if numbers != "16" {
				return Network{}, fmt.Errorf("there is vgg16, not vgg%s", numbers)
			}
			return VGG{Image: s.Image, Classes: s.Classes, Normalize: s.Normalize, Start: s.Start}.Network()
		}},
	{"wideresnet", "wideresnet28-10, wideresnet16-4, …",
		[]string{"wide residual networks: 6 n + 4 layers, and a widening factor"}, nil, wideResNet},
}

const noFinalNorm = "no-final-norm"

// NetworkForms says of each kind of network how its name is written, and what it is, in short lines.
func NetworkForms() (lines []string) {
	for _, f := range families {
		forms := f.forms
		if f.words != nil {
			forms += ", with :" + strings.Join(f.words, " or :") + " behind it"
		}
		lines = append(lines, forms)
		for _, line := range f.about {
			lines = append(lines, "    "+line)
		}
	}
	return lines
}

// NetworkNames lists the names of the usual networks.
func NetworkNames() []string {
	return []string{"lenet", "resnet20", "resnet32", "resnet56", "resnet18", "preactresnet18", "vgg16",
		"wideresnet28-10"}
}

// IsNetwork tells whether a name is that of a kind of network that ByName knows, whatever its numbers.
func IsNetwork(name string) bool { _, ok := familyOf(name); return ok }

func familyOf(name string) (family, bool) {
	base, _, _ := strings.Cut(strings.TrimRight(strings.SplitN(name, ":", 2)[0], "0123456789-/"), ":")
	i := slices.IndexFunc(families, func(f family) bool { return f.name == base })
	if i < 0 {
		return family{}, false
	}
	return families[i], true
}

// ByName is a network of a name: lenet, resnet20, resnet20:b, preactresnet18:activation, preactresnet:16-32/2-2,
// vgg16, wideresnet28-10, and others of their kinds.
func ByName(name string, s Spec) (Network, error) {
	f, ok := familyOf(name)
	if !ok {
		var forms []string
		for _, f := range families {
			forms = append(forms, f.name)
		}
		return Network{}, fmt.Errorf("unknown network %q (there are %s)%s", name, strings.Join(forms, ", "),
			nearest.Hint(name, forms))
	}
	numbers, after, _ := strings.Cut(strings.TrimPrefix(name, f.name), ":")
	var words []string
	for _, w := range strings.FieldsFunc(after, func(r rune) bool { return r == ':' || r == ',' }) {
		switch {
		case slices.Contains(f.words, w):
			words = append(words, w)
		case numbers == "" && w[0] >= '0' && w[0] <= '9':
			numbers = w
		default:
			return Network{}, fmt.Errorf("network %q: %q is no setting of it%s", name, w, settingsOf(f))
		}
	}
	n, err := f.make(s, numbers, words)
	if err != nil {
		return n, err
	}
	n.name = name
	return n, nil
}

func settingsOf(f family) string {
	if f.words == nil {
		return ": it has none"
	}
	return " (there are " + strings.Join(f.words, ", ") + ")"
}

// shortcutOf is the one shortcut among words, or the first of those that are allowed.
func shortcutOf(words []string, allowed ...Shortcut) (Shortcut, error) {
	var found []Shortcut
	for _, w := range words {
		if slices.Contains(allowed, Shortcut(w)) {
			found = append(found, Shortcut(w))
		}
	}
	switch {
	case len(found) > 1:
		return "", fmt.Errorf("shortcuts %s and %s: wants one", found[0], found[1])
	case len(found) == 1:
		return found[0], nil
	}
	return allowed[0], nil
}

func resNet(s Spec, numbers string, words []string) (n Network, err error) {
	depth, err := strconv.Atoi(numbers)
	m := ResNet{Name: "resnet" + numbers, Image: s.Image, Classes: s.Classes, Normalize: s.Normalize, Start: s.Start}
	switch each := (depth - 2) / 6; {
	case err == nil && depth == 18:
		m.Widths, m.Blocks = stages, []int{2, 2, 2, 2}
		if m.Shortcut, err = shortcutOf(words, ShortcutB, ShortcutA); err == nil && m.Shortcut == ShortcutA {
			err = errors.New("resnet18 has shortcuts of 1×1 convolutions (b) alone")
		}
	case err == nil && depth >= 8 && (depth-2)%6 == 0:
		m.Widths, m.Blocks = cifarStages, []int{each, each, each}
		m.Shortcut, err = shortcutOf(words, ShortcutA, ShortcutB)
	default:
		return n, fmt.Errorf("resnet%s: wants a depth of 6 n + 2, such as resnet20, resnet32 and resnet56, or resnet18",
			numbers)
	}
	if err != nil {
		return n, err
	}
	return m.Network()
}

func preActResNet(s Spec, numbers string, words []string) (n Network, err error) {
	m := ResNet{Name: "preactresnet" + numbers, Image: s.Image, Classes: s.Classes, PreActivation: true,
		NoFinalNorm: slices.Contains(words, noFinalNorm), Normalize: s.Normalize, Start: s.Start}
	if m.Shortcut, err = shortcutOf(words, ShortcutInput, ShortcutActivation); err != nil {
		return n, err
	}
	if numbers == "18" {
		m.Widths, m.Blocks = stages, []int{2, 2, 2, 2}
		return m.Network()
	}
	widths, blocks, ok := strings.Cut(numbers, "/")
	if m.Widths, err = numbersOf(widths); ok && err == nil {
		m.Blocks, err = numbersOf(blocks)
	}
	if !ok || err != nil {
		return n, fmt.Errorf("preactresnet:%s: wants preactresnet18, or the channels and blocks of its stages, such "+
			"as preactresnet:16-32-64/2-2-2", numbers)
	}
	return m.Network()
}

func wideResNet(s Spec, numbers string, _ []string) (n Network, err error) {
	of, err := numbersOf(numbers)
	if err != nil || len(of) != 2 {
		return n, fmt.Errorf("wideresnet%s: wants a depth and a widening factor, such as wideresnet28-10", numbers)
	}
	return WideResNet{Image: s.Image, Classes: s.Classes, Depth: of[0], Widen: of[1], Normalize: s.Normalize,
		Start: s.Start}.Network()
}

// numbersOf reads 16-32-64.
func numbersOf(text string) (numbers []int, err error) {
	const most = 1 << 16
	for _, part := range strings.Split(text, "-") {
		v, err := strconv.Atoi(part)
		if err != nil || v < 1 || v > most {
			return nil, fmt.Errorf("%q is no number from 1 to %d", part, most)
		}
		numbers = append(numbers, v)
	}
	return numbers, nil
}
