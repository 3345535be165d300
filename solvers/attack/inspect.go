package attack

import (
	"context"
	"errors"
	"fmt"
	"math"

	"bilevel/tensor"
)

// classify is the logits of images [rows, d] that the host has.
func (a *Attacker) classify(images []float32, rows int) ([]float64, error) {
	if err := a.spaces.makeRoom(rows); err != nil {
		return nil, err
	}
	x, z := a.variable("candidate", tensor.Real, rows, a.Inputs), a.variable("logits", tensor.Real, rows, a.Classes)
	if err := x.Write32(images); err != nil {
		return nil, err
	}
	f, err := a.spaces.program("classify", rows, func() []tensor.Update {
		return []tensor.Update{{Var: z, Value: a.logits(x.Node())}}
	})
	if err != nil {
		return nil, err
	}
	if err := f.Run(1); err != nil {
		return nil, err
	}
	return z.Read()
}

// clean scores the images themselves, and inspects the outputs of the model.
func (a *Attacker) clean(ctx context.Context, r *Result, s Samples) error {
	d, largest := a.Inputs, a.sizes[len(a.sizes)-1]
	probabilities := true
	for from := 0; from < s.N(); from += largest {
		if err := ctx.Err(); err != nil {
			return err
		}
		n := min(largest, s.N()-from)
		rows := a.pad(n)
		images := make([]float32, rows*d)
		copy(images, s.Images[from*d:(from+n)*d])
		z, err := a.classify(images, rows)
		if err != nil {
			return err
		}
		if from == 0 {
			if err := a.alone(r, images, z, rows); err != nil {
				return err
			}
		}
		for i := range n {
			logits := z[i*a.Classes : (i+1)*a.Classes]
			v := judge(logits, s.Labels[from+i])
			if math.IsInf(v.loss, -1) {
				return fmt.Errorf("the model's outputs for image %d are not finite: %.4g", from+i, logits)
			}
			probabilities = probabilities && isDistribution(logits)
			r.Clean[from+i], r.Robust[from+i] = !v.wrong, !v.wrong
			r.By[from+i], r.Loss[from+i] = -1, v.loss
		}
	}
	if !probabilities {
		return nil
	}
	const says = "the model's outputs are probabilities for every image (each is at least 0, and their sum is 1), so " +
		"that gradients vanish where it is sure"
	if !a.o.AcceptProbabilities {
		return errors.New(says + ": give the logits, without the softmax at the end")
	}
	r.Warnings = append(r.Warnings, says+": robustness may be overstated")
	return nil
}

// isDistribution tells whether numbers are probabilities, up to the rounding of float32.
func isDistribution(p []float64) bool {
	const tolerance = 1e-5
	sum := 0.0
	for _, v := range p {
		if v < -tolerance {
			return false
		}
		sum += v
	}
	return math.Abs(sum-1) < tolerance
}

// alone warns where the logits of the first image depend on its place in the batch, or on the other images there: the
// model draws random numbers, or normalizes by the statistics of the batch.
func (a *Attacker) alone(r *Result, images []float32, z []float64, rows int) error {
	if rows == 1 {
		return nil
	}
	d, same := a.Inputs, make([]float32, len(images))
	for i := range rows {
		copy(row(same, i, d), row(images, 0, d))
	}
	again, err := a.classify(same, rows)
	if err != nil {
		return err
	}
	most, size := 0.0, 0.0
	for j := range a.Classes {
		size += z[j] * z[j]
		for i := range rows {
			most = max(most, math.Abs(again[i*a.Classes+j]-z[j]))
		}
	}
	// Rounding in another order is far below, what a random layer does far above.
	const part = 1e-4
	if most > part*math.Sqrt(size) {
		r.Warnings = append(r.Warnings, fmt.Sprintf("the model's outputs for an image depend on its place in the "+
			"batch or on the other images there (they differ by %.2g): it draws random numbers, or normalizes by the "+
			"batch; robustness may be overstated, since attacks meet another function at every step", most))
	}
	return nil
}

// watch counts what warnings are made of, by attack.
type watch struct{ zero, rows, late []int }

func newWatch(attacks int) *watch {
	return &watch{make([]int, attacks), make([]int, attacks), make([]int, attacks)}
}

// zeroGradients counts the rows of a batch where the first gradient is 0.
func (b *batchRun) zeroGradients() error {
	zero, err := b.entry(b.state, "zero", b.rows).Read()
	if err != nil {
		return err
	}
	for i := range b.slots {
		if zero[i] != 0 {
			b.watch.zero[b.k]++
		}
	}
	b.watch.rows[b.k] += len(b.slots)
	return nil
}

// write puts what has been counted into words.
func (w *watch) write(r *Result, plans []*plan) {
	warn := func(format string, args ...any) { r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...)) }
	gradients := 0 // images that attacks by gradients broke
	for k, p := range plans {
		if w.zero[k] > 0 {
			warn("%s: the gradient was 0 at %d of %d start points, so that the attack could not move them: the model "+
				"may be saturated or not differentiable, and robustness overstated", p.name, w.zero[k], w.rows[k])
		}
		if p.late && w.late[k] > 0 {
			warn("%s: %d images were broken only after the last checkpoint: more steps would probably break more",
				p.name, w.late[k])
		}
		t := r.Attacks[k]
		if !p.blind {
			gradients += t.Broken
			continue
		}
		const share = 0.002 // of all images, as in the authors' program
		if float64(t.Broken) > share*float64(len(r.Robust)) && gradients > 0 {
			warn("%s: it broke %d images that no attack by gradients had: gradients may be masked, and robustness "+
				"overstated", p.name, t.Broken)
		}
	}
}
