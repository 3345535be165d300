package cuda_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"

	"bilevel/device/cuda"
	"bilevel/device/cuda/driver"
	"bilevel/device/cuda/sim"
	"bilevel/internal/ptx"
	"bilevel/solvers"
	"bilevel/solvers/problem"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
)

// orders is how many orders of the nodes of a graph are tried.
const orders = 20

// soba runs iterations of SOBA with minibatches, whose graph has branches, and gives the state at the end. The nodes of
// graphs run in the order of a seed, after change.
func soba(t *testing.T, seed uint64, change func([]driver.Node) []driver.Node) (*recorder, []float64, error) {
	t.Helper()
	card, err := ptx.FindCard("h100")
	require.NoError(t, err)
	card.SMs = 1 // which makes kernels of a graph too large to become one
	drv := sim.Of(card)
	drv.Seed = seed
	rec := &recorder{Driver: drv, texts: map[string]bool{}, change: change}
	d, err := cuda.New(through(t, rec), cuda.Options{Name: "cuda-sim"})
	require.NoError(t, err)
	ex := tensor.NewExecutor(d)
	l, err := solvertest.Load(ex, solvertest.NewFiniteSum(1, 8, 6, 2, solvertest.Spectrum(3, 10)))
	require.NoError(t, err)
	l.Lower.Sampler, l.Upper.Sampler = problem.WithReplacement(2), problem.WithReplacement(2)
	b, err := l.Problem.Bind(ex)
	require.NoError(t, err)
	s, _, err := solvers.Init(context.Background(), b, solvers.SOBA{Step: 0.1, OuterStep: 0.05}, 100, 1)
	require.NoError(t, err)
	err = s.Step(context.Background(), 0, 2)
	var state []float64
	if err == nil {
		err = d.Sync()
	}
	if err == nil {
		for _, name := range s.Names() {
			values, e := s.Variable(name).Read()
			require.NoError(t, e)
			state = append(state, values...)
		}
	}
	return rec, state, err
}

// longest is the number of nodes in the longest chain.
func longest(nodes []driver.Node) int {
	depth, most := make([]int, len(nodes)), 0
	for i, n := range nodes {
		for _, a := range n.After {
			depth[i] = max(depth[i], depth[a])
		}
		depth[i]++
		most = max(most, depth[i])
	}
	return most
}

// The kernels of an iteration run in many orders to the same bits, and under the sanitizer no two of them meet in a
// word without one waiting for the other.
func TestBranchesInManyOrders(t *testing.T) {
	rec, want, err := soba(t, 0, nil)
	require.NoError(t, err)
	branched := slices.IndexFunc(rec.nodes, func(n []driver.Node) bool { return longest(n) < len(n) })
	require.NotEqual(t, -1, branched, "no graph has branches")
	for seed := range uint64(orders) {
		_, got, err := soba(t, 1+seed, nil)
		require.NoError(t, err)
		require.Equal(t, want, got, "order %d", seed)
	}
}

// Where a graph lacks one of its edges, the sanitizer says so in nearly every order.
func TestMissingEdgesAreFound(t *testing.T) {
	rec, _, err := soba(t, 0, nil)
	require.NoError(t, err)
	which := 0 // the largest graph, which is the iteration
	for i, n := range rec.nodes {
		if len(n) > len(rec.nodes[which]) {
			which = i
		}
	}
	type edge struct{ node, at int }
	var edges []edge
	for i, n := range rec.nodes[which] {
		for k := range n.After {
			edges = append(edges, edge{i, k})
		}
	}
	random := rand.New(rand.NewPCG(1, 2))
	for _, e := range []edge{edges[random.IntN(len(edges))], edges[random.IntN(len(edges))]} {
		found := 0
		for seed := range uint64(orders) {
			n := -1
			_, _, err := soba(t, 1+seed, func(nodes []driver.Node) []driver.Node {
				if n++; n != which {
					return nodes
				}
				nodes = slices.Clone(nodes)
				nodes[e.node].After = slices.Delete(slices.Clone(nodes[e.node].After), e.at, e.at+1)
				return nodes
			})
			if err != nil {
				require.ErrorContains(t, err, "of a graph are not ordered, but both use word")
				found++
			}
		}
		require.GreaterOrEqual(t, found, orders-1, fmt.Sprint(e))
	}
}
