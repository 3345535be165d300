package prune

import (
	"errors"
	"fmt"
	"math"
	"slices"

	"bilevel/data"
	"bilevel/experiments/train"
	"bilevel/models"
	"bilevel/solvers/problem"
	"bilevel/solvers/prune"
	"bilevel/solvers/robust"
	"bilevel/tensor"
)

// Losses that a level may have.
const (
	Clean       = "clean"       // cross-entropy of the rows as they are
	Adversarial = "adversarial" // of the rows perturbed within a ball, by projected gradient ascent
)

// losses are the settings of the levels' losses. They are left out of a cell's key where they are not given.
type losses struct {
	LowerLoss   string  `json:"lower_loss,omitempty"`   // of all training of weights
	UpperLoss   string  `json:"upper_loss,omitempty"`   // that scores go by
	Eps         float64 `json:"eps,omitempty"`          // radius of the ball in the largest norm, for pixels in [0, 1]
	AttackSteps int     `json:"attack_steps,omitempty"` // of the ascent; 0: 2
	White       float64 `json:"white,omitempty"`        // the value of a white pixel; 0: the largest there is
}

func (l losses) check() error {
	attacked := false
	for _, s := range []struct{ name, loss string }{{"lower_loss", l.LowerLoss}, {"upper_loss", l.UpperLoss}} {
		if s.loss != "" && s.loss != Clean && s.loss != Adversarial {
			return fmt.Errorf("%s is %q: wants %s or %s", s.name, s.loss, Clean, Adversarial)
		}
		attacked = attacked || s.loss == Adversarial
	}
	switch {
	case !attacked && (l.Eps != 0 || l.AttackSteps != 0 || l.White != 0):
		return fmt.Errorf("eps is %g, attack_steps %d and white %g, but no loss is %s: give lower_loss or upper_loss, "+
			"too", l.Eps, l.AttackSteps, l.White, Adversarial)
	case attacked && l.Eps == 0:
		return fmt.Errorf("eps is 0: the %s loss wants a radius, such as 0.1 for pixels in [0, 1]", Adversarial)
	case l.AttackSteps < 0 || l.AttackSteps > mostAttackSteps:
		return fmt.Errorf("attack_steps is %d: wants 1 to %d, or 0 for %d", l.AttackSteps, mostAttackSteps, attackSteps)
	case !(l.White >= 0) || math.IsInf(l.White, 0):
		return fmt.Errorf("white is %g: wants the value of a white pixel, such as 1 or 255, or 0 to take the largest",
			l.White)
	}
	return robust.CheckEps(l.Eps)
}

// attackSteps are those where none are given. A program has all of them, so that there are bounds.
const attackSteps, mostAttackSteps = 2, 50

// ball is where perturbed rows may be, in the scaled numbers that the network reads: within radius of the row itself,
// and between those of a black and a white pixel. Each has a number for every column.
type ball struct {
	radius, black, white *tensor.Node
	steps                int
}

// ball puts the bounds on the device.
func (t *task) ball() (*ball, error) {
	white := t.White
	if white == 0 {
		white = whitePixel(t.env.Data)
	}
	if v, ok := notAPixel(t.env.Data.Train, white); ok {
		return nil, fmt.Errorf("the %s loss: the value %g in the training rows is no pixel from 0 to %g: "+
			"perturbed rows are images, so give the value of a white pixel as --white, or shift the data",
			Adversarial, v, white)
	}
	var err error
	put := func(name string, of func(mean, deviation float64) float64) *tensor.Node {
		if models.IsNetwork(t.Model) { // whose rows are as they were
			return tensor.Const(of(0, 1))
		}
		v := t.scope.Variable(name, tensor.Real, t.parts[0].Dim)
		values := make([]float64, t.parts[0].Dim)
		for j := range values {
			values[j] = of(t.scaler.Mean[j], t.scaler.Deviation[j])
		}
		err = errors.Join(err, v.Write(values))
		return v.Node()
	}
	b := &ball{
		radius: put("radius", func(_, deviation float64) float64 { return t.Eps * white / deviation }),
		black:  put("black", func(mean, deviation float64) float64 { return -mean / deviation }),
		white:  put("white", func(mean, deviation float64) float64 { return (white - mean) / deviation }),
		steps:  t.AttackSteps,
	}
	if b.steps == 0 {
		b.steps = attackSteps
	}
	return b, err
}

// whitePixel is the value of a white pixel where none is given: the largest there is, or what bytes have for it.
func whitePixel(set *data.Dataset) float64 {
	if set.Train.Bytes != nil {
		return train.WhitePixel(set)
	}
	return float64(slices.Max(set.Train.Features))
}

// notAPixel finds a value that is not from 0 to white.
func notAPixel(s *data.Set, white float64) (v float64, found bool) {
	for _, b := range s.Bytes {
		if float64(b) > white {
			return float64(b), true
		}
	}
	for _, v := range s.Features {
		if v < 0 || float64(v) > white {
			return float64(v), true
		}
	}
	return 0, false
}

// perturbed are rows x moved to raise a loss, which is a function of them:
//
//	x ← x + a·sign(∇loss), back into the ball,   a = radius · min(1, 2.5/steps)
//
// from the rows themselves (Madry and others, ICLR 2018; one step is Goodfellow and others, ICLR 2015). They count as
// constants in derivatives, as at a maximum (Danskin's theorem).
func (b *ball) perturbed(x *tensor.Node, loss func(x *tensor.Node) *tensor.Node) *tensor.Node {
	lo, hi := x.Sub(b.radius).Max(b.black), x.Add(b.radius).Min(b.white)
	at := x
	for range b.steps {
		g := tensor.Grad(loss(at), at)[0]
		at = at.Add(g.Sign().Mul(b.radius.Scale(min(1, 2.5/float64(b.steps))))).Max(lo).Min(hi).StopGradient()
	}
	return at
}

// loss is the mean cross-entropy of a batch with parameters z, of its rows as they are where there is no ball, and the
// moved running statistics.
func (t *task) loss(b *ball) prune.Loss {
	return func(z *tensor.Node, batch problem.Batch, p problem.Pass) problem.Loss {
		at := func(x, z *tensor.Node) (loss, next *tensor.Node) {
			out, next := t.model.Apply(z, p.State.Flat(), x, p.Mode)
			return tensor.CrossEntropy(out, batch.Get("label")).Mean(), next
		}
		x := t.rows.Features(batch)
		if b != nil {
			x = b.perturbed(x, func(x *tensor.Node) *tensor.Node {
				loss, _ := at(x, z.StopGradient())
				return loss
			})
		}
		value, next := at(x, z)
		return problem.Loss{Value: value, State: next}
	}
}
