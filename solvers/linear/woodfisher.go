package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/tensor"
)

// WoodFisher replaces A by the empirical Fisher matrix of per-sample gradients, F = λI + (1/N) Σ g_n g_n' with
// λ = Damping (Singh, Alistarh, NeurIPS 2020), whose inverse Woodbury's formula gives sample by sample:
//
//	Vectors   u_n = B_{n-1} g_n, c_n = N + g_n'u_n;  B_N w = w/λ - Σ u_n (u_n'w)/c_n      N n numbers, N² n time
//	Full      B_0 = I/λ;  B_n = B_{n-1} - (B_{n-1} g_n)(B_{n-1} g_n)'/c_n;  v = B_N b     n² numbers,  N n² time
//	OneShot   with the mean gradient g in place of all:  v = b/λ - g g'b/(λ² + λ|g|²)       2n numbers,  N n time
//
// F stands for the Hessian of a log-likelihood at a well-specified optimum and not elsewhere; the residual |b - A v|,
// for the one product that it takes, tells how far off it is. The gradients must be those of single samples: gradients
// of minibatches understate F by the size of the batch, so that OneShot, whose g is 0 at a minimizer, is b/λ there.
type WoodFisher struct {
	Damping    float64
	Form       FisherForm
	RTol, ATol float64
}

// FisherForm is a way to apply the inverse of the Fisher matrix, see WoodFisher.
type FisherForm uint8

// The forms of WoodFisher.
const (
	Vectors FisherForm = iota
	Full
	OneShot
)

func (f FisherForm) String() string {
	return [...]string{"vectors", "full", "one-shot"}[min(f, OneShot)]
}

// Class is Definite.
func (WoodFisher) Class() Class { return Definite }

func (m WoodFisher) String() string { return fmt.Sprintf("WoodFisher(%s, λ %g)", m.Form, m.Damping) }

type woodFisher struct {
	*direct
	samples int
}

// fisherForm is the graphs of a form: begin, one sample with its gradient g and number, and v at the end.
type fisherForm struct {
	begin  func() []tensor.Update
	sample func(g, number *tensor.Node) []tensor.Update
	end    func(b *tensor.Node) *tensor.Node
}

// Prepare compiles the form; the matrix must have Gradients.
func (m WoodFisher) Prepare(ex *tensor.Executor, a Matrix) (System, error) {
	switch {
	case a.Gradients == nil || a.Gradients.Count < 1 || a.Gradients.At == nil:
		return nil, errors.New("linear: WoodFisher wants Matrix.Gradients, which are not set: give the lower level " +
			"rows of data, whose single losses have gradients, or use CG")
	case !(m.Damping > 0) || math.IsInf(m.Damping, 0):
		return nil, fmt.Errorf("linear: WoodFisher: damping %g: wants a positive, finite number", m.Damping)
	case m.Form > OneShot:
		return nil, fmt.Errorf("linear: WoodFisher: unknown form %d: there are Vectors, Full and OneShot", m.Form)
	}
	d, err := newDirect(ex, a, "WoodFisher", m.RTol, m.ATol)
	if err != nil {
		return nil, err
	}
	s := &woodFisher{direct: d, samples: a.Gradients.Count}
	build := [...]func(*direct, int, int, float64) fisherForm{fisherVectors, fisherFull, fisherOneShot}[m.Form]
	form := build(d, s.samples, a.N, m.Damping)
	number := d.integer("sample")
	return s, s.compile(a,
		func() []tensor.Update {
			i := number.Node()
			return append(form.sample(a.Gradients.At(i), i),
				tensor.Update{Var: number, Value: i.Add(tensor.IntConst(1))})
		},
		func() []tensor.Update {
			return append(form.begin(), tensor.Update{Var: number, Value: tensor.IntConst(0)})
		},
		func() []tensor.Update { return []tensor.Update{{Var: s.v, Value: form.end(s.b.Node())}} })
}

func fisherVectors(d *direct, samples, n int, damping float64) fisherForm {
	u, c := d.vector("u", samples, n), d.vector("1/c", samples)
	apply := func(w *tensor.Node) *tensor.Node { // places that no sample has filled yet are 0
		inner := u.Node().MatMul(w.Reshape(n, 1)).Mul(c.Node().Reshape(samples, 1))
		return w.Scale(1 / damping).Sub(u.Node().T().MatMul(inner).Reshape(n))
	}
	return fisherForm{
		begin: func() []tensor.Update {
			return []tensor.Update{{Var: u, Value: tensor.Zeros(samples, n)}, {Var: c, Value: tensor.Zeros(samples)}}
		},
		sample: func(g, i *tensor.Node) []tensor.Update {
			next, at := apply(g), i.Reshape(1)
			weight := tensor.Const(1).Div(tensor.Dot(g, next).AddConst(float64(samples)))
			return []tensor.Update{
				{Var: u, Value: tensor.ScatterAdd(u.Node(), at, next.Reshape(1, n))},
				{Var: c, Value: tensor.ScatterAdd(c.Node(), at, weight.Reshape(1))},
			}
		},
		end: apply,
	}
}

func fisherFull(d *direct, samples, n int, damping float64) fisherForm {
	inverse := d.vector("B", n, n)
	apply := func(w *tensor.Node) *tensor.Node { return inverse.Node().MatMul(w.Reshape(n, 1)) }
	return fisherForm{
		begin: func() []tensor.Update {
			identity := tensor.Iota(0, n, n).Eq(tensor.Iota(1, n, n))
			return []tensor.Update{{Var: inverse, Value: identity.Scale(1 / damping)}}
		},
		sample: func(g, _ *tensor.Node) []tensor.Update {
			u := apply(g)
			c := tensor.Dot(g, u.Reshape(n)).AddConst(float64(samples))
			return []tensor.Update{{Var: inverse, Value: inverse.Node().Sub(u.Div(c).MatMul(u.T()))}}
		},
		end: func(b *tensor.Node) *tensor.Node { return apply(b).Reshape(n) },
	}
}

func fisherOneShot(d *direct, samples, n int, damping float64) fisherForm {
	mean := d.vector("mean gradient", n)
	return fisherForm{
		begin: func() []tensor.Update { return []tensor.Update{{Var: mean, Value: tensor.Zeros(n)}} },
		sample: func(g, _ *tensor.Node) []tensor.Update {
			return []tensor.Update{{Var: mean, Value: mean.Node().Add(g.Scale(1 / float64(samples)))}}
		},
		end: func(b *tensor.Node) *tensor.Node {
			g := mean.Node()
			c := tensor.Dot(g, b).Div(tensor.Dot(g, g).Scale(damping).AddConst(damping * damping))
			return b.Scale(1 / damping).Sub(g.Mul(c))
		},
	}
}

// Solve looks at every sample once, where the variables of the matrix stand, and applies the inverse. Steps is the
// number of samples.
func (s *woodFisher) Solve(ctx context.Context) (Stats, error) {
	if err := s.begin(ctx); err != nil {
		return Stats{}, err
	}
	if err := cmp.Or(s.loop.Body(1).Run(1), s.loop.Run(s.samples), s.loop.Body(2).Run(1)); err != nil {
		return Stats{}, err
	}
	st, err := s.end(ctx, s.samples, 0)
	st.Gradients, st.Samples = s.samples, s.samples
	return st, err
}
