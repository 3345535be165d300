package sim

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	"bilevel/device/cuda/driver"
	"bilevel/internal/ptx"
)

// graph is launches, of which a replay may take those that are not ordered in any order, and does so by Options.Seed.
// Under the sanitizer it also checks that every dependence has an edge: of two nodes that touch the same word, one of
// them writing, one comes after the other. That does not hang on the order at hand.
type graph struct {
	object
	nodes   []ptx.Launch
	after   [][]int
	before  [][]uint64 // before[i]: the nodes that are over when node i begins, a bit for each
	replays uint64
}

func (g *graph) Nodes() int { return len(g.nodes) }

func (g *graph) Close() error { return g.close("cuGraphExecDestroy") }

func (c *context) Graph(nodes []driver.Node) (driver.Graph, error) {
	const call = "cuGraphInstantiate"
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.enter(call); err != nil {
		return nil, err
	}
	g := &graph{object: object{c: c, name: "the graph"}}
	words := (len(nodes) + 63) / 64
	for i, n := range nodes {
		launch, before, err := c.node(call, g, i, n, words)
		if err != nil {
			return nil, &driver.NodeError{Node: i, Err: err}
		}
		g.nodes, g.after = append(g.nodes, launch), append(g.after, slices.Clone(n.After))
		g.before = append(g.before, before)
	}
	return g, nil
}

// node checks node i, and gives its launch and the set of nodes that are before it.
func (c *context) node(call string, g *graph, i int, n driver.Node, words int) (ptx.Launch, []uint64, error) {
	fn, launch, err := c.asked(call, n.Function, n.Launch)
	if err != nil {
		return launch, nil, err
	}
	if err := fn.of.open(call); err != nil {
		return launch, nil, err
	}
	launch.Track = !c.d.Plain
	before := make([]uint64, words)
	for _, a := range n.After {
		if a < 0 || a >= i {
			return launch, nil, &driver.Error{
				Call: call, Code: driver.InvalidValue, Detail: fmt.Sprintf("node %d is to begin after node %d", i, a),
			}
		}
		before[a/64] |= 1 << (a % 64)
		for k, w := range g.before[a] {
			before[k] |= w
		}
	}
	return launch, before, refused(call, launch, c.m.Check(launch))
}

// isBefore says whether node a is over when node b begins.
func (g *graph) isBefore(a, b int) bool { return g.before[b][a/64]>>(a%64)&1 != 0 }

// order is one in which a card may run the nodes: that of the list, or by a seed.
func (g *graph) order() []int {
	order := make([]int, 0, len(g.nodes))
	waits := make([]int, len(g.nodes))
	next := make([][]int, len(g.nodes))
	var ready []int
	for i, after := range g.after {
		for _, a := range after {
			next[a] = append(next[a], i)
		}
		if waits[i] = len(after); waits[i] == 0 {
			ready = append(ready, i)
		}
	}
	random := rand.New(rand.NewPCG(g.c.d.Seed, g.replays))
	for len(ready) > 0 {
		k := 0
		if g.c.d.Seed != 0 {
			k = random.IntN(len(ready))
		} else {
			for j := range ready {
				if ready[j] < ready[k] {
					k = j
				}
			}
		}
		i := ready[k]
		ready = slices.Delete(ready, k, k+1)
		order = append(order, i)
		for _, n := range next[i] {
			if waits[n]--; waits[n] == 0 {
				ready = append(ready, n)
			}
		}
	}
	return order
}

// replay runs all nodes. The clock goes on by the longest chain: what it costs that nodes share the card is not known
// here.
func (g *graph) replay(call string) error {
	g.replays++
	c := g.c
	begin := c.clock
	over := make([]float64, len(g.nodes))
	end := begin
	touched := make([][]ptx.Touched, len(g.nodes))
	var done []int
	for _, i := range g.order() {
		time, touches, err := c.launch(g.nodes[i])
		var failed *driver.Error
		if errors.As(err, &failed) { // the call that failed is the replay
			return &driver.Error{Call: call, Code: failed.Code, Detail: failed.Detail}
		} else if err != nil {
			return err
		}
		over[i] = begin
		for _, a := range g.after[i] {
			over[i] = max(over[i], over[a])
		}
		over[i] += time + c.m.Card().Times.Node
		end = max(end, over[i])
		touched[i] = touches
		for _, k := range done {
			if !g.isBefore(k, i) {
				if what := meeting(touched[k], touches); what != "" {
					c.d.lose(&driver.Error{Code: driver.LaunchFailed, Detail: fmt.Sprintf(
						"the sanitizer reports: nodes %d (%s) and %d (%s) of a graph are not ordered, but both use %s",
						k, shape(g.nodes[k]), i, shape(g.nodes[i]), what,
					)})
				}
			}
		}
		if c.d.lost(call) != nil {
			return nil // the rest is lost with the context; the next call says so
		}
		done = append(done, i)
	}
	c.clock = end
	return nil
}

// meeting names a word that two launches touch, at least one of them writing; "" if there is none.
func meeting(a, b []ptx.Touched) string {
	for _, x := range a {
		for _, y := range b {
			if x.Base != y.Base {
				continue
			}
			for _, sets := range [][2]ptx.Words{
				{x.Written, y.Written}, {x.Written, y.Reads}, {x.Reads, y.Written},
			} {
				if n := sets[0].Meets(sets[1]); n >= 0 {
					return fmt.Sprintf("word %d of %q", n, x.Label)
				}
			}
		}
	}
	return ""
}
