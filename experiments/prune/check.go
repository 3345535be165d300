package prune

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"text/tabwriter"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
	"bilevel/solvers/prune"
	"bilevel/tensor"
)

// Checked is how the variants of BiP compare with the exact hypergradient on small networks.
type Checked struct {
	Rows []CheckedRow `json:"rows"`
}

// CheckedRow is one variant at one γ; see prune.Agreement.
type CheckedRow struct {
	Network  string  `json:"network"`
	Row      string  `json:"row"`
	Gamma    float64 `json:"gamma"`
	Smallest float64 `json:"smallest_eigenvalue"` // of the lower level's Hessian, γ included
	Cosine   float64 `json:"cosine"`
	Ratio    float64 `json:"norm_ratio"`
	Distance float64 `json:"relative_error"`
	Status   string  `json:"status"`
}

// checkedGammas go from one that rules the lower Hessian to one that hardly changes it.
var checkedGammas = []float64{10, 3, 1, 1e-2, 1e-4}

// checked are the networks that the variants are compared on: perceptrons 4-5-3 with tanh, and a residual network of
// images of 4×4 in two stages, with a convolution in the shortcut.
func checked() (names []string, nets []models.Model, err error) {
	residual, err := models.ResNet{Name: "residual", Image: models.Image{Height: 4, Width: 4, Channels: 1}, Classes: 3,
		Widths: []int{2, 3}, Blocks: []int{1, 1}, Shortcut: models.ShortcutB}.Network()
	return []string{"plain", "batch norm", "residual"}, []models.Model{
		models.MLP{Widths: []int{4, 5, 3}, Activation: models.Tanh},
		models.MLP{Widths: []int{4, 5, 3}, Activation: models.Tanh, BatchNorm: true}, residual,
	}, err
}

// Check compares the variants on the networks of checked, half of whose weights are masked, on 12 random rows of each
// level. The executor should compute in float64.
func Check(ctx context.Context, ex *tensor.Executor, seed uint64) (*Checked, error) {
	names, nets, err := checked()
	if err != nil {
		return nil, err
	}
	out := &Checked{}
	for i, m := range nets {
		name := names[i]
		theta, state := m.Init(seed)
		s, err := prune.Weights(m.Params(), models.IsWeight)
		if err != nil {
			return nil, err
		}
		k, err := s.Keep(0.5, prune.Global)
		if err != nil {
			return nil, err
		}
		scores, err := prune.Magnitude(ctx, ex, s, theta.Flat)
		if err != nil {
			return nil, err
		}
		_, mask, err := s.Pick(ex, scores, k)
		if err != nil {
			return nil, err
		}
		c := prune.Comparison{
			Task: prune.Task{
				Name: "check", Structure: s, State: state, Lower: randomLevel(m, inputsOf(m), seed, 1),
				Upper: randomLevel(m, inputsOf(m), seed, 2),
			},
			Gamma: checkedGammas, Steps: 1, Rate: 0.1,
		}
		list, err := c.Compare(ctx, ex, theta.Flat, mask)
		if err != nil {
			return nil, err
		}
		for _, a := range list {
			out.Rows = append(out.Rows, CheckedRow{name, a.Row, a.Gamma, a.Smallest, a.Cosine, a.Ratio, a.Distance,
				a.Status.String()})
		}
	}
	return out, nil
}

// inputsOf is how many numbers a row of a checked network has.
func inputsOf(m models.Model) int {
	if n, ok := m.(models.Network); ok {
		return n.Image().Size()
	}
	return m.(models.MLP).Widths[0]
}

// randomLevel is normal inputs with labels of three classes that do not follow from them.
func randomLevel(m models.Model, inputs int, seed, stream uint64) prune.Level {
	const rows, classes = 12, 3
	r := rand.New(rand.NewPCG(seed, stream))
	x, a := make([]float64, rows*inputs), make([]int32, rows)
	for i := range x {
		x[i] = r.NormFloat64()
	}
	for i := range a {
		a[i] = int32(r.IntN(classes))
	}
	return prune.Level{
		Rows: problem.Rows{"x": problem.Reals(x, inputs), "a": problem.Ints(a)},
		Loss: func(z *tensor.Node, b problem.Batch, p problem.Pass) problem.Loss {
			out, next := m.Apply(z, p.State.Flat(), b.Get("x"), params.TrainFrozen)
			return problem.Loss{Value: tensor.CrossEntropy(out, b.Get("a")).Mean(), State: next}
		},
	}
}

// Broken lists what is not as it must be: where the lower Hessian is positive definite, bip-exact is the dense
// hypergradient to 1e-6; where it is not, the status of bip-exact says so.
func (c *Checked) Broken() (list []string) {
	for _, r := range c.Rows {
		if r.Row != prune.RowExact {
			continue
		}
		where := fmt.Sprintf("%s, %s, gamma %g", r.Network, r.Row, r.Gamma)
		switch convex := r.Smallest > 0; {
		case convex && !(r.Distance < 1e-6):
			list = append(list, fmt.Sprintf("%s: a relative error of %.2g", where, r.Distance))
		case convex && r.Status != linear.Converged.String():
			list = append(list, fmt.Sprintf("%s: %s, though the lower level is convex", where, r.Status))
		case !convex && r.Status != linear.NegativeCurvature.String():
			list = append(list, fmt.Sprintf("%s: %s, though the lower level is not convex", where, r.Status))
		}
	}
	return list
}

// Write writes the comparison as a table.
func (c *Checked) Write(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, strings.Join([]string{"network", "g of", "gamma", "smallest eigenvalue", "cosine", "norm ratio",
		"relative error", "status"}, "\t"))
	for _, r := range c.Rows {
		fmt.Fprintf(t, "%s\t%s\t%g\t%.3g\t%.4f\t%.4g\t%.2g\t%s\n", r.Network, r.Row, r.Gamma, r.Smallest, r.Cosine,
			r.Ratio, r.Distance, r.Status)
	}
	return t.Flush()
}
