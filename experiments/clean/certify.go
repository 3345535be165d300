package clean

import (
	"context"
	"errors"

	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// cheapCertificate is the product of training rows and parameters up to which softmax regression is certified unasked:
// well under a second. A perceptron's lower level is not convex, so that its linear system may have no good answer.
const cheapCertificate = 1e7

// certifier computes the hypergradient of a hyper-cleaning problem on all rows; more logits than logitsAtOnce go in
// pieces.
func certifier(classes int) hypergrad.Implicit {
	return hypergrad.Implicit{
		Solver: linear.CG{RTol: 1e-3, MaxSteps: 200, FromZero: true}, Rows: max(64, logitsAtOnce/classes),
	}
}

// certify computes the hypergradient of the last round's problem at its end, with its error, where that was asked for
// or is cheap. last is the judgement that the round began with.
func (g *guided) certify(ctx context.Context, n *net, form string, out *rounded, last *judgement) error {
	cheap := n.spec.convex && float64(len(g.all))*float64(len(out.y)) <= cheapCertificate
	if form == formNone {
		if g.Certificate {
			g.r.Warn("weights %q have no upper level, so that there is no hypergradient to certify", form)
		}
		return nil
	}
	if !g.Certificate && !cheap {
		return nil
	}
	g.begin("certificate", 1)
	prior, pair := n.priors(last, g.data.Train.Labels)
	sc := n.ex.Scope()
	x, y := sc.Variable("certified x", tensor.Real, len(out.x)), sc.Variable("certified y", tensor.Real, len(out.y))
	err := errors.Join(n.prior.Write(prior), n.pair.WriteInts(pair), x.Write(out.x), y.Write(out.y))
	var b *problem.Bound
	if err == nil {
		b, err = n.bilevel(form, g.all, g.trust, n.start.Like(out.y), len(out.x)).Bind(n.ex)
	}
	if err != nil {
		return errors.Join(err, sc.Close())
	}
	sc.Own(b.Close)
	e, err := certifier(n.classes).Prepare(b, x, y)
	if err != nil {
		return errors.Join(err, sc.Close())
	}
	sc.Own(e.Close)
	h, err := e.Compute(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return err // the device may be busy: nothing is freed
		}
		return errors.Join(err, sc.Close())
	}
	g.r.Certify(h, "a larger --reg makes its linear system easier")
	g.unit()
	return sc.Close()
}
