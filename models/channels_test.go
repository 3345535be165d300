package models_test

import (
	"fmt"
	"strings"
	"testing"

	"bilevel/models"

	"github.com/stretchr/testify/require"
)

func byName(t *testing.T, name string, image models.Image) models.Network {
	t.Helper()
	n, err := models.ByName(name, models.Spec{Image: image, Classes: 10})
	require.NoError(t, err)
	return n
}

// groups are the names of a network's groups of channels with the sizes that they have.
func groups(n models.Network) (list []string) {
	for _, u := range n.Units() {
		list = append(list, fmt.Sprint(u.Name, " ", u.Count))
	}
	return list
}

// Which channels go together follows from the additions: written down by hand from the published drawings.
func TestGroupsOfChannels(t *testing.T) {
	for name, want := range map[string]string{
		// One stream goes through all three stages of option A: 16 channels, between 8 and 8 more, between 16 and 16.
		"resnet8": "conv1 16, layer1.0.conv1 16, layer2.0.conv1 32, layer2.0.conv2[0:8] 8, layer2.0.conv2[24:32] 8, " +
			"layer3.0.conv1 64, layer3.0.conv2[0:16] 16, layer3.0.conv2[48:64] 16",
		// Convolutions in the shortcuts end a stream and begin the next.
		"resnet8:b": "conv1 16, layer1.0.conv1 16, layer2.0.conv1 32, layer2.0.conv2 32, layer3.0.conv1 64, " +
			"layer3.0.conv2 64",
		"preactresnet:4-8/2-1": "conv1 4, layer1.0.conv1 4, layer1.1.conv1 4, layer2.0.conv1 8, layer2.0.conv2 8",
		"wideresnet10-1": "conv1 16, block1.layer.0.conv1 16, block2.layer.0.conv1 32, block2.layer.0.conv2 32, " +
			"block3.layer.0.conv1 64, block3.layer.0.conv2 64",
		"lenet": "conv1 6, conv2 16, fc1 120, fc2 84",
	} {
		require.Equal(t, want, strings.Join(groups(byName(t, name, cifar)), ", "), name)
	}
	vgg := byName(t, "vgg16", cifar)
	require.Len(t, vgg.Units(), 13, "each convolution by itself")

	units := byName(t, "resnet8", cifar).Units()
	require.Equal(t, "conv1: 16 units, each one slice of conv1.weight along axis 3, bn1.weight along axis 0, "+
		"bn1.bias along axis 0, layer1.0.conv1.weight along axis 2, layer1.0.conv2.weight along axis 3, "+
		"layer1.0.bn2.weight along axis 0, layer1.0.bn2.bias along axis 0, layer2.0.conv1.weight along axis 2, "+
		"layer2.0.conv2.weight along axis 3 from 8, layer2.0.bn2.weight along axis 0 from 8, "+
		"layer2.0.bn2.bias along axis 0 from 8, layer3.0.conv1.weight along axis 2 from 8, "+
		"layer3.0.conv2.weight along axis 3 from 24, layer3.0.bn2.weight along axis 0 from 24, "+
		"layer3.0.bn2.bias along axis 0 from 24, linear.weight along axis 1 from 24, "+
		"bn1.running_mean along axis 0, bn1.running_var along axis 0, "+
		"layer1.0.bn2.running_mean along axis 0, layer1.0.bn2.running_var along axis 0, "+
		"layer2.0.bn2.running_mean along axis 0 from 8, layer2.0.bn2.running_var along axis 0 from 8, "+
		"layer3.0.bn2.running_mean along axis 0 from 24, layer3.0.bn2.running_var along axis 0 from 24",
		units[0].String())
	lenet := byName(t, "lenet", cifar).Units()
	require.Equal(t, "conv2: 16 units, each one slice of conv2.weight along axis 3, conv2.bias along axis 0, "+
		"fc1.weight along axis 1 every 16", lenet[1].String())
}

// Every parameter but those of the pixels, the classes and the means of batches lies where its unit says, and a
// network with fewer units has arrays of fewer.
func TestNetworkWithUnits(t *testing.T) {
	for _, name := range []string{"resnet8", "resnet8:b", "preactresnet:4-8/2-1:activation", "wideresnet10-2", "vgg16",
		"lenet"} {
		n := byName(t, name, cifar)
		var all, half []int
		for _, u := range n.Units() {
			all, half = append(all, u.Count), append(half, u.Count/2)
		}
		same, err := n.WithUnits(all)
		require.NoError(t, err)
		require.Equal(t, n.Params(), same.Params(), name)
		small, err := n.WithUnits(half)
		require.NoError(t, err)
		require.Equal(t, n.Params().Names(), small.Params().Names())
		for i, u := range small.(models.Network).Units() {
			require.Equal(t, half[i], u.Count, "%s: %s", name, u.Name)
		}
		conv, err := small.Params().Find(n.Params()[0].Name)
		require.NoError(t, err)
		require.Equal(t, n.Params()[0].Shape[3]/2, conv.Shape[3])
		require.Equal(t, 3, conv.Shape[2], "the channels of the image stay")
		_, err = n.WithUnits(half[1:])
		require.ErrorContains(t, err, fmt.Sprintf("%d numbers for the %d groups of channels of %s", len(half)-1,
			len(half), name))
		half[0] = 0
		_, err = n.WithUnits(half)
		require.ErrorContains(t, err, "0 channels in the group "+n.Units()[0].Name)
	}
}
