package models_test

import (
	"math"
	"strings"
	"testing"

	"bilevel/models"

	"github.com/stretchr/testify/require"
)

var cifar = models.Image{Height: 32, Width: 32, Channels: 3}

// Parameters are those that public PyTorch code counts for the same networks and 10 classes, multiply-adds those of
// convolutions and linear maps on one image of 32×32.
func TestCosts(t *testing.T) {
	mnist := models.Image{Height: 28, Width: 28, Channels: 1}
	for _, c := range []struct {
		name                     string
		image                    models.Image
		parameters, multiplyAdds int
	}{
		{"lenet", mnist, 61_706, 416_520},
		{"lenet", cifar, 62_006, 651_720},
		{"resnet20", cifar, 269_722, 40_551_040},
		{"resnet20:b", cifar, 272_474, 40_813_184},
		{"resnet32", cifar, 464_154, 68_862_592},
		{"resnet56", cifar, 853_018, 125_485_696},
		{"resnet18", cifar, 11_173_962, 555_422_720},
		{"preactresnet18:activation,no-final-norm", cifar, 11_171_146, 555_422_720},
		{"preactresnet18", cifar, 11_172_170, 555_422_720},
		{"vgg16", cifar, 14_728_266, 313_201_664},
		{"wideresnet28-10", cifar, 36_479_194, 5_243_328_768},
	} {
		n, err := models.ByName(c.name, models.Spec{Image: c.image, Classes: 10})
		require.NoError(t, err, c.name)
		parameters, multiplyAdds := 0, 0
		for _, l := range n.Costs() {
			parameters, multiplyAdds = parameters+l.Parameters, multiplyAdds+l.MultiplyAdds
		}
		require.Equal(t, c.parameters, parameters, c.name)
		require.Equal(t, c.parameters, n.Params().Size(), c.name)
		require.Equal(t, c.multiplyAdds, multiplyAdds, c.name)
		require.NoError(t, n.Params().Check())
		require.NoError(t, n.State().Check())
		require.Equal(t, c.name, n.Name())
	}
}

func TestNetworkNames(t *testing.T) {
	s := models.Spec{Image: cifar, Classes: 10}
	for name, want := range map[string]string{
		"resnet":                   "wants a depth of 6 n + 2",
		"resnet21":                 "wants a depth of 6 n + 2",
		"resnet18:a":               "resnet18 has shortcuts of 1×1 convolutions (b) alone",
		"resnet20:a,b":             "shortcuts a and b: wants one",
		"resnet20:input":           `"input" is no setting of it (there are a, b)`,
		"vgg16:b":                  `"b" is no setting of it: it has none`,
		"vgg19":                    "there is vgg16, not vgg19",
		"lenet5":                   "there is one lenet: leave out 5",
		"wideresnet28":             "wants a depth and a widening factor",
		"wideresnet27-2":           "wants a depth of 6 n + 4",
		"preactresnet:16-32":       "wants preactresnet18, or the channels and blocks",
		"preactresnet:16-32/2":     "wants one of each for every stage",
		"preactresnet:16-0/2-2":    "wants preactresnet18, or the channels and blocks",
		"resnest20":                "(there are lenet, resnet, preactresnet, vgg, wideresnet)",
		"preactresnet18:input,999": `"999" is no setting of it`,

		"resnet20000":                  "resnet20000: it has more than 1000 blocks, which is the most",
		"resnet9223372036854775802":    "more than 1000 blocks",
		"wideresnet6004-1":             "wideresnet6004-1: it has more than 1000 blocks",
		"preactresnet:4-4/500-501":     "more than 1000 blocks",
		"preactresnet:4-4/65536-65536": "more than 1000 blocks",
	} {
		_, err := models.ByName(name, s)
		require.ErrorContains(t, err, want, name)
	}
	require.True(t, models.IsNetwork("resnet20:b"))
	require.True(t, models.IsNetwork("preactresnet:16-32/2-2"))
	require.False(t, models.IsNetwork("mlp:300-100"))
	require.False(t, models.IsNetwork("softmax"))
	require.Contains(t, models.NetworkForms(), "wideresnet28-10, wideresnet16-4, …")

	// What no image of a size fits names the layer.
	s.Image = models.Image{Height: 8, Width: 8, Channels: 1}
	_, err := models.ByName("vgg16", s)
	require.EqualError(t, err, "vgg16 for images of 8×8×1: layer max pool: windows of 2×2 are larger than its maps of "+
		"1×1×512: take larger images")
	_, err = models.ByName("lenet", s)
	require.NoError(t, err)
	s.Image.Channels, s.Classes = 0, 1
	_, err = models.ByName("lenet", s)
	require.ErrorContains(t, err, "lenet: images of 8×8×0")
}

// Names and order of arrays are those of public PyTorch code.
func TestNetworkArrays(t *testing.T) {
	names := func(name string) string {
		n, err := models.ByName(name, models.Spec{Image: cifar, Classes: 10})
		require.NoError(t, err)
		return strings.Join(n.Params().Names(), " ")
	}
	require.Contains(t, names("resnet20:b"), "layer2.0.conv1.weight layer2.0.bn1.weight layer2.0.bn1.bias "+
		"layer2.0.conv2.weight layer2.0.bn2.weight layer2.0.bn2.bias layer2.0.shortcut.0.weight "+
		"layer2.0.shortcut.1.weight layer2.0.shortcut.1.bias layer2.1.conv1.weight")
	require.Contains(t, names("preactresnet18"), "layer2.0.bn1.weight layer2.0.bn1.bias layer2.0.conv1.weight "+
		"layer2.0.bn2.weight layer2.0.bn2.bias layer2.0.conv2.weight layer2.0.shortcut.0.weight layer2.1.bn1.weight")
	require.True(t, strings.HasPrefix(names("vgg16"), "features.0.weight features.0.bias features.1.weight "+
		"features.1.bias features.3.weight features.3.bias features.4.weight features.4.bias features.7.weight"))
	require.Contains(t, names("wideresnet10-2"), "block1.layer.0.conv2.weight block1.layer.0.convShortcut.weight "+
		"block2.layer.0.bn1.weight")
	n, err := models.ByName("lenet", models.Spec{Image: cifar, Classes: 10})
	require.NoError(t, err)
	for name, want := range map[string][2][]int{
		"conv1.weight": {{5, 5, 3, 6}, {6, 3, 5, 5}}, "fc1.weight": {{120, 400}, {120, 400}},
		"conv1.bias": {{6}, {6}},
	} {
		a, err := n.Params().Find(name)
		require.NoError(t, err)
		require.Equal(t, want, [2][]int{a.Shape, a.PeerShape()})
	}
}

// Weights are drawn with the deviation that their fan-in asks for, normalizations begin as the identity, and the
// numbers depend on the seed alone.
func TestNetworkStart(t *testing.T) {
	n, err := models.ByName("resnet20:b", models.Spec{Image: cifar, Classes: 10})
	require.NoError(t, err)
	p, state := n.Init(3)
	again, _ := n.Init(3)
	other, _ := n.Init(4)
	require.Equal(t, p.Flat, again.Flat)
	require.NotEqual(t, p.Flat, other.Flat)
	for name, fanIn := range map[string]float64{"layer3.1.conv2.weight": 9 * 64, "layer2.0.shortcut.0.weight": 16} {
		square, values := 0.0, p.Of(name)
		for _, v := range values {
			square += v * v
		}
		// The mean of m squares of normal numbers is off by √(2/m) of itself; five times that are allowed.
		m := float64(len(values))
		require.InDelta(t, 1, square/m*fanIn/2, 5*math.Sqrt(2/m), name)
	}
	for name, want := range map[string]float64{"layer2.0.bn1.weight": 1, "layer2.0.bn1.bias": 0, "linear.bias": 0,
		"layer1.0.bn2.weight": 1} {
		for _, v := range p.Of(name) {
			require.Equal(t, want, v, name)
		}
	}
	for _, v := range state.Of("layer1.0.bn2.running_var") {
		require.Equal(t, 1.0, v)
	}
	for _, v := range state.Of("layer1.0.bn2.running_mean") {
		require.Zero(t, v)
	}
}

// A name makes a network whose arrays are in order, or an error, and never more.
func FuzzByName(f *testing.F) {
	for _, name := range []string{"resnet20:b", "preactresnet:4-8/1-2:activation", "wideresnet10-2", "vgg16", "lenet",
		"preactresnet18:no-final-norm,input", "resnet:20", ":", "resnet-1"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		if len(name) > 40 {
			return // the depth of a network is the length of its list
		}
		for _, r := range name {
			if r >= '0' && r <= '9' && len(strings.Trim(name, "0123456789")) < len(name)-5 {
				return // of networks of thousands of layers
			}
		}
		n, err := models.ByName(name, models.Spec{Image: cifar, Classes: 3})
		if err == nil {
			require.NoError(t, n.Params().Check())
			require.NoError(t, n.State().Check())
		}
	})
}
