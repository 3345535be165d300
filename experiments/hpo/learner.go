package hpo

import (
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Learner is a model whose training has hyperparameters x: what the lower level minimizes is the mean of Losses over
// rows plus Penalty. Rows have the names that experiments.Upload gives them.
type Learner struct {
	Start params.Values // of the model's parameters
	// Losses are the training losses of a batch [rows], Scores the losses by which models are judged, and Mistakes is 1
	// for each row that is judged wrong.
	Losses   func(x, y *tensor.Node, b problem.Batch) *tensor.Node
	Scores   func(y *tensor.Node, b problem.Batch) *tensor.Node
	Mistakes func(y *tensor.Node, b problem.Batch) *tensor.Node
	Penalty  func(x, y *tensor.Node) *tensor.Node // a scalar
}

// Logistic is logistic regression of two classes without intercept, with a weight e^{x_j} for each of the first
// penalized coefficients:
//
//	losses   log(1 + e^{-b aᵀy}),  b = -1 for the class 0 and 1 for the class 1
//	penalty  ½ Σ_j e^{x_j} y_j²
//
// Rows whose last feature is 1 have their intercept there, and leave it out of penalized.
func Logistic(start params.Values, penalized int) Learner {
	losses := func(y *tensor.Node, b problem.Batch) *tensor.Node { return margins(y, b).Neg().Softplus() }
	return Learner{
		Start:  start,
		Losses: func(_, y *tensor.Node, b problem.Batch) *tensor.Node { return losses(y, b) },
		Scores: losses,
		Mistakes: func(y *tensor.Node, b problem.Batch) *tensor.Node {
			return margins(y, b).Lt(tensor.Const(0))
		},
		Penalty: func(x, y *tensor.Node) *tensor.Node {
			if penalized < y.Size() {
				y = y.Slice(0, 0, penalized)
			}
			return tensor.Dot(x.Exp(), y.Square()).Scale(0.5)
		},
	}
}

// margins are b aᵀy of a batch.
func margins(y *tensor.Node, b problem.Batch) *tensor.Node {
	z := b.Get("features").MatMul(y.Reshape(y.Size(), 1)).Reshape(b.Rows)
	return z.Mul(b.Get("label").ToReal().Scale(2).AddConst(-1))
}

// Perceptron is a perceptron with a weight for each of its L layers and label smoothing, x [L+1]:
//
//	losses   (1-s) (-log p_label) + s/c Σ_j (-log p_j),  s = 1/(1 + e^{-x_L}),  p the probabilities of the c classes
//	penalty  ½ Σ_l e^{x_l} |W_l|²,  W_l the weights of layer l without its biases
//
// It must have no batch normalizations, whose running statistics would be a part of what is trained.
func Perceptron(m models.MLP, start params.Values) Learner {
	layout := m.Params()
	logits := func(y *tensor.Node, b problem.Batch) *tensor.Node {
		z, _ := m.Apply(y, nil, b.Get("features"), params.Train)
		return z
	}
	layers := WeightArrays(layout)
	return Learner{
		Start: start,
		Losses: func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
			z, n := logits(y, b), len(layers)
			s := x.Slice(0, n, n+1).Reshape().Sigmoid()
			hard, spread := tensor.CrossEntropy(z, b.Get("label")), z.LogSoftmax().Mean(1).Neg()
			return hard.Add(s.Mul(spread.Sub(hard)))
		},
		Scores: func(y *tensor.Node, b problem.Batch) *tensor.Node {
			return tensor.CrossEntropy(logits(y, b), b.Get("label"))
		},
		Mistakes: func(y *tensor.Node, b problem.Batch) *tensor.Node {
			return models.Mistakes(logits(y, b), b.Get("label"))
		},
		Penalty: func(x, y *tensor.Node) *tensor.Node {
			sum := tensor.Const(0)
			for l, a := range layers {
				w := a.Of(y)
				sum = sum.Add(x.Slice(0, l, l+1).Reshape().Exp().Mul(w.Square().Sum()))
			}
			return sum.Scale(0.5)
		},
	}
}

// WeightArrays are the arrays of a layout with two axes or more: weights of layers, and not their biases.
func WeightArrays(l params.Layout) (arrays []params.Array) {
	for _, a := range l {
		if len(a.Shape) > 1 {
			arrays = append(arrays, a)
		}
	}
	return arrays
}

// HoldOut is the problem of hyperparameters that are judged on rows of their own:
//
//	min_x  mean over validation rows of Scores(y*(x))
//	s.t.   y*(x) = argmin_y  mean over training rows of Losses(x, y) + Penalty(x, y)
func (l Learner) HoldOut(x params.Values, train, val problem.Rows) *problem.Problem {
	return &problem.Problem{
		Name: "hyperparameters",
		Lower: problem.Level{
			Start: l.Start, Rows: train,
			Value: problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
				return l.Losses(x, y, b).Mean().Add(l.Penalty(x, y))
			}),
		},
		Upper: problem.Level{
			Start: x, Rows: val,
			Value: problem.Flat(func(_, y *tensor.Node, b problem.Batch) *tensor.Node {
				return l.Scores(y, b).Mean()
			}),
		},
	}
}

// FoldName is the name of the fold of each row, Int, among the rows of Folds.
const FoldName = "fold"

// Folds is the problem of hyperparameters that are judged by k-fold cross-validation. The lower variable is y = (y_1,
// …, y_k), a model for each fold that is trained on the rows of all other folds:
//
//	min_x  mean over folds i of the mean over rows of fold i of Scores(y_i*(x))
//	s.t.   y*(x) = argmin_y  Σ_i mean over rows of other folds of Losses(x, y_i) + Penalty(x, y_i)
//
// Folds are of one size, so that both levels are means over all rows, and minibatches of them have unbiased gradients.
func (l Learner) Folds(x params.Values, rows problem.Rows, k int) *problem.Problem {
	size := l.Start.Size()
	part := func(y *tensor.Node, i int) *tensor.Node { return y.Slice(0, i*size, (i+1)*size) }
	inside := func(b problem.Batch, i int) *tensor.Node {
		return b.Get(FoldName).Eq(tensor.IntConst(int32(i)))
	}
	start := params.Values{}
	for range k {
		start.Flat = append(start.Flat, l.Start.Flat...)
	}
	return &problem.Problem{
		Name: "hyperparameters by folds",
		Lower: problem.Level{
			Start: start, Rows: rows,
			Value: problem.Flat(func(x, y *tensor.Node, b problem.Batch) *tensor.Node {
				sum := tensor.Const(0)
				for i := range k {
					outside := tensor.Const(1).Sub(inside(b, i)).Scale(float64(k) / float64(k-1))
					loss := l.Losses(x, part(y, i), b).Mul(outside).Mean()
					sum = sum.Add(loss).Add(l.Penalty(x, part(y, i)))
				}
				return sum
			}),
		},
		Upper: problem.Level{
			Start: x, Rows: rows,
			Value: problem.Flat(func(_, y *tensor.Node, b problem.Batch) *tensor.Node {
				sum := tensor.Const(0)
				for i := range k {
					sum = sum.Add(l.Scores(part(y, i), b).Mul(inside(b, i)).Mean())
				}
				return sum
			}),
		},
	}
}
