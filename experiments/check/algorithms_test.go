package check

import (
	"bytes"
	"context"
	"testing"

	"bilevel/device/ref"
	"bilevel/solvers"
	"bilevel/tensor/tensortest"

	"github.com/stretchr/testify/require"
)

// The table has a row for every algorithm, with the state and the calls that the papers of some of them give.
func TestAlgorithmsAreListed(t *testing.T) {
	var b bytes.Buffer
	require.NoError(t, WriteAlgorithms(context.Background(), &b, tensortest.Executor(t, ref.New())))
	for _, e := range solvers.Algorithms() {
		require.Contains(t, b.String(), "\n"+e.Name()+" ")
		require.Contains(t, b.String(), e.Source)
	}
	for _, row := range []string{
		`soba +implicit +one +of x +no +no +[^ ]+ +p \+ 2q +1 ∇G, 1 ∇F, 1 Hv, 1 Cv +Dagréou`,
		`f2sa +value function +two +of x and y +yes +no +[^ ]+ +p \+ 2q +22 ∇G, 11 ∇F +Kwon`,
		`stocbio +implicit +two +of x +no +no +[^ ]+ +p \+ 2q +10 ∇G, 1 ∇F, 10 Hv, 1 Cv`,
		`ttsa +implicit +one +of x +no +no +[^ ]+( ε⁻¹)? +2p \+ 2q +1 ∇G, 1 ∇F, 0 to 9 Hv, 1 Cv`,
		`bome +value function +two +none +yes +no +– +p \+ 2q +12 ∇G, 1 ∇F`,
		`itd-bio +unrolled +two +of x +no +no +[^ ]+ +p \+ q +10 ∇G, 1 ∇F, 9 Hv, 10 Cv`,
		`saba +implicit +one +of x +no +no +[^ ]+( ε⁻¹)? +2p \+ 4q \+ np \+ 2nq \+ mp \+ mq +1 ∇G, 1 ∇F, 1 Hv, 1 Cv`,
		`hoag +implicit +two +of x +no +no +asymptotic +p \+ 2q +\d+ to \d+ ∇G, 2 ∇F, \d+ to \d+ Hv, 1 Cv`,
		`morbit +implicit +one +of x +no +yes +√n K\^-2/5 +p \+ 2q \+ 1 +1 ∇G, 2 ∇F, 10 Hv, 1 Cv +Gu`,
		`mmb +implicit +one +of x +no +yes +ε⁻² +2p \+ 2q +1 ∇G, 1 ∇F, 1 Hv, 1 Cv +Hu`,
		`f2sa-adam +value function +two +of x and y +yes +no +– +3p \+ 6q \+ 2 +22 ∇G`,
	} {
		require.Regexp(t, "(?m)^"+row, b.String())
	}
}

// One algorithm is shown with what it does and assumes, and each setting with its default.
func TestOneAlgorithmIsShown(t *testing.T) {
	ex := tensortest.Executor(t, ref.New())
	for _, e := range solvers.Algorithms() {
		var b bytes.Buffer
		require.NoError(t, WriteAlgorithm(context.Background(), &b, ex, e))
		require.Contains(t, b.String(), e.About)
		require.Contains(t, b.String(), e.Zero.Needs().Why)
		for _, name := range solvers.Fields(e.Zero) {
			require.Regexp(t, "(?m)^"+name+" +[^ ]", b.String())
		}
	}
	var b bytes.Buffer
	bome, err := solvers.AlgorithmByName("bome")
	require.NoError(t, err)
	require.NoError(t, WriteAlgorithm(context.Background(), &b, ex, bome))
	require.Regexp(t, "(?m)^step +measured at the start +step size of y", b.String())
	require.Regexp(t, "(?m)^inner_steps +10 +steps on the lower level", b.String())
	require.Regexp(t, "(?m)^phi +grad_norm ", b.String())
}
