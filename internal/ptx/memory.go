package ptx

import (
	"fmt"
	"slices"
	"sort"
	"unsafe"
)

// Addresses are of the machine's own making, never host pointers: global memory and constant banks above globalBase,
// and windows through which generic addresses reach shared, local and parameter space.
const (
	globalBase   = 0x7f00_0000_0000
	sharedWindow = 0x0100_0000_0000
	localWindow  = 0x0200_0000_0000
	paramWindow  = 0x0300_0000_0000
	windowBytes  = 1 << 30

	allocAlign = 512  // as cuMemAlloc's addresses
	guardBytes = 4096 // unmapped between allocations
)

// An allocation is a range of global memory.
type allocation struct {
	base     uint64
	size     uint64
	mem      []byte // nil once freed
	label    string
	readonly bool // a constant bank
	known    bitmap
	shadow   []*shadowPage // of the running launch, by page; sanitizing only
	saved    []*savedPage  // what pages held before the running launch, those that it writes; sanitizing only
	index    int           // among the live ones, for counters
}

// memory is a card's global memory: allocations in the order of their addresses, which are never used twice.
type memory struct {
	all      []*allocation // freed ones stay while tracking
	next     uint64
	used     int64
	limit    int64
	tracking bool // keep initialised bits and freed ranges
}

// alignedBytes makes n zero bytes that start at a multiple of 8.
func alignedBytes(n int) []byte {
	if n == 0 {
		return nil
	}
	words := make([]uint64, (n+7)/8)
	return unsafe.Slice((*byte)(unsafe.Pointer(&words[0])), n)
}

func (m *memory) alloc(n int64, label string) (*allocation, error) {
	if n < 0 {
		return nil, fmt.Errorf("allocation %q: negative size %d", label, n)
	}
	if n > m.limit-m.used {
		return nil, fmt.Errorf("allocation %q: out of memory: %d bytes asked, %d of %d in use", label, n,
			m.used, m.limit)
	}
	if m.next == 0 {
		m.next = globalBase
	}
	a := &allocation{base: m.next, size: uint64(n), mem: alignedBytes(int(n)), label: label}
	if m.tracking {
		a.known = newBitmap(int(n))
	}
	m.next += (uint64(n) + guardBytes + allocAlign - 1) &^ (allocAlign - 1)
	m.used += n
	m.all = append(m.all, a)
	return a, nil
}

func (m *memory) free(addr uint64) error {
	a := m.at(addr)
	switch {
	case a == nil || a.base != addr:
		return fmt.Errorf("free: %#x is not the start of an allocation", addr)
	case a.freed():
		return fmt.Errorf("free: %q is freed twice", a.label)
	}
	m.used -= int64(a.size)
	a.mem, a.known, a.shadow, a.saved = nil, nil, nil, nil
	if !m.tracking {
		m.all = slices.DeleteFunc(m.all, func(x *allocation) bool { return x == a })
	}
	return nil
}

func (a *allocation) freed() bool { return a.mem == nil && a.size > 0 }

// at finds the last allocation that starts at or below addr; the address may lie beyond its end.
func (m *memory) at(addr uint64) *allocation {
	i := sort.Search(len(m.all), func(i int) bool { return m.all[i].base > addr })
	if i == 0 {
		return nil
	}
	return m.all[i-1]
}

// find returns the live allocation that holds all of [addr, addr+n), nil if there is none.
func (m *memory) find(addr, n uint64) *allocation {
	a := m.at(addr)
	if a == nil || a.mem == nil || addr-a.base > a.size || a.size-(addr-a.base) < n {
		return nil
	}
	return a
}

// host finds the bytes of [addr, addr+n) for the host.
func (m *memory) host(what string, addr uint64, n int) (*allocation, []byte, error) {
	if n == 0 {
		return &allocation{}, nil, nil
	}
	a := m.find(addr, uint64(n))
	if a == nil {
		return nil, nil, fmt.Errorf("%s: [%#x, +%d) is not inside one allocation (%s)", what, addr, n, m.describe(addr))
	}
	off := addr - a.base
	return a, a.mem[off : off+uint64(n)], nil
}

// describe says in words where addr lies.
func (m *memory) describe(addr uint64) string {
	if addr < allocAlign {
		return "a null pointer"
	}
	below := m.at(addr)
	if below == nil {
		return "no allocation is near"
	}
	off := addr - below.base
	switch {
	case below.freed() && off < below.size:
		return fmt.Sprintf("%s into freed %q of %s", bytesText(off), below.label, bytesText(below.size))
	case off < below.size:
		return fmt.Sprintf("%s into %q of %s", bytesText(off), below.label, bytesText(below.size))
	}
	text := fmt.Sprintf("%s past the end of %q of %s", bytesText(off-below.size), below.label, bytesText(below.size))
	i := sort.Search(len(m.all), func(i int) bool { return m.all[i].base > addr })
	if i < len(m.all) && m.all[i].base-addr < off-below.size {
		above := m.all[i]
		text = fmt.Sprintf("%s before %q of %s", bytesText(above.base-addr), above.label, bytesText(above.size))
	}
	return text
}

// A bitmap is one bit per byte of memory, or per sector.
type bitmap []uint64

func newBitmap(n int) bitmap { return make(bitmap, (n+63)/64) }

func (b bitmap) set(i uint64) { b[i>>6] |= 1 << (i & 63) }

// setRange sets n bits from i up.
func (b bitmap) setRange(i, n uint64) {
	for n > 0 {
		k := min(n, 64-i&63)
		b[i>>6] |= (^uint64(0) >> (64 - k)) << (i & 63)
		i, n = i+k, n-k
	}
}

// clearRange clears n bits from i up.
func (b bitmap) clearRange(i, n uint64) {
	for n > 0 {
		k := min(n, 64-i&63)
		b[i>>6] &^= (^uint64(0) >> (64 - k)) << (i & 63)
		i, n = i+k, n-k
	}
}

// hasRange says whether n ≤ 64 bits from i up are all set.
func (b bitmap) hasRange(i, n uint64) bool {
	for n > 0 {
		k := min(n, 64-i&63)
		m := (^uint64(0) >> (64 - k)) << (i & 63)
		if b[i>>6]&m != m {
			return false
		}
		i, n = i+k, n-k
	}
	return true
}
