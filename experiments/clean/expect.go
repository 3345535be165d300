package clean

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"bilevel/data"
	"bilevel/experiments/train"
	"bilevel/internal/hostmemory"

	"gonum.org/v1/gonum/stat/distuv"
)

// standing is what is suggested for rows whose labels are known to be right, by a method that treats them as it treats
// training rows: where it trains on these, it trained on those rows too.
type standing struct {
	truth, suggested []int32 // of a row several times where several models judge it; -1: no label is suggested
	rows             int
}

func (s *standing) add(truth, suggested []int32) {
	s.truth, s.suggested = append(s.truth, truth...), append(s.suggested, suggested...)
}

// flagged is the share that is flagged, although their labels are right.
func (s *standing) flagged() float64 {
	n := 0
	for i, t := range s.suggested {
		if t >= 0 && t != s.truth[i] {
			n++
		}
	}
	return float64(n) / float64(len(s.truth))
}

// flaggedOnceFlipped is the share that would be flagged if their labels were flipped: class t turns into g as often as
// counts[t][g] says, and a class of which it says nothing into any other.
func (s *standing) flaggedOnceFlipped(counts []map[int32]float64) float64 {
	hit := 0.0
	for i, t := range s.truth {
		suggested, sum, same := s.suggested[i], 0.0, 0.0
		for given, c := range counts[t] {
			if sum += c; given == suggested {
				same = c
			}
		}
		switch {
		case suggested < 0:
		case sum > 0:
			hit += 1 - same/sum
		case suggested == t:
			hit++
		default:
			hit += 1 - 1/float64(len(counts)-1)
		}
	}
	return hit / float64(len(s.truth))
}

// unseen is the standing of held-out trusted rows with a method that does not train on the rows that it judges.
func (g *guided) unseen(h *held) *standing {
	s := &standing{rows: len(h.rows), suggested: h.label}
	for _, i := range h.rows {
		s.truth = append(s.truth, g.data.Trusted.Labels[i])
	}
	return s
}

// planted is the standing of the trusted rows with the rounds of a form: each fold's are put among the training rows
// with their own labels, and the rounds are made on all of them, with the other trusted rows in the upper level. It is
// nil where the machine has no memory for the rows a second time.
func (g *guided) planted(ctx context.Context, spec int, form string) (*standing, error) {
	rows := int64(g.data.Train.N() + g.data.Trusted.N())
	free, _ := hostmemory.Available()
	if fits(rows*int64(g.data.Train.Dim), free) != nil {
		return nil, nil
	}
	g.begin("trusted rows among the training rows", len(g.folds))
	s := &standing{}
	for k := range g.folds {
		if err := g.plant(ctx, spec, form, k, s); err != nil {
			return nil, err
		}
		g.unit()
	}
	return s, nil
}

// plant adds the trusted rows of one fold to a standing.
func (g *guided) plant(ctx context.Context, spec int, form string, k int, s *standing) error {
	hold, err := g.data.Trusted.Rows(g.folds[k].hold)
	if err != nil {
		return err
	}
	y0, err := g.startOn(ctx, spec, k)
	if err != nil {
		return err
	}
	own := g.data.Train
	all := &data.Set{Dim: own.Dim, Features: slices.Concat(own.Features, hold.Features),
		Labels: slices.Concat(own.Labels, hold.Labels)}
	sc := g.env.Executor.Scope()
	rows := tables{trusted: g.rows.trusted}
	if rows.train, err = upload(sc, "training and trusted", all); err != nil {
		return errors.Join(err, sc.Close())
	}
	n, err := newNet(g.env.Executor, g.settings(), g.nets[spec].spec, train.InputsOf(g.env.Data), &rows,
		g.data.Classes, g.seed, g.keep)
	if err != nil {
		return errors.Join(err, sc.Close())
	}
	out, err := n.run(ctx, weighing{
		name: fmt.Sprintf("part %d among the training rows", k), form: form, labels: all.Labels,
		train: indices(all.N()), trusted: g.folds[k].use, start: y0, seed: g.seed,
	})
	var j *judgement
	if err == nil {
		j, err = n.judge(ctx, rows.train, out.y, nil)
	}
	if err != nil && ctx.Err() != nil {
		return err // the device may be busy: nothing is freed
	}
	if err == nil {
		s.add(hold.Labels, j.label[own.N():])
		s.rows += hold.N()
	}
	return errors.Join(err, n.close(), sc.Close())
}

// expect estimates how many of the flagged rows are wrong. With e the share flagged of rows whose labels are right and
// h that of rows whose labels are flipped the way the flagged rows say that labels are, both judged as the training
// rows are, and f the share flagged of the training rows, a share ν = (f - e)/(h - e) of labels is wrong, and
// 1 - e (1 - ν)/f of the flagged rows. h is taken of rows that were not trained on: where the method trains on the
// flipped rows too, it flags fewer of them, which changes the estimate by e/f of what it changes ν.
func (g *guided) expect(end *ending, ranked []verdict) {
	counts := make([]map[int32]float64, g.data.Classes)
	flagged, judged := 0.0, 0.0
	for _, w := range ranked {
		if !w.judged {
			continue
		}
		judged++
		if !w.flagged {
			continue
		}
		flagged++
		if counts[w.suggested] == nil {
			counts[w.suggested] = map[int32]float64{}
		}
		counts[w.suggested][w.given]++
	}
	switch {
	case flagged == 0 || end.held == nil || len(end.held.rows) == 0:
		return
	case end.right == nil:
		g.r.Texts["expected"] = "how many of the flagged rows are wrong is not estimated: there is no memory for the " +
			"rows a second time"
		return
	}
	f, e, h, n := flagged/judged, end.right.flagged(), end.flipped.flaggedOnceFlipped(counts), float64(end.right.rows)
	precision := func(e float64) float64 {
		if h <= e {
			return 0
		}
		wrong := min(1, max(0, (f-e)/(h-e)))
		return max(0, 1-e*(1-wrong)/f)
	}
	low, high := clopperPearson(e, n)
	v := g.r.Scalars
	v["expected_precision"], v["expected_recall"] = precision(e), h
	g.r.Texts["expected"] = fmt.Sprintf("of the flagged rows about %.0f %% are expected to be wrong (%.0f to %.0f "+
		"%%), and about %.0f %% of the wrong labels to be flagged: "+
		"estimated on %d trusted rows that were judged as the training rows are",
		100*precision(e), 100*precision(high), 100*precision(low), 100*h, int(n))
}

// clopperPearson is the interval that holds the probability of what was seen in a share of n independent cases, with
// probability 0.95 at least (Clopper, Pearson, Biometrika 26, 1934).
func clopperPearson(share, n float64) (low, high float64) {
	const tail = 0.025
	low, high = 0, 1
	if share > 0 {
		low = distuv.Beta{Alpha: share * n, Beta: n - share*n + 1}.Quantile(tail)
	}
	if share < 1 {
		high = distuv.Beta{Alpha: share*n + 1, Beta: n - share*n}.Quantile(1 - tail)
	}
	return low, high
}
