package attack

import (
	"context"
	"fmt"
	"slices"
)

// Level is what attacks came to at one radius of several.
type Level struct {
	Ball Ball
	// Robust tells which images were robust at this radius and at every smaller one: an example that was found at a
	// smaller radius lies in the larger ball too. Images [N, d] are as those of a Result, with those examples.
	Robust []bool
	Images []float32
	Raw    *Result // at this radius alone
}

// Sweep attacks the same images at several radii, each from the beginning, and gives them in ascending order.
func (a *Attacker) Sweep(ctx context.Context, n Norm, radii []float64, s Samples, attacks ...Attack) ([]Level, error) {
	radii = slices.Compact(slices.Sorted(slices.Values(radii)))
	if len(radii) == 0 {
		return nil, fmt.Errorf("attack: no radii are given")
	}
	for _, eps := range radii {
		if err := (Ball{n, eps}).Check(a.Inputs); err != nil {
			return nil, fmt.Errorf("attack: %w", err)
		}
	}
	var levels []Level
	for i, eps := range radii {
		raw, err := a.Run(ctx, Ball{n, eps}, s, attacks...)
		if err != nil {
			return nil, err
		}
		l := Level{Ball: raw.Ball, Robust: slices.Clone(raw.Robust), Images: raw.Images, Raw: raw}
		if i > 0 {
			l.carry(levels[i-1], a.Inputs)
		}
		levels = append(levels, l)
	}
	return levels, nil
}

// carry takes over the examples of a smaller radius that were not found again.
func (l *Level) carry(smaller Level, d int) {
	own := true // Images are those of Raw
	for i, robust := range smaller.Robust {
		if robust || !l.Robust[i] {
			continue
		}
		if own {
			l.Images, own = slices.Clone(l.Images), false
		}
		l.Robust[i] = false
		copy(row(l.Images, i, d), row(smaller.Images, i, d))
	}
}

// Nearest looks for the nearest adversarial example of each image in a ball, by FAB with all its targets and restarts
// even after a first success. In the result, Images are the nearest that were found, and Robust are images without any.
func (a *Attacker) Nearest(ctx context.Context, b Ball, s Samples, f FAB) (*Result, error) {
	f.minimal = true
	a.keepAll, a.nearest = true, true
	defer func() { a.keepAll, a.nearest = false, false }()
	return a.Run(ctx, b, s, f)
}
