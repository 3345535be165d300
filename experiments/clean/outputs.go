package clean

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"

	"bilevel/experiments"
	"bilevel/models/params"
)

// finish scores the end on test rows, ranks the rows and fills in the record.
func (g *guided) finish(ctx context.Context, end *ending, controls []*control) error {
	v := g.r.Scalars
	score := func(name string, y []float64) error {
		e, err := g.testError(ctx, end.net, y)
		if err == nil && !math.IsNaN(e) {
			v[name] = e
		}
		return err
	}
	if err := score("test_error", end.y); err != nil {
		return err
	}
	for _, c := range controls {
		if err := score("controls."+c.name+".test_error", c.y); err != nil {
			return err
		}
		if c.held != nil {
			v["controls."+c.name+".held_out_error"] = mean(c.held.wrong)
			v["controls."+c.name+".held_out_log_loss"] = mean(c.held.loss)
		}
	}
	if end.held != nil {
		v["held_out_error"], v["held_out_log_loss"] = mean(end.held.wrong), mean(end.held.loss)
		if v["held_out_error"] == 0 {
			g.r.Warn("no held-out trusted row is judged wrong: %d rows are too few to tell good runs from better ones",
				len(end.held.rows))
		}
	}
	ranked := g.rank(end)
	if err := g.listTrusted(ctx, end, &ranked); err != nil {
		return err
	}
	g.tables(ranked)
	g.truth(ranked)
	g.expect(end, ranked)
	g.r.Texts["method"] = end.method
	flagged := 0
	for _, row := range ranked {
		if row.flagged {
			flagged++
		}
	}
	g.r.Counts["rows"], g.r.Counts["flagged"] = int64(len(ranked)), int64(flagged)
	g.r.Counts["trusted"] = int64(len(g.trust))
	g.r.Counts["classes"] = int64(g.data.Classes)
	g.r.Texts["what_to_do"] = whatToDo(flagged, g.env.Data.Train.Files != nil)
	if g.r.Texts["rule"] = "flagged: the suggested label is another than the given one"; end.found != nil {
		g.r.Texts["rule"] = "flagged: found by confident learning"
	}
	g.keepSettings(end)
	g.pictures(ranked)
	scaling := params.Values{}.And("standardize.mean", g.data.Scaler.Mean...).And("standardize.deviation",
		g.data.Scaler.Deviation...)
	network := scaling
	for _, a := range end.net.start.Layout {
		network = network.AndShaped(a.Name, a.Shape, end.net.start.Like(end.y).Of(a.Name))
	}
	g.r.Networks = []experiments.Network{{Name: "model", Values: network}}
	return nil
}

// whatToDo says which rows of suspects.csv to look at.
func whatToDo(flagged int, files bool) string {
	place := "row is the 0-based place in the training file"
	if files {
		place = "file is the image in the folder of the data"
	}
	switch flagged {
	case 0:
		return "no row is flagged: look at the first ten or so of suspects.csv all the same, where the least " +
			"probable labels are; " + place
	case 1:
		return "look at the flagged row of suspects.csv, and at some below it: " + place
	}
	return fmt.Sprintf("look at the %d flagged rows of suspects.csv, from the top: %s", flagged, place)
}

const (
	sheetRows  = 60  // images of the contact sheet
	mostHeated = 100 // classes up to which the confusion of given and suggested labels is drawn
)

// pictures are the contact sheet of the most suspect images, and the confusion of given and suggested labels.
func (g *guided) pictures(ranked []verdict) {
	if k := g.data.Classes; k <= mostHeated {
		h := experiments.Heat{Name: "confusion", X: "suggested label",
			Y: "given label (the lighter, the more of its rows)", Values: make([][]float64, k)}
		sums := make([]float64, k)
		for c := range h.Values {
			h.Values[c], h.Names = make([]float64, k), append(h.Names, g.class(int32(c)))
		}
		for _, w := range ranked {
			h.Values[w.given][w.suggested]++
			sums[w.given]++
		}
		for c, row := range h.Values {
			for s, v := range row {
				row[s] = math.Log10(1e-3 + v/max(1, sums[c]))
			}
		}
		g.r.Heats = []experiments.Heat{h}
	}
	set := g.env.Data
	if len(set.Shape) != 2 || set.Shape[0] < 2 || set.Shape[1] < 2 {
		return
	}
	sheet := experiments.Grid{Name: "suspects", Height: set.Shape[0], Width: set.Shape[1]}
	for _, w := range ranked[:min(sheetRows, len(ranked))] {
		row := set.Train.Row(int(w.row))
		least, most := slices.Min(row), slices.Max(row)
		for _, v := range row {
			sheet.Pixels = append(sheet.Pixels, (v-least)/max(most-least, 1e-30))
		}
		sheet.Captions = append(sheet.Captions, fmt.Sprintf("%d: %s > %s", w.row, g.class(w.given),
			g.class(w.suggested)))
	}
	g.r.Images = []experiments.Grid{sheet}
}

// verdict is one row of suspects.csv.
type verdict struct {
	row              int32
	given, suggested int32
	loss             float64 // -log p_given
	doubt            float64 // -log p_right, which ranks
	weight           float64
	flagged          bool
	changed          bool // where the truth is known
	judged           bool // and not trusted
}

// rank orders the judged rows by the probability that the given label is right, the least first.
func (g *guided) rank(end *ending) []verdict {
	labels := g.data.Train.Labels
	score := make([]float64, len(labels))
	for i, d := range end.judged.doubt {
		score[i] = -d
	}
	out := make([]verdict, 0, len(labels))
	for _, i := range experiments.Ascending(score) {
		w := verdict{
			row: g.data.Rows[i], given: labels[i], suggested: end.judged.label[i], weight: math.NaN(), judged: true,
			loss: end.judged.loss[i], doubt: end.judged.doubt[i], flagged: end.judged.label[i] != labels[i],
		}
		if end.found != nil {
			w.flagged = end.found[i]
		}
		if end.weights != nil {
			w.weight = end.weights[i]
		}
		if g.data.Changed != nil {
			w.changed = g.data.Changed[i]
		}
		out = append(out, w)
	}
	return out
}

// listTrusted judges the trusted rows: those that lie in the training file are listed with the others there.
func (g *guided) listTrusted(ctx context.Context, end *ending, ranked *[]verdict) error {
	if g.rows.trusted == nil {
		return nil
	}
	j, err := end.net.judge(ctx, g.rows.trusted, end.y, &second{confusion: end.judged.confusion})
	if err != nil {
		return err
	}
	labels := g.data.Trusted.Labels
	own := len(labels) - len(g.data.TrustedRows) // rows of a file of their own come first
	var apart []verdict
	for i, t := range labels {
		w := verdict{given: t, suggested: j.label[i], loss: j.loss[i], doubt: j.doubt[i], weight: math.NaN()}
		if i < own {
			w.row, w.flagged = int32(i), w.suggested != t
			apart = append(apart, w)
			continue
		}
		w.row = g.data.TrustedRows[i-own]
		w.flagged = i >= len(labels)-g.data.Provisional && w.suggested != t // its label is not really trusted
		*ranked = append(*ranked, w)
	}
	slices.SortStableFunc(*ranked, func(a, b verdict) int { return cmp.Compare(b.doubt, a.doubt) })
	slices.SortStableFunc(apart, func(a, b verdict) int { return cmp.Compare(b.doubt, a.doubt) })
	if own > 0 {
		g.r.Tables = append(g.r.Tables, g.listing("trusted", apart, g.env.Data.Val.Files))
	}
	return nil
}

// class is what the data set calls a class.
func (g *guided) class(c int32) string { return g.env.Data.ClassName(c) }

// listing is verdicts as a table, with the files of the rows where they have some.
func (g *guided) listing(name string, rows []verdict, files []string) experiments.Table {
	t := experiments.Table{Name: name, Columns: []string{"row", "given_label", "suggested_label", "p_given", "p_right",
		"weight", "flagged"}}
	for _, w := range rows {
		weight, flagged := "", "0"
		if !math.IsNaN(w.weight) {
			weight = experiments.Number(w.weight)
		}
		if w.flagged {
			flagged = "1"
		}
		t.Rows = append(t.Rows, []string{
			strconv.Itoa(int(w.row)), g.class(w.given), g.class(w.suggested), experiments.Number(math.Exp(-w.loss)),
			experiments.Number(math.Exp(-w.doubt)), weight, flagged,
		})
	}
	t.AddFiles(files, func(i int) int32 { return rows[i].row })
	return t
}

// tables are the list of suspects and the cleaned labels.
func (g *guided) tables(ranked []verdict) {
	cleaned := experiments.Table{Name: "labels", Columns: []string{"row", "label"}}
	ordered := slices.SortedFunc(slices.Values(ranked), func(a, b verdict) int { return cmp.Compare(a.row, b.row) })
	for _, w := range ordered {
		label := w.given
		if w.flagged {
			label = w.suggested
		}
		cleaned.Rows = append(cleaned.Rows, []string{strconv.Itoa(int(w.row)), g.class(label)})
	}
	files := g.env.Data.Train.Files
	cleaned.AddFiles(files, func(i int) int32 { return ordered[i].row })
	g.r.Tables = append([]experiments.Table{g.listing("suspects", ranked, files), cleaned}, g.r.Tables...)
	var kinds [2]experiments.Sample
	kinds[0].Name, kinds[1].Name = "not flagged", "flagged"
	if g.data.Changed != nil {
		kinds[0].Name, kinds[1].Name = "label kept", "label changed"
	}
	for _, w := range ranked {
		k := 0
		if w.changed || g.data.Changed == nil && w.flagged {
			k = 1
		}
		kinds[k].Values = append(kinds[k].Values, math.Exp(-w.loss))
	}
	g.r.Samples = kinds[:]
}

// truth scores the ranking where labels were corrupted on purpose; elsewhere nothing is known and nothing is said.
func (g *guided) truth(ranked []verdict) {
	if g.data.Changed == nil {
		return
	}
	var score []float64
	var changed []bool
	wrong, flagged, both := 0, 0, 0
	for _, w := range ranked {
		if !w.judged {
			continue
		}
		score, changed = append(score, w.doubt), append(changed, w.changed)
		if w.changed {
			wrong++
		}
		if w.flagged {
			if flagged++; w.changed {
				both++
			}
		}
	}
	if wrong == 0 {
		return
	}
	first := 0
	for _, c := range changed[:wrong] {
		if c {
			first++
		}
	}
	v := g.r.Scalars
	v["auc"] = experiments.AUC(score, changed)
	v["p_at_k"], v["recall"] = float64(first)/float64(wrong), float64(both)/float64(wrong)
	if flagged > 0 {
		v["precision"] = float64(both) / float64(flagged)
	}
	g.r.Counts["wrong_labels"] = int64(wrong)
}

// keepVersions writes down what the run was made with.
func keepVersions(r *experiments.Record) {
	r.Texts["versions.go"], r.Texts["versions.bilevel"] = runtime.Version(), "unknown"
	if build, ok := debug.ReadBuildInfo(); ok {
		r.Texts["versions.bilevel"] = build.Main.Version // with the commit, where it was built from one
	}
}

// keepSettings writes down all that was used, also what was chosen here.
func (g *guided) keepSettings(end *ending) {
	n, v := end.net, g.r.Scalars
	_, outer := n.upperSize(g.r.Texts["form"])
	for name, x := range map[string]float64{
		"reg": n.Reg, "step": n.stepFor(), "outer_step": outer, "rounds": rounds,
		"iterations_of_a_round": float64(n.iterationsFor(g.data.Train.N())),
		"batch":                 float64(n.Batch), "start_steps": startSteps, "corrupt": g.Corrupt,
		"start_step": n.spec.startStep(g.rows.train.dim),
		"train":      float64(len(g.all)), "val": float64(len(g.trust)), "held_out_folds": float64(len(g.folds)),
	} {
		v["settings."+name] = x
	}
	g.r.Flags["settings.certificate"] = g.Certificate
	keepVersions(g.r)
	g.r.Texts["settings.weights"], g.r.Texts["settings.model"] = g.Weights, n.spec.name
	g.r.Texts["settings.data"], g.r.Texts["settings.trusted"] = g.env.Data.Name, g.trustedFrom
	g.r.Texts["settings.algo"], g.r.Texts["settings.schedule"] = "soba", "linear"
	g.r.NameClasses(g.env.Data)
}
