package prune

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"time"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/models/sparse"
	"bilevel/tensor"
)

// batches are the sizes that latencies are measured for.
var batches = []int{1, 64}

// network is a model with its numbers, and with the mask that its products apply to them, where there is one.
type network struct {
	models.Model
	p, state params.Values
	mask     []float64
}

// layered is a model that can be run as a sparse network.
type layered interface {
	Layers(p, state params.Values) ([]models.Affine, error)
}

// latencies measures the networks, the compacted one also with its weights kept without zeros, and where such a network
// begins to be faster than a dense one.
func (t *task) latencies(ctx context.Context, nets map[string]network) error {
	note := func(name string, batch int, ms float64) {
		t.record.Scalars[fmt.Sprintf("latency.%s_%d", name, batch)] = ms
	}
	for name, n := range nets {
		for _, batch := range batches {
			ms, err := n.latency(ctx, t.ex, t.parts[0].Dim, batch)
			if err != nil {
				return err
			}
			note(name, batch, ms)
		}
	}
	n, ok := nets["compacted"]
	if _, affine := n.Model.(layered); !ok || !affine || t.ex.Info().Name != "cpu" {
		return nil
	}
	threads := t.ex.Info().Threads
	even := make([]float64, len(batches))
	for i, batch := range batches {
		ms, err := n.sparse(ctx, batch, threads, time.Second/20)
		if err != nil {
			return err
		}
		note("sparse", batch, ms)
		dense := t.record.Scalars[fmt.Sprintf("latency.dense_%d", batch)]
		if even[i], err = nets["masked"].breakEven(ctx, batch, threads, dense); err != nil {
			return err
		}
		note("break_even", batch, even[i])
	}
	t.record.Texts["break_even"] = fmt.Sprintf("Here a network of this shape with its weights kept without zeros is "+
		"faster than the dense one below %s of its weights at batch %d, and below %s at batch %d.", percent(even[0]),
		batches[0], percent(even[1]), batches[1])
	return nil
}

// percent is a part with two digits, and whole above 10 %.
func percent(part float64) string {
	if part >= 0.1 {
		return fmt.Sprintf("%.0f %%", 100*part)
	}
	return fmt.Sprintf("%.2g %%", 100*part)
}

// sparse is the least time in milliseconds that the network takes with its weights kept without zeros.
func (n network) sparse(ctx context.Context, batch, threads int, d time.Duration) (float64, error) {
	layers, err := n.Model.(layered).Layers(n.p, n.state)
	if err != nil {
		return 0, err
	}
	s, err := sparse.New(layers, batch, threads)
	if err != nil {
		return 0, err
	}
	defer s.Close()
	return least(ctx, d, s.Run)
}

// breakEven is the part of the weights at which the network, masked by chance, would be as fast with its weights kept
// without zeros as the dense one: it is measured at halves, quarters and so on, and found between the two on whose
// sides it lies. 1 and 0 say that it lies beyond all of them.
func (n network) breakEven(ctx context.Context, batch, threads int, dense float64) (float64, error) {
	r := rand.New(rand.NewPCG(1, 2))
	at := make([]float64, n.p.Size()) // a weight is there where the part is above its number
	for i := range at {
		at[i] = r.Float64()
	}
	before := 0.0
	for part := 1.0; part > 1e-3; part /= 2 {
		z := n.p.Like(make([]float64, n.p.Size()))
		for _, a := range z.Layout {
			for i := a.Off; i < a.Off+a.Size(); i++ {
				if at[i] < part || !models.IsWeight(a) {
					z.Flat[i] = 1 / math.Sqrt(float64(1+a.Size())) // any number that is not 0
				}
			}
		}
		ms, err := network{n.Model, z, n.state, nil}.sparse(ctx, batch, threads, time.Second/100)
		switch {
		case err != nil || math.IsNaN(ms):
			return math.NaN(), err
		case ms <= dense && before == 0:
			return 1, nil
		case ms <= dense: // the time is about a power of the part in between
			return part * math.Pow(2, math.Log(dense/ms)/math.Log(before/ms)), nil
		}
		before = ms
	}
	return 0, nil
}

// latency is the least time in milliseconds that the network takes for a batch of zeros on an executor's device.
func (n network) latency(ctx context.Context, ex *tensor.Executor, inputs, batch int) (ms float64, err error) {
	sc := ex.Scope()
	defer func() { err = errors.Join(err, sc.Close()) }()
	p, x := sc.Variable("parameters", tensor.Real, n.p.Size()), sc.Variable("inputs", tensor.Real, batch, inputs)
	if err := p.Write(n.p.Flat); err != nil {
		return 0, err
	}
	z := p.Node()
	if n.mask != nil {
		m := sc.Variable("mask", tensor.Real, len(n.mask))
		if err := m.Write(n.mask); err != nil {
			return 0, err
		}
		z = z.Mul(m.Node())
	}
	var state *tensor.Node
	if n.state.Size() > 0 {
		v := sc.Variable("state", tensor.Real, n.state.Size())
		if err := v.Write(n.state.Flat); err != nil {
			return 0, err
		}
		state = v.Node()
	}
	f := sc.Compile("latency", func() []tensor.Update {
		out, _ := n.Apply(z, state, x.Node(), params.Eval)
		return []tensor.Update{{Var: sc.Variable("outputs", tensor.Real, out.Shape()...), Value: out}}
	})
	if err := sc.Err(); err != nil {
		return 0, err
	}
	return least(ctx, time.Second/20, func() error {
		if err := f.Run(1); err != nil {
			return err
		}
		return ex.Sync()
	})
}

// least is the least time in milliseconds of some tries within a time, of three where each takes longer.
func least(ctx context.Context, d time.Duration, run func() error) (ms float64, err error) {
	const tries, most = 3, 1000
	for i, begin := 0, time.Now(); i < tries || i < most && time.Since(begin) < d; i++ {
		at := time.Now()
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := run(); err != nil {
			return 0, err
		}
		if took := time.Since(at).Seconds() * 1e3; i == 0 || took < ms {
			ms = took
		}
	}
	return ms, nil
}
