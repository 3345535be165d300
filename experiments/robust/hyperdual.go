package robust

import (
	"math"

	"bilevel/models"
)

// hyperdual is a number v + a e + b f + ab ef with e² = f² = 0 (Fike, Alonso, AIAA 2011): where one variable of a
// function is given the part a = 1 and another the part b = 1, the value's parts are the two first derivatives and the
// mixed second one, exact but for rounding. It is how derivatives are checked here without the graph that made them.
type hyperdual struct{ v, a, b, ab float64 }

func plainNumber(v float64) hyperdual { return hyperdual{v: v} }

func (x hyperdual) plus(y hyperdual) hyperdual {
	return hyperdual{x.v + y.v, x.a + y.a, x.b + y.b, x.ab + y.ab}
}

func (x hyperdual) scale(c float64) hyperdual { return hyperdual{c * x.v, c * x.a, c * x.b, c * x.ab} }

func (x hyperdual) minus(y hyperdual) hyperdual { return x.plus(y.scale(-1)) }

func (x hyperdual) times(y hyperdual) hyperdual {
	return hyperdual{x.v * y.v, x.a*y.v + x.v*y.a, x.b*y.v + x.v*y.b, x.ab*y.v + x.a*y.b + x.b*y.a + x.v*y.ab}
}

// of is a function of x with the value f and the derivatives d and dd.
func (x hyperdual) of(f, d, dd float64) hyperdual {
	return hyperdual{f, d * x.a, d * x.b, d*x.ab + dd*x.a*x.b}
}

func (x hyperdual) exp() hyperdual { e := math.Exp(x.v); return x.of(e, e, e) }
func (x hyperdual) log() hyperdual { return x.of(math.Log(x.v), 1/x.v, -1/(x.v*x.v)) }

// power is x^p for x > 0.
func (x hyperdual) power(p float64) hyperdual {
	return x.of(math.Pow(x.v, p), p*math.Pow(x.v, p-1), p*(p-1)*math.Pow(x.v, p-2))
}

func (x hyperdual) relu() hyperdual {
	if x.v > 0 {
		return x
	}
	return hyperdual{}
}

func (x hyperdual) tanh() hyperdual {
	t := math.Tanh(x.v)
	return x.of(t, 1-t*t, -2*t*(1-t*t))
}

// plainModel is a network that computes in plain loops over a flat parameter vector in PyTorch's order.
type plainModel interface {
	models.Model
	inputs() int
	classes() int
	// logits are the outputs for rows x [n][inputs]. Where eval is set, batch normalization takes the running
	// statistics; next is those after the pass, which the caller keeps in mode train.
	logits(p []hyperdual, x [][]hyperdual, state []float64, eval bool) (z [][]hyperdual, next []float64)
}

// plainNet is a perceptron.
type plainNet struct{ models.MLP }

func (m plainNet) inputs() int  { return m.Widths[0] }
func (m plainNet) classes() int { return m.Widths[len(m.Widths)-1] }

// The constants of batch normalization, as torch.nn.BatchNorm1d has them.
const (
	normEpsilon  = 1e-5
	normMomentum = 0.1
)

// logSumExp is log Σ exp v, of logits near 1.
func logSumExp(row []hyperdual) hyperdual {
	sum := hyperdual{}
	for _, v := range row {
		sum = sum.plus(v.exp())
	}
	return sum.log()
}

func (m plainNet) logits(p []hyperdual, x [][]hyperdual, state []float64, eval bool) (
	z [][]hyperdual, next []float64) {
	take := func(n int) []hyperdual { head := p[:n]; p = p[n:]; return head }
	stats := func(n int) []float64 { head := state[:n]; state = state[n:]; return head }
	layers := len(m.Widths) - 1
	for l := range layers {
		in, out := m.Widths[l], m.Widths[l+1]
		norm := m.BatchNorm && l < layers-1
		w, bias := take(in*out), make([]hyperdual, out)
		if !norm {
			bias = take(out)
		}
		z := make([][]hyperdual, len(x))
		for r, row := range x {
			z[r] = make([]hyperdual, out)
			for j := range out {
				sum := bias[j]
				for k := range in {
					sum = sum.plus(row[k].times(w[j*in+k]))
				}
				z[r][j] = sum
			}
		}
		if norm {
			weight, shift := take(out), take(out)
			mean, variance, count := stats(out), stats(out), stats(1)
			next = append(next, normalize(z, weight, shift, mean, variance, eval)...)
			next = append(next, count[0]+1)
		}
		if l < layers-1 {
			for _, row := range z {
				for j := range row {
					if m.Activation == "tanh" {
						row[j] = row[j].tanh()
					} else {
						row[j] = row[j].relu()
					}
				}
			}
		}
		x = z
	}
	return x, next
}

// normalize is batch normalization of z in place; it gives the running mean and variance after the pass.
func normalize(z [][]hyperdual, weight, shift []hyperdual, mean, variance []float64, eval bool) (next []float64) {
	n := float64(len(z))
	moved := make([]float64, len(mean))
	for j := range weight {
		mu, sigma := hyperdual{}, hyperdual{}
		for _, row := range z {
			mu = mu.plus(row[j].scale(1 / n))
		}
		for _, row := range z {
			d := row[j].minus(mu)
			sigma = sigma.plus(d.times(d).scale(1 / n))
		}
		next = append(next, (1-normMomentum)*mean[j]+normMomentum*mu.v)
		moved[j] = (1-normMomentum)*variance[j] + normMomentum*sigma.v*n/(n-1)
		if eval {
			mu, sigma = plainNumber(mean[j]), plainNumber(variance[j])
		}
		scale := sigma.plus(plainNumber(normEpsilon)).power(-0.5).times(weight[j])
		for _, row := range z {
			row[j] = row[j].minus(mu).times(scale).plus(shift[j])
		}
	}
	return append(next, moved...)
}
