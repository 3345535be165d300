//go:build cuda

package real

/*
#include <cuda.h>
#include <stdlib.h>
#include <string.h>

// launch gives the kernel its parameters, which lie one after the other in bytes, each from a multiple of 16 on.
static CUresult launch(CUfunction f, const unsigned int *shape, unsigned int shared, CUstream s, char *bytes,
                       const size_t *at, size_t n) {
	void *params[n + 1];
	for (size_t i = 0; i < n; i++) params[i] = bytes + at[i];
	return cuLaunchKernel(f, shape[0], shape[1], shape[2], shape[3], shape[4], shape[5], shared, s, params, NULL);
}

// add_node adds a launch to a graph, which copies its parameters; they lie as for launch.
static CUresult add_node(CUgraphNode *node, CUgraph graph, const CUgraphNode *after, size_t n_after, CUfunction f,
                         const unsigned int *shape, unsigned int shared, char *bytes, const size_t *at, size_t n) {
	void *params[n + 1];
	for (size_t i = 0; i < n; i++) params[i] = bytes + at[i];
	CUDA_KERNEL_NODE_PARAMS p;
	memset(&p, 0, sizeof p);
	p.func = f;
	p.gridDimX = shape[0], p.gridDimY = shape[1], p.gridDimZ = shape[2];
	p.blockDimX = shape[3], p.blockDimY = shape[4], p.blockDimZ = shape[5];
	p.sharedMemBytes = shared;
	p.kernelParams = params;
	return cuGraphAddKernelNode(node, graph, after, n_after, &p);
}
*/
import "C"

import (
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"bilevel/device/cuda/driver"
)

type stream struct {
	handle
	cu cu.Stream
}

func (s *stream) raw() C.CUstream { return *(*C.CUstream)(unsafe.Pointer(&s.cu)) }

// own is a function of the context that can still be launched.
func (c *context) own(kernel driver.Function) (*function, error) {
	f, ok := kernel.(*function)
	if !ok || f.m.c != c {
		return nil, &driver.Error{
			Call: "cuLaunchKernel", Code: driver.InvalidValue, Detail: kernel.Name() + " is not of this context",
		}
	}
	if f.m.closed.Load() {
		return nil, driver.Closed("cuLaunchKernel", f.m.name)
	}
	return f, nil
}

// detail names a launch.
func (f *function) detail(l *driver.Launch) func() string {
	return func() string {
		return fmt.Sprintf(
			"%s, grid %d x %d x %d, block %d x %d x %d, %d bytes of shared memory, %d parameters", f.name, l.Grid[0],
			l.Grid[1], l.Grid[2], l.Block[0], l.Block[1], l.Block[2], l.Shared, len(l.Args),
		)
	}
}

// flat puts the parameters of a launch one after the other into memory of C's, aligned as the widest type asks; the
// caller frees it.
func flat(l *driver.Launch) (at []C.size_t, shape [6]C.uint, block unsafe.Pointer) {
	const align = 16
	at = make([]C.size_t, len(l.Args), len(l.Args)+1)
	var bytes []byte
	for i, a := range l.Args {
		at[i] = C.size_t(len(bytes))
		bytes = append(bytes, a...)
		bytes = append(bytes, make([]byte, (align-len(bytes)%align)%align)...)
	}
	for i := range 3 {
		shape[i], shape[3+i] = C.uint(l.Grid[i]), C.uint(l.Block[i])
	}
	return at, shape, C.CBytes(bytes)
}

func (s *stream) Launch(kernel driver.Function, l driver.Launch) error {
	f, err := s.c.own(kernel)
	if err != nil {
		return err
	}
	at, shape, block := flat(&l)
	defer C.free(block)
	return s.do("cuLaunchKernel", f.detail(&l), func() error {
		return check(C.launch(f.raw(), &shape[0], C.uint(l.Shared), s.raw(), (*C.char)(block), unsafe.SliceData(at),
			C.size_t(len(at))))
	})
}

func (s *stream) ToDevice(dst driver.Ptr, src []byte) error {
	return s.do("cuMemcpyHtoDAsync", bytes(int64(len(src))), func() error {
		return cu.MemcpyHtoDAsync(cu.DevicePtr(dst), unsafe.Pointer(unsafe.SliceData(src)), int64(len(src)), s.cu)
	})
}

func (s *stream) ToHost(dst []byte, src driver.Ptr) error {
	return s.do("cuMemcpyDtoHAsync", bytes(int64(len(dst))), func() error {
		return cu.MemcpyDtoHAsync(unsafe.Pointer(unsafe.SliceData(dst)), cu.DevicePtr(src), int64(len(dst)), s.cu)
	})
}

func (s *stream) Copy(dst, src driver.Ptr, n int64) error {
	return s.do("cuMemcpyDtoDAsync", bytes(n), func() error {
		return cu.MemcpyDtoDAsync(cu.DevicePtr(dst), cu.DevicePtr(src), n, s.cu)
	})
}

func (s *stream) Fill(dst driver.Ptr, word uint32, n int64) error {
	return s.do("cuMemsetD32Async", bytes(4*n), func() error {
		return cu.MemsetD32Async(cu.DevicePtr(dst), uint(word), n, s.cu)
	})
}

func (s *stream) Record(mark driver.Event) error {
	e, ok := mark.(*event)
	if !ok || e.c != s.c {
		return &driver.Error{
			Call: "cuEventRecord", Code: driver.InvalidValue, Detail: "the event is not of this context",
		}
	}
	if e.closed.Load() {
		return driver.Closed("cuEventRecord", e.name)
	}
	return s.do("cuEventRecord", nil, func() error { return e.cu.Record(s.cu) })
}

func (s *stream) Synchronize() error {
	return s.do("cuStreamSynchronize", nil, s.cu.Synchronize)
}

func (s *stream) Replay(work driver.Graph) error {
	g, ok := work.(*graph)
	if !ok || g.c != s.c {
		return &driver.Error{
			Call: "cuGraphLaunch", Code: driver.InvalidValue, Detail: "the graph is not of this context",
		}
	}
	if g.closed.Load() {
		return driver.Closed("cuGraphLaunch", g.name)
	}
	detail := func() string { return fmt.Sprintf("%d nodes", g.nodes) }
	return s.do("cuGraphLaunch", detail, func() error { return check(C.cuGraphLaunch(g.exec, s.raw())) })
}

func (s *stream) Close() error { return s.close("cuStreamDestroy", s.cu.Destroy) }

// Graph adds the nodes one by one and instantiates them; what they were collected in is gone afterwards.
func (c *context) Graph(nodes []driver.Node) (driver.Graph, error) {
	var made C.CUgraph
	if err := c.do("cuGraphCreate", nil, func() error { return check(C.cuGraphCreate(&made, 0)) }); err != nil {
		return nil, err
	}
	g := &graph{handle: handle{c: c, name: "the graph"}, nodes: len(nodes)}
	handles := make([]C.CUgraphNode, len(nodes))
	var err error
	for i := 0; i < len(nodes) && err == nil; i++ {
		if e := c.add(made, handles, i, &nodes[i]); e != nil {
			err = &driver.NodeError{Node: i, Err: e}
		}
	}
	if err == nil {
		number := func() string { return fmt.Sprintf("%d nodes", len(nodes)) }
		err = c.do(
			"cuGraphInstantiate", number, func() error { return check(C.cuGraphInstantiate(&g.exec, made, 0)) },
		)
	}
	if e := c.do("cuGraphDestroy", nil, func() error { return check(C.cuGraphDestroy(made)) }); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	return g, nil
}

// add adds node i to a graph whose earlier nodes have their handles.
func (c *context) add(made C.CUgraph, handles []C.CUgraphNode, i int, n *driver.Node) error {
	f, err := c.own(n.Function)
	if err != nil {
		return err
	}
	after := make([]C.CUgraphNode, len(n.After), len(n.After)+1)
	for k, a := range n.After {
		if a < 0 || a >= i {
			return &driver.Error{
				Call: "cuGraphAddKernelNode", Code: driver.InvalidValue,
				Detail: fmt.Sprintf("node %d is to begin after node %d", i, a),
			}
		}
		after[k] = handles[a]
	}
	at, shape, block := flat(&n.Launch)
	defer C.free(block)
	return c.do("cuGraphAddKernelNode", f.detail(&n.Launch), func() error {
		return check(C.add_node(&handles[i], made, unsafe.SliceData(after), C.size_t(len(after)), f.raw(), &shape[0],
			C.uint(n.Shared), (*C.char)(block), unsafe.SliceData(at), C.size_t(len(at))))
	})
}

// graph is an instantiated graph.
type graph struct {
	handle
	exec  C.CUgraphExec
	nodes int
}

func (g *graph) Nodes() int { return g.nodes }

func (g *graph) Close() error {
	return g.close("cuGraphExecDestroy", func() error { return check(C.cuGraphExecDestroy(g.exec)) })
}
