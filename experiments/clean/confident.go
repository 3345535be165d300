package clean

import (
	"context"
	"fmt"

	"bilevel/data"
	"bilevel/internal/philox"
	"bilevel/tensor"
)

// outOfFold is what models say of training rows that they were not trained on, and confident learning on top of it
// (Northcutt, Jiang, Chuang, JAIR 70, 2021, sections 3.1 and 3.2): the limit t_j of class j is the mean probability of
// j over the rows labelled j; a row labelled i counts in the confident joint as (i, j) where j is its most probable
// label among those that reach their limits; the rows counted off the diagonal are found.
type outOfFold struct {
	judgement
	found  []bool
	limits []float64
	right  *standing // of the trusted rows; nil where there are none
	wrong  float64   // the number of wrong labels by the joint, calibrated to the rows of each given label
}

// confident trains one model for each of k parts of the training rows, on the rows outside of it, and judges the part;
// trusted are the labels of the first trusted rows, which all models judge.
func (n *net) confident(
	ctx context.Context, labels, trusted []int32, parts, steps int, seed uint64, done func(int),
) (*outOfFold, error) {
	count := len(labels)
	part := make([]int, count)
	for place, i := range philox.New(seed, 1, philox.StreamSplit).Perm(count) {
		part[i] = place % parts
	}
	within, without := make([][]int32, parts), make([][]int32, parts)
	for i, p := range part {
		for k := range parts {
			if k == p {
				within[k] = append(within[k], int32(i))
			} else {
				without[k] = append(without[k], int32(i))
			}
		}
	}
	on := n.scope.Variable("rows of a part", tensor.Int, (count+parts-1)/parts)
	o := &outOfFold{judgement: judgement{
		loss: make([]float64, count), label: make([]int32, count), confident: make([]int32, count),
		doubt: make([]float64, count), top: make([]float64, count),
	}}
	ys := make([][]float64, parts)
	sums, each := make([]float64, n.classes), make([]float64, n.classes)
	for k, rows := range within {
		var err error
		if ys[k], err = n.fit(ctx, fmt.Sprintf("training out of part %d", k), n.rows.train, without[k], steps,
			seed+uint64(k)); err != nil {
			return nil, err
		}
		j, err := n.judgePart(ctx, on, rows, ys[k], nil)
		if err != nil {
			return nil, err
		}
		for at, i := range rows {
			o.loss[i], o.label[i], o.top[i] = j.loss[at], j.label[at], j.top[at]
			sums[labels[i]] += j.given(at)
			each[labels[i]]++
		}
		done(k + 1)
	}
	o.limits = make([]float64, n.classes)
	for c := range o.limits {
		// A class without rows is never confident, nor is one of next to no rows: the models that judge them have
		// hardly seen one, so that its mean probability is a limit that every row reaches.
		if o.limits[c] = 2; each[c] > 0 && !data.Stray(int(each[c]), count, n.classes) {
			o.limits[c] = sums[c] / each[c]
		}
	}
	o.confusion = confusionOfSure(o.label, o.top, labels, n.classes)
	for k, rows := range within {
		j, err := n.judgePart(ctx, on, rows, ys[k], &second{o.limits, o.confusion})
		if err != nil {
			return nil, err
		}
		for at, i := range rows {
			o.confident[i], o.doubt[i] = j.confident[at], j.doubt[at]
		}
	}
	o.count(labels, each)
	return o, o.stand(ctx, n, ys, trusted)
}

// stand has all models judge the trusted rows, none of which has seen them.
func (o *outOfFold) stand(ctx context.Context, n *net, ys [][]float64, trusted []int32) error {
	if len(trusted) == 0 {
		return nil
	}
	o.right = &standing{rows: len(trusted)}
	for _, y := range ys {
		j, err := n.judge(ctx, n.rows.trusted, y, &second{o.limits, o.confusion})
		if err != nil {
			return err
		}
		o.right.add(trusted, j.confident[:len(trusted)])
	}
	return nil
}

// count marks the rows off the diagonal of the confident joint, and estimates how many labels are wrong: of the rows
// labelled g, the share off the diagonal of row g of the joint.
func (o *outOfFold) count(labels []int32, each []float64) {
	o.found = make([]bool, len(labels))
	counted, off := make([]float64, len(each)), make([]float64, len(each))
	for i, g := range labels {
		if s := o.confident[i]; s >= 0 {
			counted[g]++
			if o.found[i] = s != g; o.found[i] {
				off[g]++
				o.label[i] = s // what is suggested for the row
			}
		}
	}
	for g, n := range counted {
		if n > 0 {
			o.wrong += each[g] * off[g] / n
		}
	}
}

// keeps lists the rows that are not found.
func (o *outOfFold) keeps() (rows []int32) {
	for i, found := range o.found {
		if !found {
			rows = append(rows, int32(i))
		}
	}
	return rows
}
