package prune

import (
	"context"
	"errors"
	"math"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/solvers/prune"
)

// report scores the network that is left: the only place that reads the test rows.
func (t *task) report(ctx context.Context) error {
	r := t.record
	r.Curve = t.log.Curve()
	if t.From != "" {
		r.WarnOfSeenRows(t.env.Data)
	}
	if err := t.look(); err != nil {
		return err
	}
	val, err1 := t.val.Run(ctx)
	test, err2 := t.test.Run(ctx)
	if err := errors.Join(err1, err2); err != nil {
		return err
	}
	r.Scalars["val_accuracy"], r.Scalars["val_loss"] = 1-val.Mean("mistakes"), val.Mean("loss")
	r.Scalars["test_accuracy"], r.Scalars["test_loss"] = 1-test.Mean("mistakes"), test.Mean("loss")
	for i, name := range []string{"pretrain", "mask", "finetune"} {
		r.Scalars[name+"_seconds"] = t.spent[i].wall
		r.Scalars["seconds"] += t.spent[i].wall
		r.Scalars["processor.seconds"] += t.spent[i].processor
	}
	r.Counts["iterations"] = int64(t.iterations)
	r.Count(t.counts.Plus(t.solveCounts(), 1))
	if c := t.solves; c.Solves > 0 {
		r.Counts["cg_solves"], r.Counts["cg_products"] = int64(c.Solves), int64(c.Products)
		r.Counts["cg_negative_curvature"], r.Counts["cg_not_converged"] = int64(c.NegativeCurvature),
			int64(c.NotConverged)
		if c.NegativeCurvature > 0 {
			r.Warn("%d of %d solves of the implicit term met negative curvature: the lower level is not convex there, "+
				"and their last iterate was taken; a smaller inverse_gamma makes it convex", c.NegativeCurvature,
				c.Solves)
		}
	}
	for i, a := range t.prune.Structure.Ranked {
		if t.filled[i] != 0 {
			r.Warn("the layer %s would have lost all its elements; it keeps one, in place of the least one elsewhere",
				a.Name)
		}
	}
	layers := experiments.Table{Name: "layers", Columns: []string{"layer", "kept", "of"}}
	kept, count := 0, 0
	for _, h := range t.prune.Structure.Shares(t.marks) {
		kept, count = kept+h.Kept, count+h.Count
		layers.Rows = append(layers.Rows, []string{h.Layer, strconv.Itoa(h.Kept), strconv.Itoa(h.Count)})
		r.Scalars["layer_kept."+strings.ReplaceAll(h.Layer, ".", "_")] = float64(h.Kept) / float64(h.Count)
	}
	var ranked []float64
	for _, a := range t.prune.Structure.Ranked {
		ranked = append(ranked, t.marks[a.Off:a.Off+a.Size()]...)
	}
	r.Sets = append(r.Sets, experiments.NewSet("mask", ranked))
	if strings.HasPrefix(t.Method, prune.RowBiP) {
		r.Implicit = &experiments.Implicit{Share: t.term.Share, Cosine: t.term.Cosine, Control: math.NaN()}
		r.Scalars["implicit.share"], r.Scalars["implicit.cosine"] = t.term.Share, t.term.Cosine
	}
	r.Tables = append(r.Tables, layers)
	r.Scalars["kept"] = float64(kept) / float64(count)
	r.Texts["structure"] = t.prune.Structure.String()
	z := t.start[0].Like(times(t.mask, t.theta))
	state := t.start[1].Like(t.state)
	if state.Size() == 0 {
		state = params.Values{}
	}
	parameters, products := 0, 0
	uses := t.uses()
	for _, a := range z.Layout {
		for _, v := range z.Of(a.Name) {
			if v != 0 {
				parameters++
				if models.IsWeight(a) {
					products += uses[models.LayerOf(a)]
				}
			}
		}
	}
	r.Scalars["parameters"], r.Scalars["multiply_adds"] = float64(parameters), float64(products)
	return t.networks(ctx, z, state)
}

// solveCounts is what the solves of bip-exact cost, which are no part of the engine's programs: a product with the
// Hessian for each step, and for each solve an upper gradient and a product with the mixed derivatives.
func (t *task) solveCounts() problem.Counts {
	n, products := int64(t.solves.Solves), int64(t.solves.Products)
	return problem.Counts{UpperGradients: n, JVP: n, HVP: products, Samples: 2 * n * int64(t.Batch)}
}

// uses is how often a forward pass over one row multiplies by each weight of a layer: once for each pixel that a
// convolution makes.
func (t *task) uses() map[string]int {
	times, costs := map[string]int{}, map[string]int{}
	if m, ok := t.model.(interface{ Costs() []models.LayerCost }); ok {
		for _, c := range m.Costs() {
			costs[c.Name] = c.MultiplyAdds
		}
	}
	for _, a := range t.model.Params() {
		if models.IsWeight(a) {
			layer := models.LayerOf(a)
			times[layer] = max(1, costs[layer]/a.Size())
		}
	}
	return times
}

// networks measures and exports the masked network and the compacted one.
func (t *task) networks(ctx context.Context, z, state params.Values) error {
	file := train.File{Architecture: t.Model, BatchNorm: t.BatchNorm, Model: t.model, Source: t.env.Data,
		Data: &data.Prepared{Classes: t.env.Data.Classes, Scaler: t.scaler}}
	t.record.Models = append(t.record.Models, file.Of(z.Flat, state.Flat))
	nets := map[string]network{
		"dense": {t.model, z, state, nil}, "masked": {t.model, z.Like(t.theta), state, t.mask},
	}
	if m, ok := t.model.(models.Shrinkable); ok {
		c, err := prune.Compact(m.Units(), z, state)
		if err != nil {
			return err
		}
		small, err := m.WithUnits(c.Counts)
		if err != nil {
			return err
		}
		if c.Emptied != nil {
			t.record.Warn("nothing of the layers %v is left: the network does not depend on its inputs there; the "+
				"compacted network keeps one unit of zeros", c.Emptied)
		}
		file.Model = small
		if _, ok := small.(models.MLP); ok { // whose name has its widths
			file.Architecture = "mlp:" + textOf(c.Counts, "-")
		}
		compacted := file.Of(c.Params.Flat, c.State.Flat)
		compacted.Name = "compacted"
		t.record.Texts["compacted"] = file.Architecture
		if file.Architecture == t.Model {
			t.record.Texts["compacted"] += " with " + textOf(c.Counts, ", ") + " channels in its groups"
		}
		t.record.Models = append(t.record.Models, compacted)
		nets["compacted"] = network{small, c.Params, c.State, nil}
	}
	if t.SkipLatency {
		return nil
	}
	return t.latencies(ctx, nets)
}

// textOf writes numbers one after the other.
func textOf(numbers []int, between string) string {
	list := make([]string, len(numbers))
	for i, n := range numbers {
		list[i] = strconv.Itoa(n)
	}
	return strings.Join(list, between)
}
