package robust

import (
	"context"
	"errors"
	"math"

	"bilevel/data"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/solvers/robust"
	"bilevel/tensor"
)

// attack is projected gradient ascent on the cross-entropy in the ball, by signs of the gradient.
type attack struct {
	steps    int
	step     float64 // in units of ε
	restarts int     // 0: once from the image itself, else so often from the uniform distribution
}

// accuracy is the shares of rows that are classified right.
type accuracy struct {
	clean, robust float64 // the latter as they are and at the end of every restart
	rows          int
}

// uncertainty is the standard deviation of a share of n rows.
func uncertainty(share float64, n int) float64 { return math.Sqrt(share * (1 - share) / float64(n)) }

// attacker attacks the first rows of a set, so many at a time, and counts what is left.
type attacker struct {
	scope       *tensor.Scope
	rows, size  int
	index, draw *tensor.Variable
	wrong       *tensor.Variable // 1 for each row of the batch that was misclassified since clear

	clear, zero, random, judge *tensor.Function
	climb                      []*tensor.Function // a step of each attack
	attacks                    []attack
}

const (
	attackBatch  = 256     // the most rows that are attacked at once
	attackStream = 1 << 30 // of random numbers, beside those of training
)

// network is a model where its parameters stand; state is nil without running statistics.
type network struct {
	models.Model
	p, state *tensor.Variable
}

// logits are the outputs in mode eval.
func (n network) logits(x *tensor.Node) *tensor.Node {
	var state *tensor.Node
	if n.state != nil {
		state = n.state.Node()
	}
	z, _ := n.Apply(n.p.Node(), state, x, params.Eval)
	return z
}

// newAttacker compiles attacks of radius eps on the first n rows of a set, which it uploads.
func newAttacker(ex *tensor.Executor, set *data.Set, n int, net network, eps float64, seed uint64, attacks ...attack) (
	*attacker, error) {
	sc := ex.Scope()
	t := &attacker{scope: sc, rows: n, size: min(n, attackBatch), attacks: attacks}
	head := &data.Set{Features: set.Features[:n*set.Dim], Labels: set.Labels[:n], Dim: set.Dim}
	images, labels, err := upload(sc, head)
	if err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	t.index, t.draw = sc.Variable("attacked rows", tensor.Int, t.size), sc.Variable("attack number", tensor.Int)
	t.wrong = sc.Variable("attack successes", tensor.Real, t.size)
	words := sc.Variable("attack seed", tensor.Int, 2)
	if err := words.WriteInts([]int32{int32(uint32(seed)), int32(uint32(seed >> 32))}); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	delta := sc.Variable("perturbation", tensor.Real, t.size, set.Dim)
	x, y := tensor.Gather(images.Node(), t.index.Node()), tensor.Gather(labels.Node(), t.index.Node())
	compile := func(name string, to *tensor.Variable, value func() *tensor.Node) *tensor.Function {
		return sc.Compile("attack: "+name, func() []tensor.Update { return []tensor.Update{{Var: to, Value: value()}} })
	}
	project := func(z *tensor.Node) *tensor.Node {
		lo, hi := robust.Bounds(x, eps)
		return z.Max(lo).Min(hi)
	}
	logits := func() *tensor.Node { return net.logits(x.Add(delta.Node())) }
	t.clear = compile("clear", t.wrong, func() *tensor.Node { return tensor.Zeros(t.size) })
	t.zero = compile("the images", delta, func() *tensor.Node { return tensor.Zeros(t.size, set.Dim) })
	t.random = compile("random start", delta, func() *tensor.Node {
		r := problem.NewRandom(words.Node(), t.draw.Node(), attackStream)
		return project(robust.Uniform(r, eps, t.size, set.Dim))
	})
	t.judge = compile("success", t.wrong, func() *tensor.Node {
		return t.wrong.Node().Max(models.Mistakes(logits(), y))
	})
	for _, a := range attacks {
		t.climb = append(t.climb, compile("step", delta, func() *tensor.Node {
			up := tensor.Grad(tensor.CrossEntropy(logits(), y).Sum(), delta.Node())[0].Sign()
			return project(delta.Node().Add(up.Scale(a.step * eps)))
		}))
	}
	if err := sc.Err(); err != nil {
		return nil, errors.Join(err, sc.Close())
	}
	return t, nil
}

// upload puts labelled rows on the scope's device.
func upload(sc *tensor.Scope, s *data.Set) (images, labels *tensor.Variable, err error) {
	images, labels = sc.Variable("images", tensor.Real, s.N(), s.Dim), sc.Variable("labels", tensor.Int, s.N())
	return images, labels, errors.Join(images.Write32(s.Features), labels.WriteInts(s.Labels))
}

// run evaluates the model where it stands: one accuracy for each attack. It returns between two steps when ctx ends.
func (t *attacker) run(ctx context.Context) ([]accuracy, error) {
	out := make([]accuracy, len(t.attacks))
	for at := 0; at < t.rows; at += t.size {
		here := min(t.size, t.rows-at)
		index := make([]int32, t.size) // what is beyond the last row is row 0, and does not count
		for i := range here {
			index[i] = int32(at + i)
		}
		if err := t.index.WriteInts(index); err != nil {
			return nil, err
		}
		for i, a := range t.attacks {
			clean, robust, err := t.attack(ctx, i, a, at, here)
			if err != nil {
				return nil, err
			}
			out[i].clean += clean / float64(t.rows)
			out[i].robust += robust / float64(t.rows)
			out[i].rows = t.rows
		}
	}
	return out, nil
}

// attack counts the rows of the batch that are right as they are, and after the attack.
func (t *attacker) attack(ctx context.Context, number int, a attack, at, here int) (clean, robust float64, err error) {
	if err := errors.Join(t.clear.Run(1), t.zero.Run(1), t.judge.Run(1)); err != nil {
		return 0, 0, err
	}
	if clean, err = t.right(here); err != nil {
		return 0, 0, err
	}
	for restart := range max(1, a.restarts) {
		if a.restarts > 0 {
			draw := []int32{int32(at/t.size*a.restarts + restart)}
			if err := errors.Join(t.draw.WriteInts(draw), t.random.Run(1)); err != nil {
				return 0, 0, err
			}
		}
		for range a.steps {
			if err := errors.Join(ctx.Err(), t.climb[number].Run(1)); err != nil {
				return 0, 0, err
			}
		}
		if err := t.judge.Run(1); err != nil {
			return 0, 0, err
		}
	}
	robust, err = t.right(here)
	return clean, robust, err
}

// right counts the rows of the batch that no attack since clear has broken.
func (t *attacker) right(here int) (n float64, err error) {
	wrong, err := t.wrong.Read()
	if err != nil {
		return 0, err
	}
	for _, w := range wrong[:here] {
		n += 1 - w
	}
	return n, nil
}

func (t *attacker) close() error { return t.scope.Close() }
