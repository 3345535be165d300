package cpu

import (
	"testing"

	"bilevel/internal/kind"

	"github.com/stretchr/testify/require"
)

// No convolution spreads its images out in memory. What the workers of a pool keep is shared by all layers: for the
// convolutions of residual networks and their gradients, two workers have at most a tenth of the maps that one layer of
// each shape makes, and a network has several of most.
func TestConvScratch(t *testing.T) {
	zeros := func(shape []int) Array { return rowMajor(make([]float32, size(shape)), shape...) }
	for name, shapes := range map[string][]ConvShape{
		"ResNet-20, batch 128": {square(128, 32, 3, 16, 3, 1, 1), square(128, 32, 16, 16, 3, 1, 1),
			square(128, 32, 16, 32, 3, 2, 1), square(128, 16, 32, 32, 3, 1, 1), square(128, 16, 32, 64, 3, 2, 1),
			square(128, 8, 64, 64, 3, 1, 1)},
		"PreActResNet-18, batch 64": {square(64, 32, 3, 64, 3, 1, 1), square(64, 32, 64, 64, 3, 1, 1),
			square(64, 32, 64, 128, 3, 2, 1), square(64, 32, 64, 128, 1, 2, 0), square(64, 16, 128, 128, 3, 1, 1),
			square(64, 16, 128, 256, 3, 2, 1), square(64, 8, 256, 256, 3, 1, 1), square(64, 8, 256, 512, 3, 2, 1),
			square(64, 4, 512, 512, 3, 1, 1)},
		"channels by themselves, batch 64": {grouped(square(64, 32, 64, 64, 3, 1, 1), 64)},
	} {
		for _, level := range Levels() {
			p, maps := newPoolAt(t, 2, level), 0
			for _, s := range shapes {
				xs, ws, ys := shapesOf(&s)
				maps += size(ys)
				NewConv(p, kind.ConvForward, s, zeros(ys), zeros(xs), zeros(ws), nil, nil)
				NewConv(p, kind.ConvInputGradient, s, zeros(xs), zeros(ys), zeros(ws), nil, nil)
				NewConv(p, kind.ConvWeightGradient, s, zeros(ws), zeros(xs), zeros(ys), nil, nil)
			}
			scratch := len(p.common)
			for _, w := range p.workers {
				scratch += len(w.real) + len(w.int)
			}
			t.Logf("%s, %v: %d KiB, %.2f %% of the maps", name, level, scratch*4>>10, 100*float64(scratch)/
				float64(maps))
			require.LessOrEqual(t, 10*scratch, maps, "%s, %v", name, level)
		}
	}
}
