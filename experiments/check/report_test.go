package check

import (
	"context"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/ref"
	"bilevel/tensor"
)

func TestTry(t *testing.T) {
	for _, p := range Problems() {
		dev := ref.New()
		ex := tensor.NewExecutor(dev)
		r, err := p.Report(context.Background(), ex, Options{Seed: 1})
		require.NoError(t, err, p.Name)
		require.NoError(t, r.Write(os.Stdout))
		os.Stdout.WriteString("\n-----\n")
	}
}
