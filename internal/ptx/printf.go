package ptx

import (
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// vprintf is the system call behind device-side printf: a format, and a buffer in local memory with the arguments, each
// at its natural alignment. The text goes to Options.Output, thread by thread.
func (d *decoder) vprintf(c calling) {
	results, args := c.results, c.args
	if len(args) != 2 || len(results) > 1 {
		d.fail("vprintf takes a format and a buffer")
	}
	var at [2]variable
	for i, op := range args {
		v, ok := d.f.vars[op.Name]
		if !ok || v.size != 8 {
			d.fail("the argument %s is not a .param variable of 64 bits", op.Name)
		}
		at[i] = v
	}
	result := variable{size: -1}
	if len(results) == 1 {
		result = d.f.vars[results[0].Name]
	}
	f := d.f
	d.in.run = func(w *warp, _ *instr, mask uint32) {
		for ; mask != 0; mask &= mask - 1 {
			lane := bits.TrailingZeros32(mask)
			local := w.localOf(lane)[w.frameBase(f, lane):]
			format := binary.LittleEndian.Uint64(local[at[0].off:])
			buffer := binary.LittleEndian.Uint64(local[at[1].off:])
			n := w.print(lane, format, buffer)
			if result.size == 4 {
				binary.LittleEndian.PutUint32(local[result.off:], n)
				if w.localShade != nil {
					w.localShade.known.setRange(uint64(lane*w.prog.local)+uint64(w.frameBase(f, lane)+result.off), 4)
				}
			}
		}
	}
}

// assertion is the system call behind assert(): message, file, line, function, and the bytes of a character.
func (d *decoder) assertion(c calling) {
	var at []variable
	for _, op := range c.args {
		at = append(at, d.f.vars[op.Name])
	}
	if len(at) != 5 || at[0].size != 8 || at[1].size != 8 || at[2].size != 4 || at[3].size != 8 {
		d.fail("__assertfail takes a message, a file, a line, a function and a size in .param variables")
	}
	f := d.f
	d.in.run = func(w *warp, in *instr, mask uint32) {
		lane := bits.TrailingZeros32(mask)
		local := w.localOf(lane)[w.frameBase(f, lane):]
		text := func(i int) string { return w.text(lane, binary.LittleEndian.Uint64(local[at[i].off:])) }
		w.halt(Trap, in, mask, fmt.Sprintf("the assertion `%s` failed at %s:%d in %s",
			text(0), text(1), binary.LittleEndian.Uint32(local[at[2].off:]), text(3)))
	}
}

// peek reads n bytes at a generic address, nil where there are none.
func (w *warp) peek(lane int, addr uint64, n int) []byte {
	mem, off := []byte(nil), addr
	switch {
	case addr-localWindow < windowBytes:
		mem, off = w.localOf(lane), addr-localWindow
	case addr-sharedWindow < windowBytes:
		mem, off = w.block.shared, addr-sharedWindow
	default:
		if a := w.block.run.machine.mem.find(addr, uint64(n)); a != nil {
			mem, off = a.mem, addr-a.base
		}
	}
	if off+uint64(n) > uint64(len(mem)) {
		return nil
	}
	return mem[off : off+uint64(n)]
}

// text reads a string that ends in a zero byte.
func (w *warp) text(lane int, addr uint64) string {
	var b strings.Builder
	for b.Len() < 1<<12 {
		c := w.peek(lane, addr+uint64(b.Len()), 1)
		if c == nil || c[0] == 0 {
			break
		}
		b.WriteByte(c[0])
	}
	return b.String()
}

// print formats as C's printf does and returns the number of conversions. What it does not know stays as it is.
func (w *warp) print(lane int, format, buffer uint64) (count uint32) {
	out := w.block.run.machine.opt.Output
	if out == nil {
		return 0
	}
	at := uint64(0)
	take := func(size uint64) uint64 {
		at = (at + size - 1) &^ (size - 1)
		var word [8]byte
		copy(word[:], w.peek(lane, buffer+at, int(size)))
		at += size
		return binary.LittleEndian.Uint64(word[:])
	}
	var b strings.Builder
	text := w.text(lane, format)
	for {
		plain, rest, found := strings.Cut(text, "%")
		b.WriteString(plain)
		if !found {
			break
		}
		n := strings.IndexFunc(rest, func(r rune) bool { return !strings.ContainsRune("-+ #0123456789.*", r) })
		if n < 0 {
			b.WriteString("%" + rest)
			break
		}
		flags := rest[:n]
		for strings.Contains(flags, "*") { // a width or precision that is an argument
			flags = strings.Replace(flags, "*", strconv.Itoa(int(int32(take(4)))), 1)
		}
		m := n
		for m < len(rest) && strings.ContainsRune("lhzjt", rune(rest[m])) {
			m++
		}
		if m == len(rest) {
			b.WriteString("%" + rest)
			break
		}
		size := uint64(4)
		if strings.ContainsAny(rest[n:m], "lzjt") {
			size = 8
		}
		verb := rest[m]
		text = rest[m+1:]
		count++
		switch verb {
		case '%':
			count--
			b.WriteByte('%')
		case 'd', 'i':
			v := int64(take(size))
			if size == 4 {
				v = int64(int32(v))
			}
			fmt.Fprintf(&b, "%"+flags+"d", v)
		case 'u':
			fmt.Fprintf(&b, "%"+flags+"d", take(size))
		case 'x', 'X', 'o':
			fmt.Fprintf(&b, "%"+flags+string(verb), take(size))
		case 'c':
			fmt.Fprintf(&b, "%"+flags+"c", rune(take(4)&0xff))
		case 'e', 'E', 'f', 'F', 'g', 'G':
			fmt.Fprintf(&b, "%"+flags+string(verb), math.Float64frombits(take(8)))
		case 's':
			fmt.Fprintf(&b, "%"+flags+"s", w.text(lane, take(8)))
		case 'p':
			fmt.Fprintf(&b, "%#x", take(8))
		default:
			b.WriteString("%" + rest[:m+1])
		}
	}
	e := w.block.run
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _ = fmt.Fprint(out, b.String())
	return count
}
