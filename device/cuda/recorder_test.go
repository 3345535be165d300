package cuda_test

import (
	"bilevel/device/cuda/driver"
)

// recorder is a driver that keeps the texts it is given and, of each graph in the order of capture, the names of its
// kernels. One goroutine uses it.
type recorder struct {
	driver.Driver
	texts  map[string]bool
	graphs [][]string
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

func (c *recordedContext) Stream() (driver.Stream, error) {
	s, err := c.Context.Stream()
	return &recordedStream{Stream: s, r: c.r}, err
}

type recordedStream struct {
	driver.Stream
	r       *recorder
	kernels []string // launched since the capture began
}

func (s *recordedStream) BeginCapture() error {
	s.kernels = nil
	return s.Stream.BeginCapture()
}

func (s *recordedStream) Launch(f driver.Function, l driver.Launch) error {
	s.kernels = append(s.kernels, f.Name())
	return s.Stream.Launch(f, l)
}

func (s *recordedStream) EndCapture() (driver.Graph, error) {
	s.r.graphs = append(s.r.graphs, s.kernels)
	return s.Stream.EndCapture()
}
