package clean

import (
	"cmp"
	"context"
	"maps"
	"math"
	"slices"
)

// pseudoRows are the weights κ, in rows, that confusionOf may give to its symmetric prior.
var pseudoRows = [...]float64{1, 10, 100, 1e3, 1e4, 1e5}

// confusionOfSure is confusionOf over the rows of whose class the model is sure: the suggested label is at least as
// probable as it is on the average of the rows that it is suggested for. On the others the model's own confusion of
// classes that look alike would be taken for one of the labels.
func confusionOfSure(suggested []int32, top []float64, given []int32, classes int) []float64 {
	sums, each := make([]float64, classes), make([]float64, classes)
	for i, t := range suggested {
		sums[t] += top[i]
		each[t]++
	}
	var sure, theirs []int32
	for i, t := range suggested {
		if top[i]*each[t] >= sums[t] {
			sure, theirs = append(sure, t), append(theirs, given[i])
		}
	}
	return confusionOf(sure, theirs, classes)
}

// confusionOf estimates how much more often than the average of wrong labels the label g is given to rows of class t,
// as log L[t, g] in an array [g, t], from the labels that a model suggests and those that the rows are given; L[g, g]
// is 1. With N[t, g] the number of rows of each pair, n[t] their sum over g, e the share of rows whose two labels
// differ,
//
//	C[t, g] = (N[t, g] + κ S[t, g]) / (n[t] + κ),   S[t, t] = 1 - e,  S[t, g] = e/(K - 1) elsewhere
//
// estimates the share of rows of class t that are given g: the mean of a Dirichlet posterior whose prior says that all
// classes are confused alike. κ is the one among pseudoRows under which the counts are the most probable (the evidence
// of the Dirichlet-multinomial model; Minka, Estimating a Dirichlet distribution, 2000): labels that are wrong at
// random get nearly S, labels that move to one other class nearly their own shares. L is C over its mean off the
// diagonal.
func confusionOf(suggested, given []int32, classes int) []float64 {
	counts, sums, differ := map[[2]int32]float64{}, make([]float64, classes), 0.0
	for i, g := range given {
		t := suggested[i]
		counts[[2]int32{t, g}]++
		sums[t]++
		if t != g {
			differ++
		}
	}
	n := float64(len(given))
	e := min(max(differ, 0.5), n-0.5) / n // neither impossible nor certain
	prior := func(p [2]int32) float64 {
		if p[0] == p[1] {
			return 1 - e
		}
		return e / float64(max(1, classes-1))
	}
	logGamma := func(x float64) float64 { l, _ := math.Lgamma(x); return l }
	// In order, so that sums have the same bits in every run.
	pairs := slices.SortedFunc(maps.Keys(counts), func(a, b [2]int32) int {
		return cmp.Or(cmp.Compare(a[0], b[0]), cmp.Compare(a[1], b[1]))
	})
	best, kappa := math.Inf(-1), 0.0
	for _, k := range pseudoRows {
		evidence := 0.0
		for _, s := range sums {
			evidence += logGamma(k) - logGamma(k+s)
		}
		for _, p := range pairs {
			evidence += logGamma(counts[p]+k*prior(p)) - logGamma(k*prior(p))
		}
		if evidence > best {
			best, kappa = evidence, k
		}
	}
	out, off := make([]float64, classes*classes), 0.0
	for g := range int32(classes) {
		for t := range int32(classes) {
			if t != g {
				out[int(g)*classes+int(t)] = kappa * prior([2]int32{t, g})
			}
		}
	}
	for _, p := range pairs {
		if t, g := int(p[0]), int(p[1]); t != g {
			out[g*classes+t] += counts[p]
		}
	}
	for g := range classes {
		for t := range classes {
			if t != g {
				c := out[g*classes+t] / (sums[t] + kappa)
				out[g*classes+t] = math.Log(c)
				off += c * sums[t]
			}
		}
	}
	average := math.Log(off / (n * float64(max(1, classes-1))))
	for g := range classes {
		for t := range classes {
			if t != g {
				out[g*classes+t] -= average
			}
		}
	}
	return out
}

// look judges the training rows with a model, and how probable it is that their given labels are right (see
// judgement.doubt) where the model's suggestions and the given labels are confused as they are.
func (n *net) look(ctx context.Context, y []float64, labels []int32) (*judgement, error) {
	j, err := n.judge(ctx, n.rows.train, y, nil)
	if err != nil {
		return nil, err
	}
	j.confusion = confusionOfSure(j.label, j.top, labels, n.classes)
	again, err := n.judge(ctx, n.rows.train, y, &second{confusion: j.confusion})
	if err != nil {
		return nil, err
	}
	j.doubt = again.doubt
	return j, nil
}
