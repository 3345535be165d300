package kernels_test

import (
	"context"
	"encoding/binary"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// The products copy slices of their factors ahead of their use. Without any one of the waits for these copies the
// sanitizer reports that what is read has not arrived.
func TestMissingWaitsAreFound(t *testing.T) {
	const m, n, k = 64, 64, 96
	wait := regexp.MustCompile(`(?m)^\s*cp\.async\.wait_all;`)
	text, err := kernels.PTX("gemm_64")
	require.NoError(t, err)
	places := append([][]int{{0, 0}}, wait.FindAllStringIndex(text, -1)...) // first none
	require.Greater(t, len(places), 2)
	for i, at := range places {
		mod, err := ptx.Load("mutant", text[:at[0]]+text[at[1]:])
		require.NoError(t, err)
		r := newRig(t, ptx.Options{Sanitize: true})
		a, b, out := put(r, "a", r.normals(m*k)), put(r, "b", r.normals(k*n)), r.blank("out", m*n)
		plan := kernels.Gemm{Batch: 1, M: m, N: n, K: k, Processors: 1,
			A:   kernels.Strided{Number: a, Strides: [3]int{0, 1, m}},
			B:   kernels.Strided{Number: b, Strides: [3]int{0, n, 1}},
			Out: kernels.Strided{Number: out, Strides: [3]int{0, n, 1}},
		}.Plan()
		require.Len(t, plan.Launches, 1)
		l := plan.Launches[0]
		require.Equal(t, "gemm_64", l.Module)
		launch := ptx.Launch{Kernel: mod.Kernel(l.Entry), Grid: l.Grid, Block: l.Block, Shared: l.Shared}
		for _, arg := range l.Args {
			if o, ok := arg.(kernels.Operand); ok {
				arg = r.operands[o.Number] + 4*uint64(o.Off)
			}
			bytes, err := binary.Append(nil, binary.LittleEndian, arg)
			require.NoError(t, err)
			launch.Args = append(launch.Args, bytes)
		}
		result, err := r.machine.Run(context.Background(), launch)
		require.NoError(t, err)
		if i == 0 {
			require.Empty(t, result.Reports)
			continue
		}
		found := false
		for _, report := range result.Reports {
			found = found || report.Kind == ptx.MissingAsyncWait
		}
		require.True(t, found, "wait %d: %v", i, result.Reports)
	}
}
