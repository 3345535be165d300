package tensor

import "slices"

// freeList hands out blocks of an arena that grows as needed, lowest fitting address first.
type freeList struct {
	end    int
	blocks []block // ascending, no two touching
}

type block struct{ off, n int }

func aligned(n int) int { return (n + alignment - 1) / alignment * alignment }

func (f *freeList) take(n int) int {
	n = aligned(n)
	if n == 0 {
		return 0
	}
	best := -1
	for i, b := range f.blocks {
		if b.n >= n && (best < 0 || b.n < f.blocks[best].n) {
			best = i
		}
	}
	if best >= 0 {
		b := &f.blocks[best]
		off := b.off
		b.off, b.n = b.off+n, b.n-n
		if b.n == 0 {
			f.blocks = slices.Delete(f.blocks, best, best+1)
		}
		return off
	}
	off := f.end
	if k := len(f.blocks) - 1; k >= 0 && f.blocks[k].off+f.blocks[k].n == f.end { // grow the last block
		off = f.blocks[k].off
		f.blocks = f.blocks[:k]
	}
	f.end = off + n
	return off
}

func (f *freeList) give(off, n int) {
	n = aligned(n)
	if n == 0 {
		return
	}
	i, _ := slices.BinarySearchFunc(f.blocks, off, func(b block, off int) int { return b.off - off })
	f.blocks = slices.Insert(f.blocks, i, block{off, n})
	if i+1 < len(f.blocks) && off+n == f.blocks[i+1].off {
		f.blocks[i].n += f.blocks[i+1].n
		f.blocks = slices.Delete(f.blocks, i+1, i+2)
	}
	if i > 0 && f.blocks[i-1].off+f.blocks[i-1].n == off {
		f.blocks[i-1].n += f.blocks[i].n
		f.blocks = slices.Delete(f.blocks, i, i+1)
	}
}
