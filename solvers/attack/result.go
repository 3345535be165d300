package attack

import (
	"math"
	"time"
)

// Result is what attacks came to, in the order of the samples.
type Result struct {
	Ball Ball
	// Clean tells which images the model puts into their class, Robust which of them no attack could change.
	Clean, Robust []bool
	// By is the number of the attack that found an adversarial example, in the order given; -1 where none did, and
	// where the image itself is misclassified.
	By []int
	// Images [N, d] are the adversarial examples where there are any, else the points of the largest cross-entropy
	// among those that the attacks came out with, else the images. All are in the ball and in [0, 1].
	Images []float32
	// Loss is the cross-entropy at Images, in float64 of the device's logits.
	Loss     []float64
	Attacks  []Tally
	Warnings []string
}

// Tally is what one attack of an ensemble came to.
type Tally struct {
	Name     string
	Attacked int // images that were left for it
	Broken   int // of them
	Robust   int // images that are robust after it
	Duration time.Duration
}

// Count is how many are true.
func Count(flags []bool) (n int) {
	for _, f := range flags {
		if f {
			n++
		}
	}
	return n
}

// Accuracy is the share of true ones, and its standard error √(p(1-p)/n), as of n independent images.
func Accuracy(flags []bool) (p, standardError float64) {
	n := float64(len(flags))
	p = float64(Count(flags)) / n
	return p, math.Sqrt(p * (1 - p) / n)
}

// judged is a point with what the model says of it.
type judged struct {
	loss  float64
	wrong bool
}

// judge is the cross-entropy of logits, and whether another class than y has the largest. Logits that are not finite
// prove nothing.
func judge(z []float64, y int32) judged {
	best, most := 0, math.Inf(-1)
	for i, v := range z {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return judged{loss: math.Inf(-1)}
		}
		if v > most {
			best, most = i, v
		}
	}
	sum := 0.0
	for _, v := range z {
		sum += math.Exp(v - most)
	}
	return judged{math.Log(sum) + most - z[y], int32(best) != y}
}

// offer takes a point of image i, which is robust until now, that attack k came out with: an adversarial example, or a
// point of a larger loss than the one at hand.
func (r *Result) offer(i, k, d int, image []float32, v judged) {
	broke := v.wrong && r.Robust[i]
	if broke || v.loss > r.Loss[i] {
		copy(row(r.Images, i, d), image)
		r.Loss[i] = v.loss
	}
	if broke {
		r.Robust[i], r.By[i] = false, k
	}
}
