package hpo

import (
	"math"

	"bilevel/experiments"
)

// point is what a search has looked at, and what it had come to by then.
type point struct {
	number         int
	seconds, calls float64 // spent so far
	loss           float64 // on the validation rows, +Inf where there is none
	// Of the best point so far: its loss, and the loss and the part of mistakes on the test rows.
	val, test, mistakes float64
}

var courseColumns = []string{"point", "seconds", "calls", "loss", "val_loss", "test_loss", "test_error"}

// course is the points in their order, kept in a log, with the hyperparameters of each.
type course struct {
	log *experiments.Log
	// late says that the model that was looked at with a point is that of the hyperparameters before it: an iteration
	// that ends with a step of x leaves the model where it was.
	late bool
}

func (c *course) add(p point, x []float64) {
	c.log.Add([]float64{float64(p.number), p.seconds, p.calls, p.loss, p.val, p.test, p.mistakes}, x)
}

func (c *course) len() int { return len(c.log.Curve().Rows) }

func (c *course) at(i int) point {
	r := c.log.Curve().Rows[i]
	return point{int(r[0]), r[1], r[2], r[3], r[4], r[5], r[6]}
}

// last is the newest point; without one, that of nothing spent and nothing found.
func (c *course) last() point {
	if n := c.len(); n > 0 {
		return c.at(n - 1)
	}
	return point{loss: math.Inf(1), val: math.Inf(1), test: math.Inf(1), mistakes: 1}
}

// bestX are the hyperparameters of the point with the lowest validation loss, the first one among equals.
func (c *course) bestX() []float64 {
	best := 0
	for i := range c.len() {
		if c.at(i).loss < c.at(best).loss {
			best = i
		}
	}
	if c.late {
		best = max(0, best-1)
	}
	return c.log.Vectors()[best]
}

// trials are the points for searches that look at losses.
func (c *course) trials() (list []trial) {
	for i, x := range c.log.Vectors() {
		list = append(list, trial{x, c.at(i).loss})
	}
	return list
}

// report puts the course into a record, as what had been found when so many calls were spent: steps of budget/records
// from the first point on.
func (c *course) report(r *experiments.Record, budget float64, records int) {
	r.Curve.Columns = []string{"step", "calls", "seconds", "val_loss", "test_loss", "test_error"}
	i := -1
	for step := range records + 1 {
		spent := budget * float64(step) / float64(records)
		for i+1 < c.len() && c.at(i+1).calls <= spent {
			i++
		}
		if i < 0 {
			continue
		}
		if p := c.at(i); !math.IsInf(p.val, 0) {
			r.Curve.Rows = append(r.Curve.Rows, []float64{float64(step), spent, p.seconds, p.val, p.test, p.mistakes})
		}
	}
	last := c.last()
	r.Scalars["seconds"], r.Scalars["points"] = last.seconds, float64(c.len())
	r.Counts["oracle.calls"] = int64(last.calls)
}
