package attack

import (
	"bilevel/models"
	"bilevel/tensor"
)

// A loss is what an attack makes large: a number for each row of logits z [B, c], with labels y Int [B] and, for
// targeted ones, the target t Int [B].
type loss func(z, y, t *tensor.Node) *tensor.Node

// out is what a class's logit is replaced with where it must not be the largest.
const out = -1e30

// pick is the logit of class i of each row, [B].
func pick(z, i *tensor.Node) *tensor.Node {
	return tensor.Where(tensor.OneHot(i, z.Shape()[1]), z, tensor.Const(0)).Sum(1)
}

// without is z with the logit of class i of each row taken out.
func without(z, i *tensor.Node) *tensor.Node {
	return tensor.Where(tensor.OneHot(i, z.Shape()[1]), tensor.Const(out), z)
}

// top are the k largest logits of each row, the largest first, [B] each.
func top(z *tensor.Node, k int) (largest []*tensor.Node) {
	for range k {
		largest = append(largest, z.MaxOver(1))
		z = without(z, z.ArgMax())
	}
	return largest
}

// rivals are the k classes with the largest logits apart from y, the largest first, Int [B] each.
func rivals(z, y *tensor.Node, k int) (classes []*tensor.Node) {
	z = without(z, y)
	for range k {
		class := z.ArgMax()
		classes = append(classes, class)
		z = without(z, class)
	}
	return classes
}

// margin is max_{i≠y} z_i - z_y: above 0 where the row is misclassified.
func margin(z, y *tensor.Node) *tensor.Node { return without(z, y).MaxOver(1).Sub(pick(z, y)) }

// wrong is 1 for rows that are not of their class, and 0 for the others.
func wrong(z, y *tensor.Node) *tensor.Node { return models.Mistakes(z, y) }

func crossEntropy(z, y, _ *tensor.Node) *tensor.Node { return tensor.CrossEntropy(z, y) }

// dlr is the difference of logits ratio (Croce, Hein, ICML 2020, eq. 6). π sorts the logits, the largest first:
//
//	(max_{i≠y} z_i - z_y) / (z_π1 - z_π3)
func dlr(z, y, _ *tensor.Node) *tensor.Node {
	t := top(z, 3)
	return margin(z, y).Div(t[0].Sub(t[2]).AddConst(tiny))
}

// targetedDLR is its targeted form (eq. 7), which neither shift nor scale of the logits changes:
//
//	(z_t - z_y) / (z_π1 - (z_π3 + z_π4)/2)
func targetedDLR(z, y, target *tensor.Node) *tensor.Node {
	t := top(z, 4)
	spread := t[0].Sub(t[2].Add(t[3]).Scale(0.5))
	return pick(z, target).Sub(pick(z, y)).Div(spread.AddConst(tiny))
}
