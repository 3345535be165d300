package clean

import (
	"context"
	"fmt"
	"math"
)

// cleaning is the name of the run with all trusted rows.
const cleaning = "cleaning"

func noted(run string, part, round int) string {
	return fmt.Sprintf("%s, part %d: right and wrong after round %d", run, part, round)
}

// note keeps how a model does after a round of a run: the rows that it gets right and wrong of those trusted rows that
// the run leaves out and, in the run with all of them, of the test rows. Nothing is decided by these figures.
func (g *guided) note(ctx context.Context, n *net, run string, part, round int, y []float64, hold []int32) error {
	table, labels := g.rows.trusted, g.data.Trusted
	if run == cleaning {
		if table, labels = g.rows.test, g.data.Test; table == nil {
			return nil
		}
		hold = indices(table.n)
	}
	j, err := n.judge(ctx, table, y, nil)
	if err != nil {
		return err
	}
	wrong, right := 0.0, 0.0
	for _, i := range hold {
		if j.label[i] == labels.Labels[i] {
			right++
		} else {
			wrong++
		}
	}
	return g.keep.put(map[string][]float64{noted(run, part, round): {right, wrong}})
}

// curve is the errors over the rounds: of the chosen form on held-out trusted rows and, with all trusted rows, on the
// test.
func (g *guided) curve(chosen string, iterations int) {
	share := func(run string, round int) float64 {
		right, wrong := 0.0, 0.0
		for part := range g.folds {
			if n := g.keep.done[noted(run, part, round)]; len(n) == 2 {
				right, wrong = right+n[0], wrong+n[1]
			}
		}
		return wrong / (right + wrong)
	}
	g.r.Curve.Columns = []string{"iteration", "round", "held_out_error"}
	if g.rows.test != nil {
		g.r.Curve.Columns = append(g.r.Curve.Columns, "test_error")
	}
	for round := range rounds + 1 {
		row := []float64{float64(round * iterations), float64(round), share(chosen, round)}
		if g.rows.test != nil {
			row = append(row, share(cleaning, round))
		}
		g.r.Curve.Rows = append(g.r.Curve.Rows, row)
	}
}

// warnOfRowsNeverDrawn says where the rounds draw so few rows that more than one in a thousand is never looked at.
func (g *guided) warnOfRowsNeverDrawn(n *net) {
	rows := float64(len(g.all))
	if never := neverDrawn(rows, rounds*float64(n.iterationsFor(len(g.all)))*float64(n.Batch)); never > 0.001*rows {
		g.r.Warn("about %.0f of the %.0f training rows were never drawn in the rounds: --iters %d would draw "+
			"nearly all",
			never, rows, int(math.Ceil(7*rows/float64(rounds*n.Batch))))
	}
}
