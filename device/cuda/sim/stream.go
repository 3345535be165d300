package sim

import (
	gocontext "context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"bilevel/device/cuda/driver"
	"bilevel/internal/ptx"
	"bilevel/kernels"
)

// work is what a call gives: it runs with the context's lock held. Its error is that of the call; faults of kernels are
// none, they go to Driver.lose.
type work func() error

// stream does its work at once, or late.
type stream struct{ object }

// now makes a call that is no work: it checks, and then acts.
func (s *stream) now(call string, check, act func() error) error {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if err := s.enter(call); err != nil {
		return err
	}
	if check != nil {
		if err := check(); err != nil {
			return err
		}
	}
	return act()
}

// do makes a call that gives work: it checks, and then works, or leaves the work for later.
func (s *stream) do(call string, check func() error, w work) error {
	return s.now(call, check, func() error {
		s.c.given++
		if s.c.d.Late {
			s.c.late = append(s.c.late, w)
			return nil
		}
		return w()
	})
}

func (s *stream) Launch(f driver.Function, l driver.Launch) error {
	const call = "cuLaunchKernel"
	fn, launch, err := s.c.asked(call, f, l)
	if err != nil {
		return err
	}
	check := func() error {
		// what is done at once is checked as it begins
		if err := fn.of.open(call); err != nil || !s.c.d.Late {
			return err
		}
		return refused(call, launch, s.c.m.Check(launch))
	}
	return s.do(call, check, func() error {
		time, _, err := s.c.launch(launch)
		s.c.clock += time + s.c.m.Card().Times.Launch
		return err
	})
}

// asked is a launch as the machine takes it. Arguments are copied.
func (c *context) asked(call string, f driver.Function, l driver.Launch) (*function, ptx.Launch, error) {
	fn, ok := f.(*function)
	if !ok || fn.of.c != c {
		return nil, ptx.Launch{}, &driver.Error{
			Call: call, Code: driver.InvalidValue, Detail: "the kernel belongs to another card",
		}
	}
	launch := ptx.Launch{Kernel: fn.k, Grid: l.Grid, Block: l.Block, Shared: l.Shared, SharedLimit: fn.shared}
	for _, a := range l.Args {
		launch.Args = append(launch.Args, slices.Clone(a))
	}
	return fn, launch, nil
}

// shape names a launch.
func shape(l ptx.Launch) string {
	return fmt.Sprintf("%s, grid %v, block %v, %d bytes of shared memory", l.Kernel.Name, l.Grid, l.Block, l.Shared)
}

// refused is an error of the simulator about a launch, as the driver's.
func refused(call string, l ptx.Launch, err error) error {
	if err == nil {
		return nil
	}
	return &driver.Error{Call: call, Code: driver.InvalidValue, Detail: fmt.Sprintf("%s: %v", shape(l), err)}
}

// launch runs a kernel and turns what the simulator saw into what the driver says. The time is in seconds, without that
// of the launch itself.
func (c *context) launch(l ptx.Launch) (time float64, touched []ptx.Touched, err error) {
	const call = "cuLaunchKernel"
	c.count.launches++
	what := shape(l)
	switch c.count.launches {
	case c.d.Faults.Launch:
		return 0, nil, &driver.Error{Call: call, Code: driver.LaunchOutOfResources, Detail: what + " (ordered)"}
	case c.d.Faults.Sticky:
		c.d.lose(&driver.Error{Code: driver.IllegalAddress, Detail: what + " (ordered)"})
		return 0, nil, nil
	}
	res, err := c.m.Run(gocontext.Background(), l)
	var fault *ptx.Fault
	switch {
	case errors.As(err, &fault):
		code := driver.IllegalAddress
		switch fault.Report.Kind {
		case ptx.Timeout:
			code = driver.LaunchTimeout
		case ptx.Trap:
			code = driver.LaunchFailed
		}
		c.d.lose(&driver.Error{Code: code, Detail: fault.Error()})
	case err != nil:
		return 0, nil, refused(call, l, err)
	case len(res.Reports) > 0:
		detail := res.Reports[0].String()
		if more := len(res.Reports) - 1; more > 0 {
			detail += fmt.Sprintf(" (and %d further reports)", more)
		}
		c.d.lose(&driver.Error{Code: driver.LaunchFailed, Detail: "the sanitizer reports: " + detail})
	}
	if res == nil {
		return 0, nil, nil
	}
	assembled := ptx.Resources{Registers: kernels.Registers(l.Kernel.Name, c.m.Card().Capability)}
	e := ptx.NewEstimate(c.m.Card(), res.Counters, assembled, l.Shared)
	return e.Seconds - e.Launch, res.Touched, nil
}

func (s *stream) ToDevice(dst driver.Ptr, src []byte) error {
	const call = "cuMemcpyHtoDAsync"
	return s.do(call, s.pinned(call, src), func() error {
		s.c.clock += float64(len(src)) / hostBytesPerSecond
		return invalid(call, s.c.m.Write(uint64(dst), src))
	})
}

func (s *stream) ToHost(dst []byte, src driver.Ptr) error {
	const call = "cuMemcpyDtoHAsync"
	return s.do(call, s.pinned(call, dst), func() error {
		s.c.clock += float64(len(dst)) / hostBytesPerSecond
		return invalid(call, s.c.m.Read(uint64(src), dst))
	})
}

func (s *stream) pinned(call string, b []byte) func() error {
	return func() error {
		if !s.c.isPinned(b) {
			return &driver.Error{
				Call: call, Code: driver.InvalidValue, Detail: "host memory of an asynchronous copy is not pinned",
			}
		}
		return nil
	}
}

func (s *stream) Copy(dst, src driver.Ptr, bytes int64) error {
	const call = "cuMemcpyDtoDAsync"
	return s.do(call, nil, func() error {
		s.c.clock += 2 * float64(bytes) / s.c.m.Card().DRAM
		buf := make([]byte, bytes)
		if err := s.c.m.Read(uint64(src), buf); err != nil {
			return invalid(call, err)
		}
		return invalid(call, s.c.m.Write(uint64(dst), buf))
	})
}

func (s *stream) Fill(dst driver.Ptr, word uint32, n int64) error {
	const call = "cuMemsetD32Async"
	return s.do(call, nil, func() error {
		s.c.clock += 4 * float64(n) / s.c.m.Card().DRAM
		if word == 0 {
			return invalid(call, s.c.m.Fill(uint64(dst), 0, 4*n))
		}
		buf := make([]byte, 4*n)
		for i := range n {
			binary.LittleEndian.PutUint32(buf[4*i:], word)
		}
		return invalid(call, s.c.m.Write(uint64(dst), buf))
	})
}

func (s *stream) Record(e driver.Event) error {
	const call = "cuEventRecord"
	ev, ok := e.(*event)
	if !ok || ev.c != s.c {
		return &driver.Error{Call: call, Code: driver.InvalidValue, Detail: "the event belongs to another card"}
	}
	check := func() error {
		ev.place = s.c.given + 1
		return ev.open(call)
	}
	return s.do(call, check, func() error {
		ev.at, ev.recorded = s.c.clock, true
		return nil
	})
}

func (s *stream) Synchronize() error {
	const call = "cuStreamSynchronize"
	return s.now(call, nil, func() error { return s.c.wait(call, s.c.given) })
}

func (s *stream) Replay(g driver.Graph) error {
	const call = "cuGraphLaunch"
	mine, ok := g.(*graph)
	if !ok || mine.c != s.c {
		return &driver.Error{Call: call, Code: driver.InvalidValue, Detail: "the graph belongs to another card"}
	}
	return s.do(call, func() error { return mine.open(call) }, func() error { return mine.replay(call) })
}

func (s *stream) Close() error { return s.close("cuStreamDestroy") }
