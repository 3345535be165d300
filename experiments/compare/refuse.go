package compare

import (
	"context"
	"errors"
	"fmt"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// Refusals finds out which of some algorithms a problem refuses, or a device of so much memory (0: any), and the
// sentence of each. It compiles each of them on ex, whose device need not compute anything: no numbers are looked at.
func Refusals(ctx context.Context, ex *tensor.Executor, c Config, set *data.Dataset, algorithms []string) (
	map[string]string, error) {
	p, err := ByName(c.Problem)
	if err != nil {
		return nil, err
	}
	t, err := p.open(ex, c, set, 1)
	if err != nil {
		return nil, err
	}
	b, err := t.problem.Bind(ex)
	if err != nil {
		return nil, errors.Join(err, t.close())
	}
	if c.Tune == "bisls" {
		one := c
		one.Iterations = 1 // its calls are in no budget
		if err := one.fits(ctx, b, solvers.WithSteps(solvers.BiSLS{}), t.batch); err != nil {
			err = fmt.Errorf("tune is bisls, which the problem refuses: %w: take scale", err)
			return nil, errors.Join(err, b.Close(), t.close())
		}
	}
	refused := map[string]string{}
	for _, name := range algorithms {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		one := c
		one.Algorithm = name
		a, err := one.algorithm()
		if err == nil && t.batch > 0 {
			err = one.sample(t.problem, t.batch)
		}
		if err == nil {
			err = one.fits(ctx, b, solvers.WithSteps(a), t.batch)
		}
		if err != nil {
			refused[name] = err.Error()
		}
	}
	return refused, errors.Join(b.Close(), t.close())
}

// fits compiles an iteration of an algorithm, and sees whether the budget allows one.
func (c Config) fits(ctx context.Context, b *problem.Bound, a solvers.Algorithm, batch int) error {
	e, _, err := solvers.Init(ctx, b, a, 1, 1)
	if err != nil {
		return err
	}
	if c.Iterations == 0 {
		_, err = experiments.IterationsWithin(e, float64(c.Calls), batch)
	}
	return errors.Join(err, e.Close())
}
