package robust

import (
	"context"
	"errors"

	"bilevel/data"
	"bilevel/models"
	adversary "bilevel/solvers/attack"
	"bilevel/tensor"
)

// network is a model where its parameters stand; state is nil without running statistics.
type network struct {
	models.Model
	inputs, classes int
	image           adversary.Image
	p, state        *tensor.Variable
}

// write gives the network other numbers.
func (n network) write(p, state []float64) error {
	err := n.p.Write(p)
	if n.state != nil {
		err = errors.Join(err, n.state.Write(state))
	}
	return err
}

// attacked is what there is to attack: a network as it stands.
func (n network) attacked() adversary.Model {
	var state *tensor.Node
	if n.state != nil {
		state = n.state.Node()
	}
	m := adversary.Of(n.Model, n.inputs, n.classes, n.p.Node(), state)
	m.Image = n.image
	return m
}

// accuracy is the shares of rows that are classified right: as they are, and in the worst case of an attack.
type accuracy struct {
	clean, cleanError   float64 // with one standard deviation of a share of so many rows
	robust, robustError float64
	warnings            []string
}

// The attacks that the course of a run is judged by: FGSM, which takes one step, and PGD. Where the first fails and the
// second succeeds, the model has learnt to hide its gradient.
var (
	oneStep   = adversary.FGSM{}
	manySteps = adversary.PGD{Steps: 10, Restarts: 1, Step: 0.25}
)

// attack evaluates the first n rows of a set under attacks of the task's radius. Programs are compiled once.
func (t *task) attack(ctx context.Context, set *data.Set, n int, by ...adversary.Attack) (a accuracy, err error) {
	n = min(n, set.N())
	s := adversary.Samples{Images: pixels(set, n, t.white), Labels: set.Labels[:n]}
	r, err := t.attacker.Run(ctx, adversary.Ball{Norm: adversary.Linf, Eps: t.Eps}, s, by...)
	if err != nil {
		return a, err
	}
	a.clean, a.cleanError = adversary.Accuracy(r.Clean)
	a.robust, a.robustError = adversary.Accuracy(r.Robust)
	a.warnings = r.Warnings
	return a, nil
}
