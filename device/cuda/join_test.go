package cuda

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/kernels"
)

// Of random graphs, every piece is in one joint; what a piece waits for is in a joint before, or in an earlier step of
// its own, or among the blocks whose last one does its steps; blocks side by side fit on the card; and no chain of
// joints is longer than the longest chain of pieces.
func TestJoints(t *testing.T) {
	const processors = 20
	random := rand.New(rand.NewPCG(1, 2))
	joined, tailed := 0, 0
	for range 2000 {
		pieces := make([]piece, 1+random.IntN(30))
		longest := make([]int, len(pieces))
		most := 0
		for i := range pieces {
			p := &pieces[i]
			p.Launch = kernels.Launch{
				Entry: string(rune('a' + random.IntN(3))), Grid: [3]int{1 + random.IntN(12), 1, 1},
				Block: [3]int{128 << random.IntN(2), 1, 1},
			}
			p.small = p.Block[0] == 256 && p.Grid[0] <= fewBlocks
			for a := range i {
				if random.IntN(i) < 2 {
					p.after = append(p.after, a)
					longest[i] = max(longest[i], longest[a])
				}
			}
			longest[i]++
			most = max(most, longest[i])
		}
		at, step := make([]int, len(pieces)), make([]int, len(pieces))
		seen := 0
		list := joints(pieces, processors)
		for k, j := range list {
			blocks := 0
			for _, i := range j.beside {
				at[i], step[i] = k, 0
				blocks += pieces[i].Grid[0]
				require.Equal(t, pieces[j.beside[0]].Block, pieces[i].Block)
			}
			require.True(t, len(j.beside) < 2 || blocks <= processors)
			for s, of := range j.steps {
				for _, i := range of {
					require.True(t, pieces[i].small)
					at[i], step[i] = k, 1+s
				}
			}
			seen += len(j.pieces())
			if len(j.pieces()) > 1 {
				joined++
			}
			if len(j.beside) > 0 && len(j.steps) > 0 {
				tailed++
			}
		}
		require.Equal(t, len(pieces), seen)
		depth := make([]int, len(list))
		for k, j := range list {
			for _, i := range j.pieces() {
				for _, a := range pieces[i].after {
					require.True(t, at[a] < k || at[a] == k && step[a] < step[i], "piece %d waits for %d", i, a)
					if at[a] < k {
						depth[k] = max(depth[k], depth[at[a]])
					}
				}
			}
			depth[k]++
		}
		require.LessOrEqual(t, slices.Max(depth), most)
	}
	require.Greater(t, joined, 1000)
	require.Greater(t, tailed, 20)
}
