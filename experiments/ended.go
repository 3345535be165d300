package experiments

import (
	"context"
	"errors"
	"fmt"

	"bilevel/tensor"
)

// Ended closes the scope of a cell whose run ended with a record or an error, and gives what Experiment.Run gives.
// Where ctx is done the device may still be busy: then nothing is freed.
func Ended(ctx context.Context, sc *tensor.Scope, cell Cell, r *Record, err error) (*Record, error) {
	if ctx.Err() != nil {
		return nil, errors.Join(err, ctx.Err())
	}
	if err = errors.Join(err, sc.Close()); err != nil {
		return nil, fmt.Errorf("seed %d: %w", cell.Seed, err)
	}
	return r, nil
}
