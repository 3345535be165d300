//go:build cuda

package bridge_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"bilevel/device/cuda/driver"
)

// fake is a driver in a hundred lines: memory by address, three kernels, graphs as lists. It does all work at once.
type fake struct {
	cards  []driver.Card
	opened []*fakeContext
	mu     sync.Mutex
}

func (d *fake) Cards() ([]driver.Card, error) { return d.cards, nil }

func (d *fake) Open(i int) (driver.Context, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	c := &fakeContext{card: d.cards[i], next: 4096, memory: map[driver.Ptr][]byte{}, pinned: map[*byte]bool{}}
	d.opened = append(d.opened, c)
	return c, nil
}

type fakeContext struct {
	card     driver.Card
	mu       sync.Mutex
	next     driver.Ptr
	memory   map[driver.Ptr][]byte
	pinned   map[*byte]bool
	launches []driver.Launch
	graphs   [][]driver.Node
	open     int // modules, streams, events and graphs
	waits    int // for events
	closed   bool
}

func (c *fakeContext) Card() driver.Card { return c.card }

func (c *fakeContext) Alloc(n int64) (driver.Ptr, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n > c.card.Memory {
		return 0, &driver.Error{Call: "Alloc", Code: driver.OutOfMemory, Detail: "the card is small"}
	}
	p := c.next
	c.next += driver.Ptr(n+255) &^ 255
	c.memory[p] = make([]byte, n)
	return p, nil
}

func (c *fakeContext) Free(p driver.Ptr) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.memory[p] == nil {
		return &driver.Error{Code: driver.InvalidValue, Detail: "not allocated"}
	}
	delete(c.memory, p)
	return nil
}

// at is the memory from p on.
func (c *fakeContext) at(p driver.Ptr, n int64) []byte {
	for from, m := range c.memory {
		if p >= from && int64(p-from)+n <= int64(len(m)) {
			return m[p-from:][:n]
		}
	}
	return nil
}

func (c *fakeContext) Pinned(n int) ([]byte, error) {
	b := make([]byte, n)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pinned[&b[0]] = true
	return b, nil
}

func (c *fakeContext) FreeMemory() (int64, error) { return 0, nil }

func (c *fakeContext) FreePinned(b []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.pinned, &b[0])
	return nil
}

func (c *fakeContext) Load(ptx string) (driver.Module, error) {
	if ptx != "good" {
		return nil, &driver.Error{Code: driver.InvalidPTX, Detail: "line 1: " + ptx}
	}
	c.count(1)
	return &fakeModule{c}, nil
}

func (c *fakeContext) Stream() (driver.Stream, error)   { c.count(1); return &fakeStream{c: c}, nil }
func (c *fakeContext) Event(bool) (driver.Event, error) { c.count(1); return &fakeEvent{c: c}, nil }
func (c *fakeContext) Close() error                     { c.closed = true; return nil }
func (c *fakeContext) count(n int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.open += n
	return nil
}

type fakeModule struct{ c *fakeContext }

func (m *fakeModule) Unload() error { return m.c.count(-1) }
func (m *fakeModule) Function(name string) (driver.Function, error) {
	sizes, ok := map[string][]int{"add": {8, 4, 4}, "fail": {}, "wide": {2, 24, 1}}[name]
	if !ok {
		return nil, &driver.Error{Code: driver.NotFound, Detail: "no kernel " + name}
	}
	return &fakeFunction{name: name, sizes: sizes}, nil
}

type fakeFunction struct {
	name   string
	sizes  []int
	shared int
}

func (f *fakeFunction) Name() string            { return f.name }
func (f *fakeFunction) ParamSizes() []int       { return f.sizes }
func (f *fakeFunction) AllowShared(n int) error { f.shared = n; return nil }

type fakeStream struct{ c *fakeContext }

// do does work.
func (s *fakeStream) do(f func() error) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return f()
}

func (s *fakeStream) Launch(f driver.Function, l driver.Launch) error {
	k := f.(*fakeFunction)
	return s.do(func() error {
		if k.name == "fail" {
			return &driver.Error{Code: driver.LaunchFailed, Detail: "thread 3 read where nothing is"}
		}
		if l.Shared > s.c.card.MaxShared && l.Shared > k.shared {
			return errors.New("shared memory")
		}
		s.c.launches = append(s.c.launches, l)
		if k.name == "add" { // out[0:n] += step, words
			n := binary.LittleEndian.Uint32(l.Args[2])
			to := s.c.at(driver.Ptr(binary.LittleEndian.Uint64(l.Args[0])), int64(4*n))
			for i := range n {
				v := binary.LittleEndian.Uint32(to[4*i:])
				binary.LittleEndian.PutUint32(to[4*i:], v+binary.LittleEndian.Uint32(l.Args[1]))
			}
		}
		return nil
	})
}

func (s *fakeStream) ToDevice(dst driver.Ptr, src []byte) error {
	return s.do(func() error { return s.copied(copy(s.c.at(dst, int64(len(src))), src), len(src)) })
}

func (s *fakeStream) ToHost(dst []byte, src driver.Ptr) error {
	return s.do(func() error { return s.copied(copy(dst, s.c.at(src, int64(len(dst)))), len(dst)) })
}

func (s *fakeStream) Copy(dst, src driver.Ptr, n int64) error {
	return s.do(func() error { return s.copied(copy(s.c.at(dst, n), s.c.at(src, n)), int(n)) })
}

func (s *fakeStream) copied(got, want int) error {
	if got != want {
		return &driver.Error{
			Code: driver.InvalidValue, Detail: fmt.Sprintf("%d of %d bytes lie in an allocation", got, want),
		}
	}
	return nil
}

func (s *fakeStream) Fill(dst driver.Ptr, word uint32, n int64) error {
	return s.do(func() error {
		to := s.c.at(dst, 4*n)
		for i := 0; i < len(to); i += 4 {
			binary.LittleEndian.PutUint32(to[i:], word)
		}
		return s.copied(len(to), int(4*n))
	})
}

func (s *fakeStream) Record(e driver.Event) error {
	return s.do(func() error { e.(*fakeEvent).launches = len(s.c.launches); return nil })
}
func (s *fakeStream) Synchronize() error { return nil }

func (c *fakeContext) Graph(nodes []driver.Node) (driver.Graph, error) {
	for i, n := range nodes {
		if n.Function.Name() == "wide" {
			return nil, &driver.NodeError{Node: i, Err: &driver.Error{Code: driver.InvalidValue, Detail: "too wide"}}
		}
	}
	c.graphs = append(c.graphs, nodes)
	c.count(1)
	return &fakeGraph{c, nodes}, nil
}

func (s *fakeStream) Replay(g driver.Graph) error {
	for _, n := range g.(*fakeGraph).nodes {
		if err := s.Launch(n.Function, n.Launch); err != nil {
			return err
		}
	}
	return nil
}
func (s *fakeStream) Close() error { return s.c.count(-1) }

type fakeGraph struct {
	c     *fakeContext
	nodes []driver.Node
}

func (g *fakeGraph) Nodes() int   { return len(g.nodes) }
func (g *fakeGraph) Close() error { return g.c.count(-1) }

// fakeEvent tells time by launches.
type fakeEvent struct {
	c        *fakeContext
	launches int
}

func (e *fakeEvent) Since(earlier driver.Event) (float64, error) {
	return float64(e.launches - earlier.(*fakeEvent).launches), nil
}
func (e *fakeEvent) Synchronize() error {
	e.c.waits++
	return nil
}
func (e *fakeEvent) Close() error { return e.c.count(-1) }
