package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"bilevel/solvers"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
)

// WriteAlgorithms prints the algorithms: what each can use beyond two smooth objectives, what an iteration costs with
// the settings that it chooses, as its engine counts it, and where it comes from.
func WriteAlgorithms(ctx context.Context, w io.Writer, ex *tensor.Executor) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "algorithm\tan iteration costs\tcan use\tsource")
	for _, entry := range solvers.Algorithms() {
		l, err := solvertest.Load(ex, solvertest.Scalar{})
		if err != nil {
			return err
		}
		b, err := l.Problem.Bind(ex)
		if err != nil {
			return err
		}
		e, _, err := solvers.Init(ctx, b, entry.Zero, 1, 1)
		if err != nil {
			return errors.Join(err, b.Close())
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\n", entry.Name(), e.Counts(0), entry.Zero.Needs().Usable.Nouns(), entry.Source)
		if err := errors.Join(e.Close(), b.Close()); err != nil {
			return err
		}
	}
	return t.Flush()
}
