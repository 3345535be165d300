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

// pad is the room for a row of an image with the zeros beside it.
func (m *patches) pad() int { return (m.shape.Left + m.shape.W + m.shape.Right) * m.shape.C }

// rows copies the patches of rows p0…p1-1 of the results of image n: to [row, q, length].
func (m *patches) rows(k *kernels, to, pad []float32, n, p0, p1 int) {
	s := m.shape
	width := s.S * s.C
	top := p0*s.StrideH - s.Top
	end := (p1-1)*s.StrideH + (s.R-1)*s.DilationH - s.Top + 1
	clear(pad[:s.Left*s.C])
	clear(pad[(s.Left+s.W)*s.C:])
	for h := top; h < end; h++ {
		inside, ready := h >= 0 && h < s.H, false
		for r := range s.R {
			p, rest := (h-top-r*s.DilationH)/s.StrideH, (h-top-r*s.DilationH)%s.StrideH
			if p < 0 || p >= p1-p0 || rest != 0 {
				continue
			}
			part := to[p*m.q*m.length+r*width:]
			if !inside {
				zero(part, m.q, m.length, width)
				continue
			}
			if !ready {
				copy(pad[s.Left*s.C:], m.x[(n*s.H+h)*s.W*s.C:][:s.W*s.C])
				ready = true
			}
			if s.DilationW == 1 {
				k.copyRows(part, m.length, pad, s.StrideW*s.C, m.q, width)
				continue
			}
			for t := range s.S {
				k.copyRows(part[t*s.C:], m.length, pad[t*s.DilationW*s.C:], s.StrideW*s.C, m.q, s.C)
			}
		}
	}
}
