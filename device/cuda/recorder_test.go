package cuda_test

import (
	"bilevel/device/cuda/driver"
)

// recorder is a driver that keeps the texts it is given and, of each graph, its nodes and the names of their kernels.
// One goroutine uses it.
type recorder struct {
	driver.Driver
	texts  map[string]bool
	graphs [][]string
	nodes  [][]driver.Node
	change func([]driver.Node) []driver.Node // nil, or what becomes of the nodes of a graph
}

func (r *recorder) Open(i int) (driver.Context, error) {
	c, err := r.Driver.Open(i)
	return &recordedContext{c, r}, err
}

type recordedContext struct {
	driver.Context
	r *recorder
}

func (c *recordedContext) Load(ptx string) (driver.Module, error) {
	c.r.texts[ptx] = true
	return c.Context.Load(ptx)
}

func (c *recordedContext) Graph(nodes []driver.Node) (driver.Graph, error) {
	var names []string
	for _, n := range nodes {
		names = append(names, n.Function.Name())
	}
	c.r.graphs, c.r.nodes = append(c.r.graphs, names), append(c.r.nodes, nodes)
	if c.r.change != nil {
		nodes = c.r.change(nodes)
	}
	return c.Context.Graph(nodes)
}
