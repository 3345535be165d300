package ptx

import (
	"fmt"
	"math/bits"
)

// halt ends the launch with a fault at in, of the first lane of mask.
func (w *warp) halt(kind Kind, in *instr, mask uint32, message string) {
	panic(&Fault{w.describe(kind, in, bits.TrailingZeros32(mask), message)})
}

// describe makes a report.
func (w *warp) describe(kind Kind, in *instr, lane int, message string) Report {
	m := &w.prog.meta[in.index]
	r := Report{Kind: kind, Kernel: w.prog.kernel.Name, Block: w.block.at, Thread: w.thread(lane),
		PTXLine: m.src.Line, Instruction: m.text, Message: message, Count: 1}
	if list := w.places(in.index, lane); list != nil {
		own := list[len(list)-1]
		r.File, r.Line, r.Inlined = own.File, own.Line, list[:len(list)-1]
	}
	return r
}

// mostPlaces is how many places of a deep recursion are listed before its outermost call.
const mostPlaces = 16

// places lists where a lane is that executes an instruction, from the innermost inlined or called function to the
// kernel's own text; nil if that is not known.
func (w *warp) places(index int32, lane int) (list []Place) {
	m := &w.prog.meta[index]
	var calls []activation
	if w.calls != nil {
		calls = w.calls[lane]
	}
	for range len(w.prog.backs) + len(calls) + 1 { // each function once, and once more for each call on the stack
		for loc := m.src.Loc; loc != nil; loc = loc.Inlined {
			p := Place{loc.File, loc.Line, functionName(loc.Function)}
			// a function that calls itself is often at one place many times
			if n := len(list); n == 0 || list[n-1] != p {
				list = append(list, p)
			}
		}
		if m.back == 0 {
			break
		}
		if len(list) > mostPlaces && len(calls) > 1 {
			m, calls = &w.prog.meta[calls[0].site], nil
			continue
		}
		if n := len(calls) - 1; n >= 0 && calls[n].f.back == m.back {
			m = &w.prog.meta[calls[n].site]
			calls = calls[:n]
			continue
		}
		at := reg[uint32](w, m.back)[lane&31]
		if at < 2 {
			break
		}
		m = &w.prog.meta[at-2]
	}
	return list
}

// place names an instruction that a lane executes, with the lines of its source.
func (w *warp) place(index int32, lane int) string {
	m := &w.prog.meta[index]
	if list := w.places(index, lane); list != nil {
		return fmt.Sprintf("%s (%s)", m.text, placesText(list))
	}
	return fmt.Sprintf("%s (PTX line %d)", m.text, m.src.Line)
}

// thread is the index of a lane's thread in its block.
func (w *warp) thread(lane int) [3]int {
	t := w.id*warpSize + lane
	x, y := w.block.run.launch.Block[0], w.block.run.launch.Block[1]
	return [3]int{t % x, t / x % y, t / x / y}
}

// refuse reports an access that hardware refuses; without the sanitizer it ends the launch.
func (w *warp) refuse(kind Kind, in *instr, lane int, message string, al *allocation, off uint64) {
	r := w.describe(kind, in, lane, message)
	if al != nil {
		o := int64(off)
		r.Allocation, r.Offset = al.label, &o
	}
	if w.san == nil {
		panic(&Fault{r})
	}
	w.san.add(in, r)
}

func (w *warp) refuseGlobal(in *instr, a *access, lane int, addr uint64, n int) {
	mem := &w.block.run.machine.mem
	kind, near := OutOfBounds, mem.at(addr)
	if near != nil && near.freed() && addr-near.base < near.size {
		kind = UseAfterFree
	}
	if addr < allocAlign {
		near = nil
	}
	if w.san != nil && w.san.seenBefore(kind, in) {
		return
	}
	off := uint64(0)
	if near != nil {
		off = addr - near.base
	}
	w.refuse(kind, in, lane,
		fmt.Sprintf("%s of %s at %#x: %s", a.verb(), bytesText(n), addr, mem.describe(addr)), near, off)
}

func (a *access) verb() string {
	switch {
	case a.atomic:
		return "atomic"
	case a.store:
		return "store"
	}
	return "load"
}

func (w *warp) refuseSpace(in *instr, lane int, s space, off uint64, n, size int) {
	if w.san != nil && w.san.seenBefore(OutOfBounds, in) {
		return
	}
	r := w.describe(OutOfBounds, in, lane,
		fmt.Sprintf("%s at offset %d of %s, which has %s", bytesText(n), int64(off), spaceNames[s], bytesText(size)))
	o := int64(off)
	r.Allocation, r.Offset = spaceNames[s], &o
	if w.san == nil {
		panic(&Fault{r})
	}
	w.san.add(in, r)
}

func (w *warp) misaligned(s space, addr uint64, n int) string {
	return fmt.Sprintf("the address %#x in %s is not a multiple of %d", addr, spaceNames[s], n)
}

func (w *warp) nearest(s space, addr uint64) *allocation {
	if s != spaceGlobal && s != spaceConst {
		return nil
	}
	return w.block.run.machine.mem.find(addr, 1)
}
