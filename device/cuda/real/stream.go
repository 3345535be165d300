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
*/
import "C"

import (
	"encoding/binary"
	"fmt"
	"unsafe"

	"gorgonia.org/cu"

	"bilevel/device/cuda/driver"
)

// wordSize is the size of the slots into which cu copies parameters.
const wordSize = 8

type stream struct {
	handle
	cu cu.Stream
}

func (s *stream) raw() C.CUstream { return *(*C.CUstream)(unsafe.Pointer(&s.cu)) }

func (s *stream) Launch(kernel driver.Function, l driver.Launch) error {
	f, ok := kernel.(*function)
	if !ok || f.m.c != s.c {
		return &driver.Error{
			Call: "cuLaunchKernel", Code: driver.InvalidValue, Detail: kernel.Name() + " is not of this context",
		}
	}
	if f.m.closed.Load() {
		return driver.Closed("cuLaunchKernel", f.m.name)
	}
	wide := false
	for _, a := range l.Args {
		wide = wide || len(a) > wordSize
	}
	detail := func() string {
		return fmt.Sprintf(
			"%s, grid %d x %d x %d, block %d x %d x %d, %d bytes of shared memory, %d parameters", f.name, l.Grid[0],
			l.Grid[1], l.Grid[2], l.Block[0], l.Block[1], l.Block[2], l.Shared, len(l.Args),
		)
	}
	return s.do("cuLaunchKernel", detail, func() error {
		if wide {
			return s.launchWide(f, l)
		}
		words := make([]uint64, len(l.Args))
		params := make([]unsafe.Pointer, len(l.Args))
		for i, a := range l.Args {
			var word [wordSize]byte
			copy(word[:], a)
			words[i] = binary.NativeEndian.Uint64(word[:])
			params[i] = unsafe.Pointer(&words[i])
		}
		return f.cu.Launch(l.Grid[0], l.Grid[1], l.Grid[2], l.Block[0], l.Block[1], l.Block[2], l.Shared, s.cu, params)
	})
}

// launchWide launches with parameters that cu cannot pass: of more than a word.
func (s *stream) launchWide(f *function, l driver.Launch) error {
	const align = 16
	at := make([]C.size_t, len(l.Args))
	var bytes []byte
	for i, a := range l.Args {
		at[i] = C.size_t(len(bytes))
		bytes = append(bytes, a...)
		bytes = append(bytes, make([]byte, (align-len(bytes)%align)%align)...)
	}
	var shape [6]C.uint
	for i := range 3 {
		shape[i], shape[3+i] = C.uint(l.Grid[i]), C.uint(l.Block[i])
	}
	block := C.CBytes(bytes) // aligned as the widest type asks
	defer C.free(block)
	return check(C.launch(f.raw(), &shape[0], C.uint(l.Shared), s.raw(), (*C.char)(block), &at[0], C.size_t(len(at))))
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

// BeginCapture begins in relaxed mode: in any other the capture would have to end on the thread where it began.
func (s *stream) BeginCapture() error {
	return s.do("cuStreamBeginCapture", nil, func() error {
		return check(C.cuStreamBeginCapture(s.raw(), C.CU_STREAM_CAPTURE_MODE_RELAXED))
	})
}

func (s *stream) EndCapture() (driver.Graph, error) {
	var recorded C.CUgraph
	if err := s.do(
		"cuStreamEndCapture", nil, func() error { return check(C.cuStreamEndCapture(s.raw(), &recorded)) },
	); err != nil {
		return nil, err
	}
	g := &graph{handle: handle{c: s.c, name: "the graph"}}
	err := s.do("cuGraphGetNodes", nil, func() error { return check(C.cuGraphGetNodes(recorded, nil, &g.nodes)) })
	if err == nil {
		nodes := func() string { return fmt.Sprintf("%d nodes", g.nodes) }
		err = s.do(
			"cuGraphInstantiate", nodes, func() error { return check(C.cuGraphInstantiate(&g.exec, recorded, 0)) },
		)
	}
	if e := s.do("cuGraphDestroy", nil, func() error { return check(C.cuGraphDestroy(recorded)) }); err == nil {
		err = e
	}
	if err != nil {
		return nil, err
	}
	return g, nil
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

// graph is an instantiated graph; the recording it was made from is gone.
type graph struct {
	handle
	exec  C.CUgraphExec
	nodes C.size_t
}

func (g *graph) Nodes() int { return int(g.nodes) }

func (g *graph) Close() error {
	return g.close("cuGraphExecDestroy", func() error { return check(C.cuGraphExecDestroy(g.exec)) })
}
