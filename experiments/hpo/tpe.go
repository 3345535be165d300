package hpo

import (
	"cmp"
	"math"
	"slices"

	"bilevel/internal/philox"

	"gonum.org/v1/gonum/stat/distuv"
)

// Settings of tpe: trials that are drawn at random first, candidates for each hyperparameter, and the part of the
// trials that count as good, of which there are at most mostGood.
const (
	firstTrials = 10
	candidates  = 24
	goodPart    = 0.1
	mostGood    = 25
)

// tpe is a tree-structured Parzen estimator (Bergstra, Bardenet, Bengio, Kégl, NIPS 2011, "Algorithms for
// hyper-parameter optimization", section 4) for a space without conditions, written out plainly. With the trials sorted
// by their losses, y* the loss that a part γ of them is below, and for each hyperparameter the densities
//
//	l(x)  of the trials with a loss below y*,      g(x)  of the others,
//
// the expected improvement on y* grows with l(x)/g(x). The next value of each hyperparameter is the one of some
// candidates drawn from l with the largest ratio. A density is a mean of Gaussians, cut off at the ends of the interval
// and scaled to be one: one at each trial, whose deviation is the larger of the distances to its neighbours (the ends
// count as such), at least the width of the interval over min(100, n+1) for n trials; and one in the middle as wide as
// the interval, which stands for what was believed before. γ, the number of candidates and the random trials at the
// start are those of Optuna, which the paper leaves open or has larger.
func tpe(s space, seed uint64, done []trial) []float64 {
	if len(done) < firstTrials {
		return random(s, seed, done)
	}
	sorted := slices.Clone(done)
	slices.SortStableFunc(sorted, func(a, b trial) int { return cmp.Compare(a.loss, b.loss) })
	good := min(int(math.Ceil(goodPart*float64(len(sorted)))), mostGood)
	from := philox.New(seed, uint32(len(done)), philox.StreamSearch)
	x := make([]float64, len(s))
	for j, h := range s {
		l, g := newParzen(h, j, sorted[:good]), newParzen(h, j, sorted[good:])
		best := math.Inf(-1)
		for range candidates {
			v := l.draw(from.Float64(), from.Float64())
			if ratio := math.Log(l.density(v)) - math.Log(g.density(v)); ratio > best {
				x[j], best = v, ratio
			}
		}
	}
	return x
}

// parzen is a density on an interval.
type parzen struct {
	lo, hi       float64
	mean, spread []float64
}

func newParzen(h hyperparameter, j int, of []trial) *parzen {
	p := &parzen{lo: h.lo, hi: h.hi}
	width := h.hi - h.lo
	at := []float64{h.lo}
	for _, t := range of {
		at = append(at, t.x[j])
	}
	at = append(at, h.hi)
	slices.Sort(at)
	least := width / math.Min(100, float64(len(of)+1))
	for i := 1; i < len(at)-1; i++ {
		p.mean = append(p.mean, at[i])
		p.spread = append(p.spread, min(width, max(least, at[i]-at[i-1], at[i+1]-at[i])))
	}
	p.mean, p.spread = append(p.mean, (h.lo+h.hi)/2), append(p.spread, width)
	return p
}

// ends are the standard normal probabilities below both ends of the interval, seen from a Gaussian.
func (p *parzen) ends(i int) (lo, hi float64) {
	return distuv.UnitNormal.CDF((p.lo - p.mean[i]) / p.spread[i]),
		distuv.UnitNormal.CDF((p.hi - p.mean[i]) / p.spread[i])
}

func (p *parzen) density(x float64) (sum float64) {
	for i := range p.mean {
		lo, hi := p.ends(i)
		z := (x - p.mean[i]) / p.spread[i]
		sum += math.Exp(-z*z/2) / (math.Sqrt(2*math.Pi) * p.spread[i] * (hi - lo))
	}
	return sum / float64(len(p.mean))
}

// draw turns two uniform numbers into one of the density: which Gaussian, and where in it.
func (p *parzen) draw(which, where float64) float64 {
	i := min(int(which*float64(len(p.mean))), len(p.mean)-1)
	lo, hi := p.ends(i)
	z := distuv.UnitNormal.Quantile(lo + where*(hi-lo))
	return min(p.hi, max(p.lo, p.mean[i]+z*p.spread[i]))
}
