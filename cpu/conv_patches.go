package cpu

// patches makes a convolution of images with few channels one with a single tap and more channels: those of all pixels
// that the kernel meets, its columns and channels in each row of the kernel one after the other, as in the weights. A
// few rows at a time are copied so.
type patches struct {
	shape  *ConvShape
	p, q   int
	x      []float32
	length int // numbers of a patch
}

// mostPatch is the most numbers of a patch, and fewChannels the most channels of images that it is made for.
const mostPatch, fewChannels = 192, 8

// newPatches is nil where taps had better be summed one by one.
func newPatches(c *convCall, x []float32) *patches {
	s := &c.shape
	n := s.R * s.S * s.C
	if s.Groups > 1 || s.C > fewChannels || n > mostPatch || s.R*s.S == 1 {
		return nil
	}
	return &patches{s, c.p, c.q, x, n}
}

// row copies the patches of row p of the results of image n.
func (m *patches) row(k *kernels, to []float32, n, p int) {
	s := m.shape
	width := s.S * s.C
	for r := range s.R {
		h := p*s.StrideH + r*s.DilationH - s.Top
		part := to[r*width:]
		if h < 0 || h >= s.H {
			for q := range m.q {
				clear(part[q*m.length:][:width])
			}
			continue
		}
		line := m.x[(n*s.H+h)*s.W*s.C:][:s.W*s.C]
		// the results whose window lies inside the images
		lo, hi := window(m.q, s.W, s.StrideW, -s.Left)
		_, last := window(m.q, s.W, s.StrideW, (s.S-1)*s.DilationW-s.Left)
		if hi = min(hi, last); s.DilationW > 1 || lo >= hi {
			lo, hi = m.q, m.q
		}
		for q := range lo {
			m.edge(part[q*m.length:][:width], line, q)
		}
		if lo < hi {
			k.copyRows(part[lo*m.length:], m.length, line[(lo*s.StrideW-s.Left)*s.C:], s.StrideW*s.C, hi-lo, width)
		}
		for q := hi; q < m.q; q++ {
			m.edge(part[q*m.length:][:width], line, q)
		}
	}
}

// edge copies a row of one patch, column by column.
func (m *patches) edge(to, line []float32, q int) {
	s := m.shape
	for t := range s.S {
		w := q*s.StrideW + t*s.DilationW - s.Left
		if pixel := to[t*s.C:][:s.C]; w < 0 || w >= s.W {
			clear(pixel)
		} else {
			copy(pixel, line[w*s.C:])
		}
	}
}

// band copies the patches of a band: [row, image, q, length].
func (m *patches) band(k *kernels, to []float32, b *weightBand) {
	for p := range b.rows {
		for n := range b.images {
			m.row(k, to, b.n+n, b.p+p)
			to = to[m.q*m.length:]
		}
	}
}
