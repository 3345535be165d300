package robust

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"

	"bilevel/internal/philox"
	"bilevel/models"
	"bilevel/models/params"
	"bilevel/solvers/engine"
	"bilevel/solvers/problem"
	"bilevel/solvers/robust"
	"bilevel/tensor"
)

// CheckRow is one comparison of an update of a method with the same update computed without the library's derivatives.
type CheckRow struct {
	Method, Net, BN string
	Parameters      int
	Free, Held      int     // coordinates of δ* strictly inside C and on its bounds
	Share           float64 // |implicit term| / |update|; NaN for methods that have none
	// Dense is the largest difference of an element of the update, or of the running statistics, from the dense
	// computation: each derivative in a parameter or a pixel, the mixed ones included, by numbers that carry it along.
	// It is relative to the largest element of the update, or 1 if that is smaller.
	Dense float64
	// Differences is the same of central differences of θ ↦ mean CE(θ, x + P(z + a ∇δ CE(θ, x + z))) with z held
	// fixed, which is what the update is the gradient of where c = a and ∇δF and ∇θF are of one pass; NaN elsewhere,
	// and of residual networks, for which it takes too long. Of TRADES and gradient alignment it is that of the
	// objective, where the perturbation goes by signs and stays.
	Differences float64
}

// checkCase is a small network under a method.
type checkCase struct {
	net    plainModel
	name   string
	method robust.FastBAT
	label  string
}

const (
	checkRows = 5
	checkEps  = 0.12
)

// checkCases are both parametrizations on a perceptron, and on one and a residual network with batch normalization in
// each mode, and in one mode for each pass.
func checkCases() (list []checkCase, err error) {
	plain := models.MLP{Widths: []int{3, 5, 4, 3}}
	smooth, norm := plain, plain
	smooth.Activation = "tanh"
	norm.BatchNorm = true
	smoothNorm := smooth
	smoothNorm.BatchNorm = true
	residual, err := newPlainResidual()
	if err != nil {
		return nil, err
	}
	for _, net := range []struct {
		name string
		of   plainModel
		step float64 // such that some coordinates of δ* end on bounds and others do not
		bn   []string
	}{
		{"relu", plainNet{plain}, 0.8, []string{"train"}}, {"tanh", plainNet{smooth}, 0.8, []string{"train"}},
		{"relu, batch norm", plainNet{norm}, 0.2, []string{"train", "frozen", "eval"}},
		{"tanh, batch norm", plainNet{smoothNorm}, 0.2, []string{"train", "frozen", "eval", "eval,frozen,train,train",
			"train,eval,eval,train"}},
		{"residual", residual, 0.2, []string{"train", "frozen", "eval", "frozen,frozen,frozen,train",
			"eval,eval,eval,train", "train,eval,frozen,train"}},
	} {
		for _, bn := range net.bn {
			for _, variant := range []struct {
				name, label string
				implicit    float64
			}{{"fast-bat", "", -1}, {"fast-bat-official", "", 0.1}, {"fast-bat-official", ", implicit = step", -1}} {
				entry, err := robust.ByName(variant.name)
				if err != nil {
					return nil, err
				}
				m := entry.Method.(robust.FastBAT)
				m.Step, m.Implicit, m.BN = net.step, variant.implicit, bn
				list = append(list, checkCase{net.of, net.name, m, variant.name + variant.label})
			}
		}
	}
	return list, nil
}

// Check holds the updates of Fast-BAT against a dense computation, and where both numbers of the method are equal
// against central differences, on small networks with coordinates on and off the bounds; those of TRADES and of
// gradient alignment against both. The executor's device computes the update; in float64 they agree to about eight
// digits.
func Check(ctx context.Context, ex *tensor.Executor, seed uint64) ([]CheckRow, error) {
	cases, err := checkCases()
	if err != nil {
		return nil, err
	}
	var rows []CheckRow
	for _, c := range cases {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		row, err := c.run(ctx, ex, seed)
		if err != nil {
			return nil, fmt.Errorf("check of %s on %s: %w", c.label, c.name, err)
		}
		rows = append(rows, row)
	}
	others, err := checkBaselines(ctx, ex, seed)
	return append(rows, others...), err
}

// run compares one update.
func (c checkCase) run(ctx context.Context, ex *tensor.Executor, seed uint64) (row CheckRow, err error) {
	d := newDense(c, seed)
	got, statistics, err := d.computed(ctx, ex, c.method, seed)
	if err != nil {
		return row, err
	}
	want := d.update()
	row = CheckRow{Method: c.label, Net: c.name, BN: c.method.BN, Parameters: len(got), Free: d.free, Held: d.held,
		Share: norm(d.implicit) / norm(want), Dense: largest(got, want), Differences: math.NaN()}
	_, perceptron := c.net.(plainNet)
	if perceptron && c.method.Implicit < 0 && d.eval[2] == d.eval[3] { // else ∇δF and ∇θF are of different functions
		row.Differences = largest(got, d.differences())
	}
	if len(d.state) > 0 {
		row.Dense = max(row.Dense, largest(statistics, d.moved))
	}
	return row, nil
}

// computed is the update that a method makes on a device, at rate 1, and the running statistics after it.
func (d *dense) computed(ctx context.Context, ex *tensor.Executor, m robust.Method, seed uint64) (
	update, statistics []float64, err error) {
	t := robust.Task{
		Name: "check", Model: d.net, Start: params.Values{Layout: d.net.Params(), Flat: d.theta},
		Rows: problem.Rows{robust.Features: problem.Reals(d.x, d.net.inputs()),
			robust.Labels: problem.Ints(d.labels)},
		Sampler: inOrder(checkRows), Eps: checkEps, Optimizer: robust.SGD{Rate: 1},
	}
	if len(d.state) > 0 {
		t.State = params.Values{Layout: d.net.State(), Flat: d.state}
	}
	e, err := robust.New(ex, t, m, 1, 1, seed)
	if err != nil {
		return nil, nil, err
	}
	defer func() { err = errors.Join(err, e.Close()) }()
	if err := e.Step(ctx, 0, 1); err != nil {
		return nil, nil, err
	}
	after, err := e.Variable(robust.Parameters).Read()
	if err != nil {
		return nil, nil, err
	}
	update = along(d.theta, after, -1)
	if len(d.state) > 0 {
		statistics, err = e.Variable(engine.StateName).Read()
	}
	return update, statistics, err
}

// largest is the largest difference, relative to the largest element of want or to 1.
func largest(got, want []float64) (most float64) {
	scale := 1.0
	for i := range want {
		scale = max(scale, math.Abs(want[i]))
		if d := math.Abs(got[i] - want[i]); !(d <= most) {
			most = d
		}
	}
	return most / scale
}

func norm(v []float64) (sum float64) {
	for _, c := range v {
		sum += c * c
	}
	return math.Sqrt(sum)
}

// inOrder is a sampler of one minibatch: the rows in their order.
type inOrder int

func (s inOrder) Size() int       { return int(s) }
func (s inOrder) Check(int) error { return nil }

func (s inOrder) Fill(dst []int32, _ problem.Source, _ uint64) error {
	for i := range dst {
		dst[i] = int32(i % int(s))
	}
	return nil
}

// dense is an update of Fast-BAT in plain numbers.
type dense struct {
	net             plainModel
	labels          []int32
	method          robust.FastBAT
	eval            [4]bool // of the passes warmup, linearization, response and training
	train           [4]bool
	theta, state, x []float64
	start           []float64 // the uniform start, before projection

	z          []float64
	free, held int
	implicit   []float64
	moved      []float64 // running statistics after the update
}

// newDense draws a network, rows and the start that the engine draws. Some pixels are 0 or 1, where both parts of C
// are bounds.
func newDense(c checkCase, seed uint64) *dense {
	p, state := c.net.Init(seed)
	d := &dense{net: c.net, labels: make([]int32, checkRows), method: c.method, theta: p.Flat}
	inputs := c.net.inputs()
	draws := make([]float32, checkRows*inputs+2*state.Size())
	philox.Uniforms(draws, seed, 1, philox.StreamTest, 0)
	for i := range checkRows * inputs {
		d.x = append(d.x, math.Min(1, math.Max(0, 1.4*float64(draws[i])-0.2)))
	}
	for i := range d.labels {
		d.labels[i] = int32(i % c.net.classes())
	}
	for i := range state.Flat { // of another batch than this one
		d.state = append(d.state, 0.1+0.4*float64(draws[checkRows*inputs+i]))
	}
	d.moved = d.state
	noise := make([]float32, checkRows*inputs)
	philox.Uniforms(noise, seed, 0, 1<<24, 0) // the first stream of random numbers on the device, in iteration 0
	for _, u := range noise {
		d.start = append(d.start, checkEps*(2*float64(u)-1))
	}
	words := strings.Split(c.method.BN, ",")
	for i := range d.eval {
		word := words[min(i, len(words)-1)]
		d.eval[i], d.train[i] = word == "eval", word == "train"
	}
	return d
}

// project is the nearest point of C.
func (d *dense) project(delta []float64) []float64 {
	out := make([]float64, len(delta))
	for i, v := range delta {
		out[i] = math.Min(math.Min(checkEps, 1-d.x[i]), math.Max(math.Max(-checkEps, -d.x[i]), v))
	}
	return out
}

// sum is Σ CE at θ and x + δ, with the part a at parameter i and the part b at coordinate j of δ (-1: nowhere).
func (d *dense) sum(theta, delta []float64, i, j int, pass int) (total hyperdual, next []float64) {
	p, x := d.at(theta, delta, i, j)
	return d.loss(p, x, pass)
}

// loss is Σ CE of rows x.
func (d *dense) loss(p []hyperdual, x [][]hyperdual, pass int) (total hyperdual, next []float64) {
	z, next := d.net.logits(p, x, d.moved, d.eval[pass])
	for r, row := range z {
		total = total.minus(row[d.labels[r]]).plus(logSumExp(row))
	}
	return total, next
}

// at is θ and x + δ, with the part a at parameter i and the part b at coordinate j of δ (-1: nowhere).
func (d *dense) at(theta, delta []float64, i, j int) (p []hyperdual, x [][]hyperdual) {
	p = make([]hyperdual, len(theta))
	for k, v := range theta {
		p[k].v = v
	}
	if i >= 0 {
		p[i].a = 1
	}
	inputs := d.net.inputs()
	x = make([][]hyperdual, checkRows)
	for r := range x {
		x[r] = make([]hyperdual, inputs)
		for k := range x[r] {
			at := r*inputs + k
			x[r][k].v = d.x[at] + delta[at]
			if at == j {
				x[r][k].b = 1
			}
		}
	}
	return p, x
}

// slope is ∇δ Σ CE.
func (d *dense) slope(theta, delta []float64, pass int) []float64 {
	g := make([]float64, len(delta))
	for j := range g {
		total, _ := d.sum(theta, delta, -1, j, pass)
		g[j] = total.b
	}
	return g
}

// pass keeps what a pass in mode train makes of the running statistics.
func (d *dense) pass(delta []float64, pass int) {
	if _, next := d.sum(d.theta, delta, -1, -1, pass); d.train[pass] {
		d.moved = next
	}
}

// perturbation is δ* at θ for a fixed z.
func (d *dense) perturbation(theta []float64) []float64 {
	return d.project(along(d.z, d.slope(theta, d.z, 1), d.method.Step))
}

// inside tells whether a coordinate lies strictly inside C, by more than a margin; counted is how many do, and do not.
func (d *dense) inside(delta []float64, j int, margin float64) bool {
	lo, hi := math.Max(-checkEps, -d.x[j]), math.Min(checkEps, 1-d.x[j])
	return delta[j] > lo+margin && delta[j] < hi-margin
}

func (d *dense) counted(delta []float64, margin float64) (free, held int) {
	for j := range delta {
		if d.inside(delta, j, margin) {
			free++
		} else {
			held++
		}
	}
	return free, held
}

// along is a + c b.
func along(a, b []float64, c float64) []float64 {
	out := make([]float64, len(a))
	for i := range a {
		out[i] = a[i] + c*b[i]
	}
	return out
}

// update is the direction of one iteration.
func (d *dense) update() []float64 {
	a, c := d.method.Step, d.method.Implicit
	if c < 0 {
		c = a
	}
	d.z = d.project(d.start)
	for range d.method.Warmup {
		g := d.slope(d.theta, d.z, 0)
		d.pass(d.z, 0)
		d.z = d.project(along(d.z, g, a))
	}
	delta := d.perturbation(d.theta)
	linearized := d.moved
	d.pass(d.z, 1)
	response := d.slope(d.theta, delta, 2)
	d.pass(delta, 2)
	d.free, d.held = d.counted(delta, d.method.Margin)
	for j := range delta {
		if !d.inside(delta, j, d.method.Margin) {
			response[j] = 0
		}
	}
	d.implicit = make([]float64, len(d.theta))
	out := make([]float64, len(d.theta))
	for i := range out {
		d.implicit[i] = c / checkRows * d.mixed(i, response, linearized)
		total, _ := d.sum(d.theta, delta, i, -1, 3)
		out[i] = total.a/checkRows + d.implicit[i]
	}
	d.pass(delta, 3)
	return out
}

// mixed is row i of ∇²θδ Σ CE at z times a vector: the part of each pixel is its element of that.
func (d *dense) mixed(i int, v, statistics []float64) float64 {
	moved := d.moved
	defer func() { d.moved = moved }()
	d.moved = statistics
	p, x := d.at(d.theta, d.z, i, -1)
	for j := range v {
		x[j/d.net.inputs()][j%d.net.inputs()].b = v[j]
	}
	total, _ := d.loss(p, x, 1)
	return total.ab
}

// differences are central ones of θ ↦ mean CE(θ, x + δ*(θ)) at the z of the update, with the running statistics that
// the passes of the update saw.
func (d *dense) differences() []float64 {
	moved := d.moved
	defer func() { d.moved = moved }()
	d.moved = d.state
	for range d.method.Warmup {
		d.pass(d.project(d.start), 0)
	}
	seen := d.moved
	value := func(theta []float64) float64 {
		d.moved = seen
		delta := d.perturbation(theta)
		d.pass(d.z, 1)
		total, _ := d.sum(theta, delta, -1, -1, 3)
		return total.v / checkRows
	}
	out := make([]float64, len(d.theta))
	for i := range out {
		out[i] = central(d.theta, i, value)
	}
	return out
}
