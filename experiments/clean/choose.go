package clean

import (
	"context"
	"fmt"
	"math"
	"slices"

	"bilevel/internal/philox"
)

const (
	oneSplit  = 1000 // from so many trusted rows on, one half judges what the other half made; fewer go in folds
	fewFolds  = 3
	leastRows = 1000 // trusted rows from which on one weight per row is tried: fewer are overfitted by it
)

// fold is a division of the trusted rows: those that are used and those that judge.
type fold struct{ use, hold []int32 }

// folds divides the trusted rows, class by class, so that every class is in every part that its rows suffice for.
// Provisional rows, the last ones, are always used and never judge.
func folds(labels []int32, classes, provisional int, seed uint64) []fold {
	n := len(labels) - provisional
	parts := fewFolds
	if n >= oneSplit {
		parts = 2
	}
	if n < parts {
		parts = max(1, n)
	}
	part := make([]int, n)
	byClass := make([][]int, classes)
	for _, i := range philox.New(seed, 0, philox.StreamSplit).Perm(n) {
		byClass[labels[i]] = append(byClass[labels[i]], int(i))
	}
	next := 0
	for _, rows := range byClass {
		for _, i := range rows {
			part[i] = next % parts
			next++
		}
	}
	out := make([]fold, parts)
	for k := range out {
		for i := range labels {
			if i < n && part[i] == k {
				out[k].hold = append(out[k].hold, int32(i))
			} else {
				out[k].use = append(out[k].use, int32(i))
			}
		}
	}
	if n >= oneSplit {
		out = out[:1]
	}
	return out
}

// held is what a way to train says of trusted rows that it was not trained on.
type held struct {
	name  string
	rows  []int32 // of the trusted table
	loss  []float64
	label []int32
	wrong []float64 // 1 where the label is another than the trusted one
}

func (h *held) take(j *judgement, labels, rows []int32) {
	for _, i := range rows {
		h.rows, h.loss, h.label = append(h.rows, i), append(h.loss, j.loss[i]), append(h.label, j.label[i])
		wrong := 0.0
		if j.label[i] != labels[i] {
			wrong = 1
		}
		h.wrong = append(h.wrong, wrong)
	}
}

// sorted puts the rows in order, so that two of them can be compared row by row.
func (h *held) sorted() *held {
	order := make([]int, len(h.rows))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return int(h.rows[a]) - int(h.rows[b]) })
	out := &held{name: h.name}
	for _, i := range order {
		out.rows, out.loss = append(out.rows, h.rows[i]), append(out.loss, h.loss[i])
		out.label, out.wrong = append(out.label, h.label[i]), append(out.wrong, h.wrong[i])
	}
	return out
}

// gain is the mean of a - b over rows and its standard error.
func gain(a, b []float64) (mean, se float64) {
	n := float64(len(a))
	for i := range a {
		mean += a[i] - b[i] // whole numbers stay exact
	}
	mean /= n
	for i := range a {
		d := a[i] - b[i] - mean
		se += d * d
	}
	return mean, math.Sqrt(se / max(1, n-1) / n)
}

// better tells whether h does better than other: by log loss beyond its standard error, and then not with more
// mistakes, or by mistakes beyond two of theirs (one row decides where there are few), and then not with more log loss.
func (h *held) better(other *held) bool {
	loss, lossError := gain(other.loss, h.loss)
	wrong, wrongError := gain(other.wrong, h.wrong)
	return loss > lossError && wrong >= 0 || wrong > 2*wrongError && loss >= -lossError
}

func mean(v []float64) float64 {
	sum := 0.0
	for _, x := range v {
		sum += x
	}
	return sum / float64(len(v))
}

// choice is what the selection found.
type choice struct {
	spec         int // of guided.nets
	form         string
	run          *held // the chosen form
	selfTraining *held
	onTrusted    *held // the chosen model trained on the trusted rows alone
	tried        []*held
	why          string
}

// heldOut trains a form on each fold and judges the rows that it left out. start is the model trained on the trusted
// rows of the fold alone.
func (g *guided) heldOut(ctx context.Context, spec int, form string) (*held, error) {
	n := g.nets[spec]
	h := &held{name: n.spec.name + ", " + form}
	for k, f := range g.folds {
		y0, err := g.startOn(ctx, spec, k)
		if err != nil {
			return nil, err
		}
		out, err := n.run(ctx, weighing{
			name: fmt.Sprintf("held-out part %d", k), form: form, labels: g.data.Train.Labels,
			train: g.all, trusted: f.use, start: y0, seed: g.seed,
			each: func(round int, y []float64) error {
				return g.note(ctx, n, h.name, k, round, y, f.hold)
			},
		})
		if err != nil {
			return nil, err
		}
		j, err := n.judge(ctx, g.rows.trusted, out.y, nil)
		if err != nil {
			return nil, err
		}
		h.take(j, g.data.Trusted.Labels, f.hold)
		g.unit()
	}
	return h.sorted(), nil
}

// startOn is the model trained on the trusted rows of a fold, made once.
func (g *guided) startOn(ctx context.Context, spec, k int) ([]float64, error) {
	key := [2]int{spec, k}
	if y := g.starts[key]; y != nil {
		return y, nil
	}
	name := fmt.Sprintf("training on trusted rows outside of part %d", k)
	y, err := g.nets[spec].fit(ctx, name, g.rows.trusted, g.folds[k].use, startSteps, g.seed)
	g.starts[key] = y
	return y, err
}

// trustedOnly judges the rows that each fold leaves out with the model of the others alone.
func (g *guided) trustedOnly(ctx context.Context, spec int) (*held, error) {
	h := &held{name: "trusted rows only"}
	for k, f := range g.folds {
		y, err := g.startOn(ctx, spec, k)
		if err != nil {
			return nil, err
		}
		j, err := g.nets[spec].judge(ctx, g.rows.trusted, y, nil)
		if err != nil {
			return nil, err
		}
		h.take(j, g.data.Trusted.Labels, f.hold)
	}
	return h.sorted(), nil
}

// choose picks model and form by the mean log loss on trusted rows that a run used neither for its start nor for its
// upper level. First the model, with weights that no upper level changes; then the form: "none" unless another gains
// more than the standard error of the difference.
func (g *guided) choose(ctx context.Context) (*choice, error) {
	c := &choice{}
	for spec := range g.nets {
		h, err := g.heldOut(ctx, spec, formNone)
		if err != nil {
			return nil, err
		}
		c.tried = append(c.tried, h)
		if c.selfTraining == nil || mean(h.loss) < mean(c.selfTraining.loss) {
			c.selfTraining, c.spec = h, spec
		}
	}
	c.form, c.run = formNone, c.selfTraining
	for _, form := range g.forms() {
		h, err := g.heldOut(ctx, c.spec, form)
		if err != nil {
			return nil, err
		}
		c.tried = append(c.tried, h)
		gained, se := gain(c.selfTraining.loss, h.loss)
		if g.Weights != Auto || gained > se && mean(h.loss) < mean(c.run.loss) {
			c.form, c.run = form, h
		}
	}
	var err error
	if c.onTrusted, err = g.trustedOnly(ctx, c.spec); err != nil {
		return nil, err
	}
	c.why = g.reason(c)
	return c, nil
}

// forms are those that are tried beside "none".
func (g *guided) forms() []string {
	switch {
	case g.Weights == formNone:
		return nil
	case g.Weights != Auto:
		return []string{g.Weights}
	case g.data.Trusted.N()-g.data.Provisional < leastRows:
		return []string{formTable}
	}
	return []string{formTable, formRows}
}

// reason says in words what was chosen and what the upper level brought.
func (g *guided) reason(c *choice) string {
	text := fmt.Sprintf("%s with weights %q", g.nets[c.spec].spec.name, c.form)
	if g.Weights == Auto || len(g.nets) > 1 {
		text += fmt.Sprintf(", chosen on %d trusted rows that were held out", len(c.run.rows))
	}
	if c.form == formNone {
		return text + "; no upper level is used"
	}
	loss, se := gain(c.selfTraining.loss, c.run.loss)
	wrong, wrongSE := gain(c.selfTraining.wrong, c.run.wrong)
	return text + fmt.Sprintf("; beside self-training the upper level brought %+.1f ± %.1f points of accuracy "+
		"there (log loss %+.3f ± %.3f)",
		100*wrong, 100*wrongSE, -loss, se)
}
