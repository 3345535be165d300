//go:build cuda

package bridge

//#include "bridge.h"
import "C"

import (
	"errors"
	"fmt"
	"unsafe"

	"bilevel/device/cuda/driver"
)

//export bridge_cuModuleLoadDataEx
func bridge_cuModuleLoadDataEx(
	handle *C.CUmodule, image unsafe.Pointer, options C.uint, names *C.CUjit_option, values *unsafe.Pointer,
) C.CUresult {
	c, err := current()
	if err != nil {
		return answer(err)
	}
	log, err := errorLog(unsafe.Slice(names, options), unsafe.Slice((*uintptr)(unsafe.Pointer(values)), options))
	if err != nil {
		return answer(err)
	}
	m, err := c.Load(C.GoString((*C.char)(image)))
	var failed *driver.Error
	if errors.As(err, &failed) && len(log) > 0 {
		log[copy(log[:len(log)-1], failed.Detail)] = 0
		return C.CUresult(failed.Code)
	}
	if err != nil {
		return answer(err)
	}
	*handle = C.CUmodule(put(c, m))
	return C.CUDA_SUCCESS
}

// errorLog is the buffer that the options of a module's compilation name for its errors, the only options there are.
// Their values are addresses or numbers, by the option.
func errorLog(names []C.CUjit_option, values []uintptr) ([]byte, error) {
	var at unsafe.Pointer
	size := uintptr(0)
	for i, name := range names {
		switch name {
		case C.CU_JIT_ERROR_LOG_BUFFER:
			at = *(*unsafe.Pointer)(unsafe.Pointer(&values[i]))
		case C.CU_JIT_ERROR_LOG_BUFFER_SIZE_BYTES:
			size = values[i]
		default:
			return nil, &driver.Error{
				Code:   driver.InvalidValue,
				Detail: fmt.Sprintf("the bridge knows no option %d of the PTX compiler", name),
			}
		}
	}
	if at == nil {
		return nil, nil
	}
	return unsafe.Slice((*byte)(at), size), nil
}

//export bridge_cuModuleUnload
func bridge_cuModuleUnload(handle C.CUmodule) C.CUresult {
	return with(unsafe.Pointer(handle), func(m driver.Module, _ *context) error {
		drop(unsafe.Pointer(handle))
		return m.Unload()
	})
}

//export bridge_cuModuleGetFunction
func bridge_cuModuleGetFunction(handle *C.CUfunction, module C.CUmodule, name *C.char) C.CUresult {
	return with(unsafe.Pointer(module), func(m driver.Module, c *context) error {
		f, err := m.Function(C.GoString(name))
		if err != nil {
			return err
		}
		sized, ok := f.(Function)
		if !ok {
			return &driver.Error{Code: driver.Unknown, Detail: f.Name() + " does not tell its parameters' sizes"}
		}
		*handle = C.CUfunction(put(c, sized))
		return nil
	})
}

//export bridge_cuFuncSetAttribute
func bridge_cuFuncSetAttribute(handle C.CUfunction, attribute C.CUfunction_attribute, value C.int) C.CUresult {
	return with(unsafe.Pointer(handle), func(f Function, _ *context) error {
		if attribute != C.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES {
			return &driver.Error{Code: driver.InvalidValue, Detail: "of a function only the shared memory can be set"}
		}
		return f.AllowShared(int(value))
	})
}

//export bridge_cuStreamCreate
func bridge_cuStreamCreate(handle *C.CUstream, _ C.uint) C.CUresult {
	c, err := current()
	if err != nil {
		return answer(err)
	}
	s, err := c.Stream()
	if err != nil {
		return answer(err)
	}
	*handle = C.CUstream(put(c, s))
	return C.CUDA_SUCCESS
}

// onStream calls f with a stream.
func onStream(handle C.CUstream, f func(driver.Stream) error) C.CUresult {
	return with(unsafe.Pointer(handle), func(s driver.Stream, _ *context) error { return f(s) })
}

//export bridge_cuStreamDestroy
func bridge_cuStreamDestroy(handle C.CUstream) C.CUresult {
	return onStream(handle, func(s driver.Stream) error {
		drop(unsafe.Pointer(handle))
		return s.Close()
	})
}

//export bridge_cuStreamSynchronize
func bridge_cuStreamSynchronize(handle C.CUstream) C.CUresult {
	return onStream(handle, driver.Stream.Synchronize)
}

//export bridge_cuLaunchKernel
func bridge_cuLaunchKernel(
	kernel C.CUfunction, gx, gy, gz, bx, by, bz, shared C.uint, handle C.CUstream, params, extra *unsafe.Pointer,
) C.CUresult {
	return with(unsafe.Pointer(kernel), func(f Function, _ *context) error {
		s, _, err := find[driver.Stream](unsafe.Pointer(handle))
		if err != nil {
			return err
		}
		return s.Launch(f, driver.Launch{
			Grid: [3]int{int(gx), int(gy), int(gz)}, Block: [3]int{int(bx), int(by), int(bz)}, Shared: int(shared),
			Args: arguments(f, params),
		})
	})
}

// arguments are the parameters of a launch, each in bytes of its own.
func arguments(f Function, params *unsafe.Pointer) [][]byte {
	sizes := f.ParamSizes()
	args := make([][]byte, len(sizes))
	for i, at := range unsafe.Slice(params, len(sizes)) {
		args[i] = C.GoBytes(at, C.int(sizes[i]))
	}
	return args
}

//export bridge_cuMemcpyHtoDAsync
func bridge_cuMemcpyHtoDAsync(dst C.CUdeviceptr, src unsafe.Pointer, bytes C.size_t, handle C.CUstream) C.CUresult {
	return onStream(handle, func(s driver.Stream) error {
		return s.ToDevice(driver.Ptr(dst), unsafe.Slice((*byte)(src), bytes))
	})
}

//export bridge_cuMemcpyDtoHAsync
func bridge_cuMemcpyDtoHAsync(dst unsafe.Pointer, src C.CUdeviceptr, bytes C.size_t, handle C.CUstream) C.CUresult {
	return onStream(handle, func(s driver.Stream) error {
		return s.ToHost(unsafe.Slice((*byte)(dst), bytes), driver.Ptr(src))
	})
}

//export bridge_cuMemcpyDtoDAsync
func bridge_cuMemcpyDtoDAsync(dst, src C.CUdeviceptr, bytes C.size_t, handle C.CUstream) C.CUresult {
	return onStream(
		handle, func(s driver.Stream) error { return s.Copy(driver.Ptr(dst), driver.Ptr(src), int64(bytes)) },
	)
}

//export bridge_cuMemsetD32Async
func bridge_cuMemsetD32Async(dst C.CUdeviceptr, word C.uint, n C.size_t, handle C.CUstream) C.CUresult {
	return onStream(handle, func(s driver.Stream) error { return s.Fill(driver.Ptr(dst), uint32(word), int64(n)) })
}

// graph collects nodes until it is instantiated.
type graph struct {
	nodes   []driver.Node
	handles map[C.CUgraphNode]int // by number
}

//export bridge_cuGraphCreate
func bridge_cuGraphCreate(handle *C.CUgraph, _ C.uint) C.CUresult {
	c, err := current()
	if err != nil {
		return answer(err)
	}
	*handle = C.CUgraph(put(c, &graph{handles: map[C.CUgraphNode]int{}}))
	return C.CUDA_SUCCESS
}

//export bridge_cuGraphAddKernelNode
func bridge_cuGraphAddKernelNode(
	node *C.CUgraphNode, handle C.CUgraph, after *C.CUgraphNode, n C.size_t, params *C.CUDA_KERNEL_NODE_PARAMS,
) C.CUresult {
	return with(unsafe.Pointer(handle), func(g *graph, c *context) error {
		f, _, err := find[Function](unsafe.Pointer(params._func))
		if err != nil {
			return err
		}
		made := driver.Node{Function: f, Launch: driver.Launch{
			Grid:   [3]int{int(params.gridDimX), int(params.gridDimY), int(params.gridDimZ)},
			Block:  [3]int{int(params.blockDimX), int(params.blockDimY), int(params.blockDimZ)},
			Shared: int(params.sharedMemBytes), Args: arguments(f, params.kernelParams),
		}}
		for _, a := range unsafe.Slice(after, n) {
			k, ok := g.handles[a]
			if !ok {
				return &driver.Error{Code: driver.InvalidValue, Detail: "a node is of another graph"}
			}
			made.After = append(made.After, k)
		}
		*node = C.CUgraphNode(put(c, len(g.nodes)))
		g.handles[*node] = len(g.nodes)
		g.nodes = append(g.nodes, made)
		return nil
	})
}

// executable is a graph that can be replayed.
type executable struct{ driver.Graph }

//export bridge_cuGraphInstantiate
func bridge_cuGraphInstantiate(exec *C.CUgraphExec, handle C.CUgraph, _ C.ulonglong) C.CUresult {
	return with(unsafe.Pointer(handle), func(g *graph, c *context) error {
		made, err := c.Graph(g.nodes)
		if err != nil {
			return err
		}
		*exec = C.CUgraphExec(put(c, executable{made}))
		return nil
	})
}

//export bridge_cuGraphLaunch
func bridge_cuGraphLaunch(exec C.CUgraphExec, handle C.CUstream) C.CUresult {
	return with(unsafe.Pointer(exec), func(e executable, _ *context) error {
		s, _, err := find[driver.Stream](unsafe.Pointer(handle))
		if err != nil {
			return err
		}
		return s.Replay(e.Graph)
	})
}

//export bridge_cuGraphDestroy
func bridge_cuGraphDestroy(handle C.CUgraph) C.CUresult {
	return with(unsafe.Pointer(handle), func(g *graph, _ *context) error {
		drop(unsafe.Pointer(handle))
		for node := range g.handles {
			drop(unsafe.Pointer(node))
		}
		return nil
	})
}

//export bridge_cuGraphExecDestroy
func bridge_cuGraphExecDestroy(handle C.CUgraphExec) C.CUresult {
	return with(unsafe.Pointer(handle), func(e executable, _ *context) error {
		drop(unsafe.Pointer(handle))
		return e.Close()
	})
}

//export bridge_cuEventCreate
func bridge_cuEventCreate(handle *C.CUevent, flags C.uint) C.CUresult {
	c, err := current()
	if err != nil {
		return answer(err)
	}
	e, err := c.Event(flags&C.CU_EVENT_DISABLE_TIMING == 0)
	if err != nil {
		return answer(err)
	}
	*handle = C.CUevent(put(c, e))
	return C.CUDA_SUCCESS
}

//export bridge_cuEventDestroy
func bridge_cuEventDestroy(handle C.CUevent) C.CUresult {
	return with(unsafe.Pointer(handle), func(e driver.Event, _ *context) error {
		drop(unsafe.Pointer(handle))
		return e.Close()
	})
}

//export bridge_cuEventRecord
func bridge_cuEventRecord(handle C.CUevent, stream C.CUstream) C.CUresult {
	return with(unsafe.Pointer(handle), func(e driver.Event, _ *context) error {
		s, _, err := find[driver.Stream](unsafe.Pointer(stream))
		if err != nil {
			return err
		}
		return s.Record(e)
	})
}

//export bridge_cuEventSynchronize
func bridge_cuEventSynchronize(handle C.CUevent) C.CUresult {
	return with(unsafe.Pointer(handle), func(e driver.Event, _ *context) error { return e.Synchronize() })
}

//export bridge_cuEventElapsedTime
func bridge_cuEventElapsedTime(ms *C.float, first, last C.CUevent) C.CUresult {
	return with(unsafe.Pointer(last), func(e driver.Event, _ *context) error {
		earlier, _, err := find[driver.Event](unsafe.Pointer(first))
		if err != nil {
			return err
		}
		t, err := e.Since(earlier)
		*ms = C.float(t)
		return err
	})
}
