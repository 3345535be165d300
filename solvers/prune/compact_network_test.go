package prune_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/prune"

	"github.com/stretchr/testify/require"
)

// networks are small convolutional ones with every kind of shortcut.
func networks(t *testing.T) (list []models.Network) {
	t.Helper()
	s := models.Spec{Image: models.Image{Height: 8, Width: 8, Channels: 3}, Classes: 3}
	for _, name := range []string{"preactresnet:4-8/2-1:activation", "preactresnet:4-6/1-2:input",
		"preactresnet:4-8/1-1:no-final-norm", "lenet"} {
		n, err := models.ByName(name, s)
		require.NoError(t, err)
		list = append(list, n)
	}
	for _, m := range []interface {
		Network() (models.Network, error)
	}{
		models.ResNet{Name: "a", Image: s.Image, Classes: 3, Widths: []int{4, 8, 12}, Blocks: []int{2, 1, 1},
			Shortcut: models.ShortcutA},
		models.ResNet{Name: "b", Image: s.Image, Classes: 3, Widths: []int{4, 6}, Blocks: []int{1, 2},
			Shortcut: models.ShortcutB},
		models.VGG{Image: s.Image, Classes: 3, Widths: []int{6, 0, 5, 4, 0}},
		models.WideResNet{Image: s.Image, Classes: 3, Depth: 10, Widen: 1, Base: []int{2, 3, 4, 5}},
	} {
		n, err := m.Network()
		require.NoError(t, err)
		list = append(list, n)
	}
	return list
}

// scattered are parameters and running statistics as training may leave them.
func scattered(r *rand.Rand, n models.Network) (p, state params.Values) {
	p, state = n.Init(r.Uint64())
	for i := range p.Flat {
		p.Flat[i] += 0.3 * r.NormFloat64()
	}
	for i := range state.Flat {
		state.Flat[i] += r.Float64()
	}
	return p, state
}

// A network whose channels are masked, filters, biases and normalizations together, and the one without them have the
// same outputs: residual streams of all shortcuts, random running statistics, groups that lose everything but one.
func TestCompactedNetworkIsMasked(t *testing.T) {
	ex, r := executor(t, "ref"), rand.New(rand.NewPCG(5, 6))
	cut, depend := 0, 0
	for i, n := range networks(t) {
		for trial := range 3 {
			p, state := scattered(r, n)
			s, err := prune.Units(n.Params(), n.Units())
			require.NoError(t, err)
			marks := make([]float64, s.Scores.Size())
			for j := range marks {
				if r.Float64() < []float64{0.2, 0.5, 0.8}[trial] {
					marks[j] = 1
				}
			}
			scores := prune.Random(s, uint64(i))
			s.Fill(marks, scores)
			mask, err := s.Of(ex, marks)
			require.NoError(t, err)
			z := p.Like(make([]float64, p.Size()))
			for j, w := range p.Flat {
				if mask[j] != 0 {
					z.Flat[j] = w
				}
			}
			c, err := prune.Compact(n.Units(), z, state)
			require.NoError(t, err)
			for j, h := range s.Shares(marks) {
				require.LessOrEqual(t, c.Counts[j], max(1, h.Kept), "%s: %s", n.Name(), h.Layer)
				cut += h.Count - c.Counts[j]
			}
			small, err := n.WithUnits(c.Counts)
			require.NoError(t, err)
			require.Equal(t, names(small.Params()), names(c.Params.Layout), n.Name())
			x := make([]float64, 4*n.Image().Size())
			for j := range x {
				x[j] = r.NormFloat64()
			}
			want, got := outputs(t, ex, n, z, state, x, 4), outputs(t, ex, small, c.Params, c.State, x, 4)
			require.InDeltaSlice(t, want, got, 1e-11, n.Name())
			if !slices.Equal(want[:3], want[3:6]) {
				depend++
			}
		}
	}
	require.Greater(t, cut, 100)
	require.Greater(t, depend, 16, "of 24 networks: the outputs of most depend on the images")
}

// names are the arrays of a layout with their sizes.
func names(l params.Layout) map[string][]int {
	of := map[string][]int{}
	for _, a := range l {
		of[a.Name] = a.Shape
	}
	return of
}

// Masks of channels are 1 on what no unit has, and 0 on all that a channel has: the filters of every layer that adds to
// its stream, their normalizations, and what reads them.
func TestMaskOfChannels(t *testing.T) {
	ex, n := executor(t, "ref"), networks(t)[4]
	s, err := prune.Units(n.Params(), n.Units())
	require.NoError(t, err)
	for i, u := range n.Units() {
		for unit := range u.Count {
			marks := make([]float64, s.Scores.Size())
			for j := range marks {
				marks[j] = 1
			}
			marks[s.Scores[i].Off+unit] = 0
			mask, err := s.Of(ex, marks)
			require.NoError(t, err)
			zeros := map[int]bool{}
			for _, slot := range u.Slots {
				a, err := s.Params.Find(slot.Array)
				require.NoError(t, err)
				inner := 1
				for _, d := range a.Shape[slot.Axis+1:] {
					inner *= d
				}
				for at := range a.Size() {
					if at/inner%a.Shape[slot.Axis] == slot.From+unit {
						zeros[a.Off+at] = true
					}
				}
			}
			for at, m := range mask {
				require.Equal(t, zeros[at], m == 0, "%s %d, parameter %d", u.Name, unit, at)
			}
		}
	}
}
