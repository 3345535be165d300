package robust

import (
	"bilevel/models"
)

// plainResidual is a small residual network with pre-activation, one block in each of two stages, in plain loops. The
// second block halves the maps, so that its shortcut is a convolution of its input.
type plainResidual struct {
	models.Network
	widths []int
}

func newPlainResidual() (m plainResidual, err error) {
	m.widths = []int{2, 3}
	m.Network, err = models.ResNet{Name: "residual", Image: models.Image{Height: 4, Width: 3, Channels: 1}, Classes: 3,
		Widths: m.widths, Blocks: []int{1, 1}, PreActivation: true, Shortcut: models.ShortcutInput,
		Normalize: models.Normalization{Mean: []float64{0.4}, Deviation: []float64{0.3}}}.Network()
	return m, err
}

func (m plainResidual) inputs() int  { return m.Image().Size() }
func (m plainResidual) classes() int { return m.Classes() }

// plainMaps are the maps of a batch, [images·height·width][channels].
type plainMaps struct {
	height, width int
	at            [][]hyperdual
}

// convolved is a convolution with weights [side, side, inputs, outputs], padded to keep the size of the maps but for
// the stride.
func (x plainMaps) convolved(w []hyperdual, side, outputs, stride int) plainMaps {
	inputs, images := len(x.at[0]), len(x.at)/(x.height*x.width)
	out := plainMaps{(x.height-1)/stride + 1, (x.width-1)/stride + 1, nil}
	for image := range images {
		for i := range out.height {
			for j := range out.width {
				sums := make([]hyperdual, outputs)
				for a := range side {
					for b := range side {
						row, column := i*stride+a-side/2, j*stride+b-side/2
						if row < 0 || row >= x.height || column < 0 || column >= x.width {
							continue
						}
						from := x.at[(image*x.height+row)*x.width+column]
						for c, v := range from {
							for k := range sums {
								sums[k] = sums[k].plus(v.times(w[((a*side+b)*inputs+c)*outputs+k]))
							}
						}
					}
				}
				out.at = append(out.at, sums)
			}
		}
	}
	return out
}

func (m plainResidual) logits(p []hyperdual, x [][]hyperdual, state []float64, eval bool) (
	z [][]hyperdual, next []float64) {
	take := func(n int) []hyperdual { head := p[:n]; p = p[n:]; return head }
	stats := func(n int) []float64 { head := state[:n]; state = state[n:]; return head }
	activated := func(x plainMaps) plainMaps { // relu(BN x)
		n := len(x.at[0])
		y := plainMaps{x.height, x.width, nil}
		for _, pixel := range x.at {
			y.at = append(y.at, append([]hyperdual(nil), pixel...))
		}
		weight, shift := take(n), take(n)
		mean, variance, count := stats(n), stats(n), stats(1)
		next = append(next, normalize(y.at, weight, shift, mean, variance, eval)...)
		next = append(next, count[0]+1)
		for _, pixel := range y.at {
			for k := range pixel {
				pixel[k] = pixel[k].relu()
			}
		}
		return y
	}
	maps := plainMaps{m.Image().Height, m.Image().Width, nil}
	first := m.Normalization()
	for _, row := range x {
		for _, v := range row {
			pixel := v.plus(plainNumber(-first.Mean[0])).scale(1 / first.Deviation[0])
			maps.at = append(maps.at, []hyperdual{pixel})
		}
	}
	inputs := m.widths[0]
	maps = maps.convolved(take(9*inputs), 3, inputs, 1)
	for stage, width := range m.widths {
		stride := min(2, stage+1)
		y := activated(maps)
		y = y.convolved(take(9*inputs*width), 3, width, stride)
		y = activated(y)
		y = y.convolved(take(9*width*width), 3, width, 1)
		if stage > 0 {
			maps = maps.convolved(take(inputs*width), 1, width, stride)
		}
		for i, pixel := range y.at {
			for k := range pixel {
				pixel[k] = pixel[k].plus(maps.at[i][k])
			}
		}
		maps, inputs = y, width
	}
	maps = activated(maps)
	w, bias := take(m.classes()*inputs), take(m.classes())
	size := maps.height * maps.width
	for image := range len(x) {
		out := append([]hyperdual(nil), bias...)
		for _, pixel := range maps.at[image*size : (image+1)*size] {
			for j := range out {
				for k, v := range pixel {
					out[j] = out[j].plus(v.times(w[j*inputs+k]).scale(1 / float64(size)))
				}
			}
		}
		z = append(z, out)
	}
	return z, next
}
