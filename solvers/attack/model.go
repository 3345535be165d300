package attack

import (
	"errors"
	"fmt"
	"math"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/tensor"
)

// Model is a classifier under attack. Logits builds its logits [B, Classes] of images [B, Inputs], as nodes of the
// executor that the attacks run on; normalization is part of it. It is asked for batches of several sizes.
type Model struct {
	Inputs, Classes int
	Image           Image
	Logits          func(images *tensor.Node) *tensor.Node
}

// Image says how the pixels of a row lie, for attacks that change windows of an image. The zero value is a square of
// one channel.
type Image struct {
	Height, Width, Channels int
	// ChannelsLast: the channels of a pixel are neighbours, as in a row of shape [height, width, channels]. Else each
	// channel is an image of its own, as in CIFAR's files and in PyTorch.
	ChannelsLast bool
}

// in fills what is zero for rows of d pixels.
func (i Image) in(d int) (Image, error) {
	if i == (Image{}) {
		side := int(math.Round(math.Sqrt(float64(d))))
		if side*side != d {
			return i, fmt.Errorf("image: %d pixels are no square of one channel: give height, width and channels", d)
		}
		return Image{Height: side, Width: side, Channels: 1}, nil
	}
	if i.Height < 1 || i.Width < 1 || i.Channels < 1 || i.Height*i.Width*i.Channels != d {
		return i, fmt.Errorf("image: %d x %d pixels in %d channels are not the %d inputs of the model", i.Height,
			i.Width, i.Channels, d)
	}
	return i, nil
}

// Of is a model of package models with parameters and state (nil where it keeps none), evaluated with its running
// statistics.
func Of(m models.Model, inputs, classes int, p, state *tensor.Node) Model {
	return Model{Inputs: inputs, Classes: classes, Logits: func(x *tensor.Node) *tensor.Node {
		z, _ := m.Apply(p, state, x, params.Eval)
		return z
	}}
}

func (m Model) check() error {
	switch {
	case m.Logits == nil:
		return errors.New("attack: the model has no function that builds its logits")
	case m.Inputs < 1:
		return fmt.Errorf("attack: a model of %d inputs: wants at least 1", m.Inputs)
	case m.Classes < 2:
		return fmt.Errorf("attack: a model of %d classes: wants at least 2, with a logit for each", m.Classes)
	}
	return nil
}

// logits are the model's outputs, checked.
func (m Model) logits(x *tensor.Node) *tensor.Node {
	z := m.Logits(x)
	rows := x.Shape()[0]
	if z == nil || len(z.Shape()) != 2 || z.Shape()[0] != rows || z.Shape()[1] != m.Classes || z.Type() != tensor.Real {
		tensor.Fail("Logits", "the model gives %v for images of shape %v: wants logits of shape [%d %d]", z, x.Shape(),
			rows, m.Classes)
	}
	return z
}

// Samples are images [N, d], row-major with pixels in [0, 1], and their labels.
type Samples struct {
	Images []float32
	Labels []int32
}

// N is the number of images.
func (s Samples) N() int { return len(s.Labels) }

// row is image i, or the same row of another array of that shape.
func row(images []float32, i, d int) []float32 { return images[i*d : (i+1)*d : (i+1)*d] }

// check names the first image and the first label that cannot be.
func (s Samples) check(m Model) error {
	if s.N() == 0 || len(s.Images) != s.N()*m.Inputs {
		return fmt.Errorf("images: %d numbers for %d labels: wants at least one image, and %d pixels for each",
			len(s.Images), s.N(), m.Inputs)
	}
	for i, v := range s.Images {
		if !(v >= 0 && v <= 1) {
			return fmt.Errorf("images: pixel %d of image %d is %g: wants pixels in [0, 1]; divide bytes by 255, and "+
				"leave normalization to the model", i%m.Inputs, i/m.Inputs, v)
		}
	}
	for i, y := range s.Labels {
		if y < 0 || int(y) >= m.Classes {
			return fmt.Errorf("labels: that of image %d is %d, and the model has %d classes: wants 0 to %d", i, y,
				m.Classes, m.Classes-1)
		}
	}
	return nil
}
