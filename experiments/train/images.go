package train

import (
	"fmt"
	"math"
	"slices"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/models"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// The values of the setting augment: CropFlip shifts images by up to 4 pixels in each direction, black beyond their
// edges, and mirrors half of them (He, Zhang, Ren, Sun, CVPR 2016, section 4.2). Empty is CropFlip for images with
// colours in networks of images, else None.
const (
	CropFlip = "crop-flip"
	None     = "none"
)

// CheckAugment refuses other words than those.
func CheckAugment(augment string) error {
	if !slices.Contains([]string{"", CropFlip, None}, augment) {
		return fmt.Errorf("augment %q: wants %s or %s", augment, CropFlip, None)
	}
	return nil
}

// Rows are the data of a run, and how a model reads them.
type Rows struct {
	*data.Prepared
	Inputs
	Crops bool // training images are shifted and mirrored at random
}

// Prepare splits a set for a model. Networks of images normalize their inputs themselves: their rows stay as they are,
// bytes too, and Inputs.Normalize has the mean and the deviation of each channel. Rows of other models are numbers that
// are prepared as p says.
func Prepare(set *data.Dataset, model, augment string, p data.Preparation, seed uint64) (r Rows, err error) {
	r.Inputs = InputsOf(set)
	isNetwork := models.IsNetwork(model)
	if isNetwork {
		if r.NoImage != nil {
			return r, fmt.Errorf("the model %s is for images: %w", model, r.NoImage)
		}
		p.Channels = r.Image.Channels
		r.Crops = augment == CropFlip || augment == "" && r.Image.Channels > 1
	} else {
		set = set.Widened()
	}
	if augment == CropFlip && !r.Crops {
		return r, experiments.Usagef("augment %s: the model %s is not for images", augment, model)
	}
	if r.Prepared, err = data.Prepare(set, p, seed); err == nil && isNetwork {
		r.Normalize = models.Normalization{Mean: r.Scaler.Mean, Deviation: r.Scaler.Deviation}
	}
	return r, err
}

// cropPadding is by how many pixels augmented images are shifted at most.
const cropPadding = 4

// Features are the rows of a batch [B, …]: the data called features, shifted and mirrored where the batch is one of
// training.
func (r Rows) Features(b problem.Batch) *tensor.Node {
	random := b.Random()
	if !r.Crops || random == nil {
		return b.Get("features")
	}
	table := b.Table("features")
	rows := table.Shape()[0]
	crops := random.Crops(table.Reshape(rows, r.Image.Height, r.Image.Width, r.Image.Channels), b.Index, cropPadding,
		true)
	return crops.Reshape(b.Rows, r.Count)
}

// WhitePixel is the value of a white pixel in a set: 16 in the embedded digits, 255 where values are bytes, or whole
// and some are above 1, else 1.
func WhitePixel(set *data.Dataset) float64 {
	rows := set.Test
	if rows == nil {
		rows = set.Train
	}
	broken := func(v float32) bool { return v != float32(math.Trunc(float64(v))) }
	switch {
	case set.Source == "embedded":
		return 16
	case rows.Bytes != nil:
		return 255
	case slices.Max(rows.Features) <= 1 || slices.ContainsFunc(rows.Features, broken):
		return 1
	}
	return 255
}
