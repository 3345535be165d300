package robust

import (
	"context"
	"fmt"
	"math"

	"bilevel/internal/philox"
	"bilevel/models"
	"bilevel/solvers/robust"
	"bilevel/tensor"
)

// baselineCase is a small network under a method whose perturbation goes by signs, so that it does not move with θ.
type baselineCase struct {
	net        plainModel
	name       string
	method, bn string
}

// baselines have a row for each method whose update is checked: what a check knows of it beside its passes, whose modes
// are those of the case.
var baselines = map[string]func(d *dense, m robust.Method, seed uint64) (delta []float64, objective objective){
	"trades":     tradesObjective,
	"grad-align": alignmentObjective,
}

// objective is what an update is the gradient of, at θ with the part a at parameter i (-1: nowhere); the perturbation,
// and what else the method takes for constant, are those of the θ of the check.
type objective func(theta []float64, i int) hyperdual

// baselineCases are TRADES and gradient alignment on a smooth perceptron, and on one with batch normalization in the
// modes of the authors and in one that takes running statistics.
func baselineCases() (list []baselineCase) {
	smooth := models.MLP{Widths: []int{3, 5, 4, 3}, Activation: "tanh"}
	norm := smooth
	norm.BatchNorm = true
	for _, c := range []struct {
		method string
		bn     []string
	}{{"trades", []string{"eval,train", "train", "eval"}}, {"grad-align", []string{"train", "frozen", "eval"}}} {
		list = append(list, baselineCase{plainNet{smooth}, "tanh", c.method, c.bn[0]})
		for _, bn := range c.bn {
			list = append(list, baselineCase{plainNet{norm}, "tanh, batch norm", c.method, bn})
		}
	}
	return list
}

// run compares one update with that of plain numbers and with central differences.
func (c baselineCase) run(ctx context.Context, ex *tensor.Executor, seed uint64) (row CheckRow, err error) {
	entry, err := robust.ByName(c.method)
	if err != nil {
		return row, err
	}
	m, err := entry.With("bn=" + c.bn)
	if err != nil {
		return row, err
	}
	d := newDense(checkCase{net: c.net, method: robust.FastBAT{BN: c.bn}}, seed)
	got, _, err := d.computed(ctx, ex, m, seed)
	if err != nil {
		return row, err
	}
	delta, of := baselines[c.method](d, m, seed)
	exact, differences := make([]float64, len(got)), make([]float64, len(got))
	for i := range got {
		exact[i] = of(d.theta, i).a
		differences[i] = central(d.theta, i, func(theta []float64) float64 { return of(theta, -1).v })
	}
	free, held := d.counted(delta, 0)
	return CheckRow{Method: c.method, Net: c.name, BN: c.bn, Parameters: len(got), Free: free, Held: held,
		Share: math.NaN(), Dense: largest(got, exact), Differences: largest(got, differences)}, nil
}

// central is the central difference of a function in parameter i.
func central(theta []float64, i int, of func(theta []float64) float64) float64 {
	const h = 1e-5
	shifted := append([]float64(nil), theta...)
	shifted[i] += h
	up := of(shifted)
	shifted[i] = theta[i] - h
	return (up - of(shifted)) / (2 * h)
}

// logits are the outputs at θ and x + δ in a pass, with the part a at parameter i and the part b at coordinate j of δ
// (-1: nowhere).
func (d *dense) logits(theta, delta []float64, i, j, pass int) [][]hyperdual {
	p, x := d.at(theta, delta, i, j)
	z, _ := d.net.logits(p, x, d.moved, d.eval[pass])
	return z
}

// climb is k steps of projected ascent along the signs of a gradient.
func (d *dense) climb(delta []float64, k int, step float64, g func(delta []float64) []float64) []float64 {
	for range k {
		next := make([]float64, len(delta))
		for i, v := range g(delta) {
			next[i] = delta[i] + step*checkEps*sign(v)
		}
		delta = d.project(next)
	}
	return delta
}

func sign(v float64) float64 {
	switch {
	case v > 0:
		return 1
	case v < 0:
		return -1
	}
	return 0
}

// distance is Σ KL(softmax p ‖ softmax q) over rows of logits.
func distance(p, q [][]hyperdual) (sum hyperdual) {
	for r := range p {
		a, b := logSumExp(p[r]), logSumExp(q[r])
		for j := range p[r] {
			logP, logQ := p[r][j].minus(a), q[r][j].minus(b)
			sum = sum.plus(logP.exp().times(logP.minus(logQ)))
		}
	}
	return sum
}

// divergence is the gradient in δ of Σ KL(p(x) ‖ p(x + δ)).
func (d *dense) divergence(delta []float64, pass int) []float64 {
	g := make([]float64, len(delta))
	clean := d.logits(d.theta, make([]float64, len(delta)), -1, -1, pass)
	for j := range g {
		g[j] = distance(clean, d.logits(d.theta, delta, -1, j, pass)).b
	}
	return g
}

// tradesObjective is mean [CE(θ, x) + β KL(p(x) ‖ p(x + δ))].
func tradesObjective(d *dense, of robust.Method, seed uint64) (delta []float64, _ objective) {
	m := of.(robust.TRADES)
	start, draws := make([]float64, len(d.x)), make([]float32, len(d.x))
	philox.Normals(draws, seed, 0, 1<<24, 0)
	for i, v := range draws {
		start[i] = m.Noise * float64(v)
	}
	const attack, training = 0, 1
	delta = d.climb(start, m.Steps, m.Step, func(delta []float64) []float64 { return d.divergence(delta, attack) })
	return delta, func(theta []float64, i int) hyperdual {
		zero := make([]float64, len(delta))
		loss, _ := d.sum(theta, zero, i, -1, training)
		far := distance(d.logits(theta, zero, i, -1, training), d.logits(theta, delta, i, -1, training))
		return loss.plus(far.scale(m.Beta)).scale(1. / checkRows)
	}
}

// alignmentObjective is mean CE(θ, x + δ) + λ (1 - mean cos(g₁, g₂(θ))). The parts of g₂ are second derivatives.
func alignmentObjective(d *dense, of robust.Method, _ uint64) (delta []float64, _ objective) {
	m := of.(robust.GradAlign)
	const attack, training, alignment = 0, 1, 2
	zero := make([]float64, len(d.x))
	first := d.slope(d.theta, zero, attack)
	delta = d.climb(zero, 1, m.Step, func([]float64) []float64 { return first })
	return delta, func(theta []float64, i int) hyperdual {
		loss, _ := d.sum(theta, delta, i, -1, training)
		mean, inputs := hyperdual{}, d.net.inputs()
		for r := range checkRows {
			product, squares, length := hyperdual{}, hyperdual{}, 0.0
			for j := r * inputs; j < (r+1)*inputs; j++ {
				total, _ := d.sum(theta, d.start, i, j, alignment)
				second := hyperdual{v: total.b, a: total.ab}
				product, squares = product.plus(second.scale(first[j])), squares.plus(second.times(second))
				length += first[j] * first[j]
			}
			mean = mean.plus(product.times(squares.power(-0.5)).scale(1 / (math.Sqrt(length) * checkRows)))
		}
		return loss.scale(1. / checkRows).plus(plainNumber(1).minus(mean).scale(m.Alignment))
	}
}

// checkBaselines are the rows of the methods of baselines.
func checkBaselines(ctx context.Context, ex *tensor.Executor, seed uint64) (rows []CheckRow, err error) {
	for _, c := range baselineCases() {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		row, err := c.run(ctx, ex, seed)
		if err != nil {
			return nil, fmt.Errorf("check of %s on %s: %w", c.method, c.name, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}
