package solvertest

import (
	"math"

	"bilevel/solvers/problem"
	"bilevel/tensor"
)

// KMeans is clustering as a problem of two levels with one objective: the upper variable are k centers c_j [d], one
// after the other, the lower one the shares w_i of each point a_i in the clusters, in a simplex for each point:
//
//	F = G = Σ_i Σ_j w_ij |a_i - c_j|²
//
// The lower level is linear: w_i* puts everything on the nearest center, and ∇h = 2 Σ_i w_ij (c_j - a_i) for each of
// them, without an implicit term. The upper minimum at given w is the mean of each cluster, so that exact steps on both
// levels in turns are Lloyd's algorithm.
type KMeans struct {
	Points   [][]float64
	Clusters int
}

// NewKMeans draws points around centers that lie apart on a circle, as many around each.
func NewKMeans(seed uint64, each, clusters int) *KMeans {
	s := &source{seed: seed}
	m := &KMeans{Clusters: clusters}
	for j := range clusters {
		angle := 2 * math.Pi * float64(j) / float64(clusters)
		for range each {
			z := s.normals(2, 0.4)
			m.Points = append(m.Points, []float64{2*math.Cos(angle) + z[0], 2*math.Sin(angle) + z[1]})
		}
	}
	return m
}

func (m *KMeans) Tables() []Table {
	var flat []float64
	for _, a := range m.Points {
		flat = append(flat, a...)
	}
	return []Table{{Name: "points", Shape: []int{len(m.Points), len(m.Points[0])}, Real: flat}}
}

// name is that of the shares of a point.
func name(i int) string { return "shares of point " + string(rune('a'+i)) }

// Problem starts at centers halfway to the true ones, turned a little, and at equal shares.
func (m *KMeans) Problem(tables []*tensor.Node) *problem.Problem {
	d := len(m.Points[0])
	var centers []float64
	for j := range m.Clusters {
		angle := 2*math.Pi*float64(j)/float64(m.Clusters) + 0.3
		centers = append(centers, math.Cos(angle), math.Sin(angle))
	}
	start, sets := problem.Values{}, problem.Sets{}
	for i := range m.Points {
		equal := make([]float64, m.Clusters)
		for j := range equal {
			equal[j] = 1 / float64(m.Clusters)
		}
		start, sets[name(i)] = start.And(name(i), equal...), problem.Simplex{Total: 1}
	}
	value := func(x, y problem.Vars, _ problem.Batch) *tensor.Node {
		n, k := len(m.Points), m.Clusters
		off := tables[0].Reshape(n, 1, d).Expand(n, k, d).Sub(x.Flat().Reshape(1, k, d).Expand(n, k, d))
		return tensor.Dot(off.Square().Sum(2).Flatten(), y.Flat())
	}
	return &problem.Problem{
		Name: "k-means", MinMin: true,
		Lower: problem.Level{Start: start, Set: sets, Value: value},
		Upper: problem.Level{Start: problem.Vector(centers...), Value: value},
	}
}

// nearest is the number of the center that is nearest to a point, the first of equals.
func (m *KMeans) nearest(point, centers []float64) int {
	d, best, at := len(point), math.Inf(1), 0
	for j := range m.Clusters {
		off := 0.0
		for i, c := range centers[j*d : (j+1)*d] {
			off += (c - point[i]) * (c - point[i])
		}
		if off < best {
			best, at = off, j
		}
	}
	return at
}

func (m *KMeans) Exact(x []float64) (y, gradient []float64) {
	d := len(m.Points[0])
	y, gradient = zeros(len(m.Points)*m.Clusters), zeros(len(x))
	for i, a := range m.Points {
		j := m.nearest(a, x)
		y[i*m.Clusters+j] = 1
		for c := range d {
			gradient[j*d+c] += 2 * (x[j*d+c] - a[c])
		}
	}
	return y, gradient
}

// Optimum is the means of the groups that the points were drawn in, as many in each.
func (m *KMeans) Optimum() []float64 {
	d, each := len(m.Points[0]), len(m.Points)/m.Clusters
	centers := zeros(m.Clusters * d)
	for i, a := range m.Points {
		for c := range d {
			centers[i/each*d+c] += a[c] / float64(each)
		}
	}
	return centers
}
