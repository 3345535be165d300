package ptx

// Touched are the words of an allocation that a launch read, and those that it wrote. A word that it both read and
// wrote counts as written.
type Touched struct {
	Base           uint64 // address of the first word
	Label          string
	Reads, Written Words
}

// Words is a set of words of an allocation, a bit for each.
type Words []uint64

// Meets finds the first word that both sets have, or gives -1.
func (w Words) Meets(other Words) int {
	for i := range min(len(w), len(other)) {
		if both := w[i] & other[i]; both != 0 {
			n := 0
			for both>>n&1 == 0 {
				n++
			}
			return 64*i + n
		}
	}
	return -1
}

// touched reads from the histories of global memory what the launch did.
func (m *memory) touched() []Touched {
	var list []Touched
	for _, a := range m.all {
		if a.shadow == nil || a.readonly {
			continue
		}
		t := Touched{Base: a.base, Label: a.label}
		n := (a.size/4 + 64) / 64
		for page, cells := range a.shadow {
			if cells == nil {
				continue
			}
			for i := range cells {
				read, written := cells[i].touched()
				at := uint64(page*pageWords + i)
				switch {
				case written:
					t.Written = t.Written.with(at, n)
				case read:
					t.Reads = t.Reads.with(at, n)
				}
			}
		}
		if t.Reads != nil || t.Written != nil {
			list = append(list, t)
		}
	}
	return list
}

// with is the set with one more word, of a memory of 64·n words.
func (w Words) with(at, n uint64) Words {
	if w == nil {
		w = make(Words, n)
	}
	w[at/64] |= 1 << (at % 64)
	return w
}

// touched says whether anything read, or wrote, the cell.
func (c *cell) touched() (read, written bool) {
	if c.bytes != nil {
		for i := range c.bytes {
			r, w := c.bytes[i].touched()
			read, written = read || r, written || w
		}
		return read, written
	}
	written = c.write.time != 0 || c.strong.time != 0
	read = c.reads[0].time != 0 || c.reads[1].time != 0 || c.foreign.time != 0
	return read, written
}
