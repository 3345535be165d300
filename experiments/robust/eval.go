package robust

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
	"bilevel/models"
	adversary "bilevel/solvers/attack"
	"bilevel/tensor"
)

// EvalConfig is the settings of an evaluation: a network of a file, and the attacks on it.
type EvalConfig struct {
	Model      string            `json:"model"`             // a .safetensors or .npz file, see train.ReadNetwork
	Content    string            `json:"content,omitempty"` // a sum of the file: another network is another cell
	Net        string            `json:"net"`               // its architecture; empty: as the file says
	Activation models.Activation `json:"activation"`
	Norm       adversary.Norm    `json:"norm"`
	// Eps are the radii, such as 0.1 or 8/255. The first is that of robust_acc.
	Eps []string `json:"eps"`
	// Attack are the attacks, each scored by itself: pgd-50-10, autoattack and what adversary.Parse knows.
	Attack   []string `json:"attack"`
	Examples int      `json:"n_examples"` // the first rows of the test part
	White    float64  `json:"white"`      // the value of a white pixel in the data
	Batch    int      `json:"batch"`      // images that are attacked at once; 0: as many as suit
}

// EvalDefaults gives the settings for a set.
func EvalDefaults(set *data.Dataset) EvalConfig {
	rows := evaluated(set)
	return EvalConfig{Norm: adversary.Linf, Eps: []string{"0.1"}, Attack: []string{"pgd-50-10", "autoattack"},
		Examples: min(1000, rows.N()), White: train.WhitePixel(set)}
}

// evaluated are the rows that an evaluation takes: the test part where there is one.
func evaluated(set *data.Dataset) *data.Set {
	if set.Test != nil {
		return set.Test
	}
	return set.Train
}

// Eval is the experiment: clean accuracy, and what attacks leave of it at several radii.
type Eval struct{}

func (Eval) Name() string { return "robust attack" }

func (Eval) Cells(config any, seeds []uint64) ([]experiments.Cell, error) {
	c, ok := config.(EvalConfig)
	if !ok {
		return nil, fmt.Errorf("robust attack: a configuration of type %T", config)
	}
	if _, err := c.radii(); err != nil {
		return nil, err
	}
	if _, err := c.attacks(); err != nil {
		return nil, err
	}
	switch {
	case c.Examples < 1:
		return nil, fmt.Errorf("n_examples %d: wants at least 1", c.Examples)
	case !(c.White > 0) || math.IsInf(c.White, 0):
		return nil, fmt.Errorf("white %g: wants the positive value of a white pixel", c.White)
	case c.Batch < 0:
		return nil, fmt.Errorf("batch %d: wants at least 1 image, or 0 for as many as suit", c.Batch)
	}
	return experiments.SeedCells("robust attack", c, seeds), nil
}

// radii are the radii, in the order of the settings.
func (c EvalConfig) radii() (radii []float64, err error) {
	for _, text := range c.Eps {
		eps, err := adversary.ParseRadius(text)
		if err != nil {
			return nil, err
		}
		// Of l_2 the largest radius depends on the images; what is above it is refused before attacks begin.
		if err := (adversary.Ball{Norm: c.Norm, Eps: eps}).Check(1 << 30); err != nil {
			return nil, err
		}
		radii = append(radii, eps)
	}
	if len(radii) == 0 {
		return nil, errors.New("eps: wants at least one radius")
	}
	return radii, nil
}

// method is one or more attacks that are scored together.
type method struct {
	name    string
	attacks []adversary.Attack
}

func (c EvalConfig) attacks() (list []method, err error) {
	for _, name := range c.Attack {
		of, err := adversary.Parse(name)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(list, func(m method) bool { return m.name == name }) {
			return nil, fmt.Errorf("attack %q is given twice", name)
		}
		list = append(list, method{name, of})
	}
	if len(list) == 0 {
		return nil, errors.New("attack: wants at least one, such as pgd-50-10 or autoattack")
	}
	return list, nil
}

// scored is what a method came to at all radii, ascending.
type scored struct {
	method
	levels []adversary.Level
}

// Run attacks with one seed.
func (Eval) Run(ctx context.Context, env *experiments.Env, cell experiments.Cell) (
	r *experiments.Record, err error) {
	c := cell.Config.(EvalConfig)
	if c.Model == "" {
		return nil, errors.New("model: wants the file of a network, .safetensors or .npz")
	}
	samples, shape, err := c.samples(env.Data)
	if err != nil {
		return nil, err
	}
	net, err := train.ReadNetwork(c.Model, train.Reading{Name: c.Net, Activation: c.Activation,
		Inputs: train.InputsOf(env.Data), Classes: env.Data.Classes, White: c.White, Pixels: true})
	if err != nil {
		return nil, err
	}
	d := len(samples.Images) / samples.N()
	switch {
	case net.Inputs != d:
		return nil, fmt.Errorf("%s takes %d inputs, and the images of %s have %d pixels", c.Model, net.Inputs,
			env.Data.Name, d)
	case net.Classes < env.Data.Classes:
		return nil, fmt.Errorf("%s has %d classes, and %s has %d", c.Model, net.Classes, env.Data.Name,
			env.Data.Classes)
	}
	sc := env.Executor.Scope()
	defer func() {
		if ctx.Err() == nil { // else the device may still be busy
			err = errors.Join(err, sc.Close())
		}
	}()
	m, err := on(net, sc)
	if err != nil {
		return nil, err
	}
	m.Image = imageOf(shape)
	at := ""
	a, err := adversary.New(env.Executor, m, adversary.Options{Seed: cell.Seed, Batch: c.Batch,
		Progress: func(s adversary.Stage) {
			if stage := fmt.Sprintf("%s, %d of %d images", s.Attack, s.Done, s.Images); stage != at {
				at = stage
				env.Begin(stage, s.Runs)
			}
			env.Done(s.Run)
			env.Say("%d robust", s.Robust)
		}})
	if err != nil {
		return nil, err
	}
	sc.Own(a.Close)
	radii, err := c.radii()
	if err != nil {
		return nil, err
	}
	methods, err := c.attacks()
	if err != nil {
		return nil, err
	}
	var all []scored
	for _, k := range methods {
		levels, err := a.Sweep(ctx, c.Norm, radii, samples, k.attacks...)
		if err != nil {
			return nil, errors.Join(err, ctx.Err())
		}
		all = append(all, scored{k, levels})
	}
	r = c.record(env.Data, samples, shape, radii[0], all)
	if _, ok := net.Model.(models.Network); ok && !net.Normalizes() {
		r.Warn("%s has no normalization of its inputs (mu and sigma, or mean and std): the network was given pixels "+
			"in [0, 1]", c.Model)
	}
	r.WarnOfSeenRows(env.Data)
	return r, nil
}

// on puts a network on a device.
func on(t train.Network, sc *tensor.Scope) (m adversary.Model, err error) {
	p := sc.Variable("parameters", tensor.Real, t.Params.Size())
	err = p.Write(t.Params.Flat)
	var state *tensor.Node
	if t.State.Size() > 0 {
		v := sc.Variable("state", tensor.Real, t.State.Size())
		err, state = errors.Join(err, v.Write(t.State.Flat)), v.Node()
	}
	return adversary.Of(t.Model, t.Inputs, t.Classes, p.Node(), state), err
}

// samples are the first rows as pixels in [0, 1], and the shape of one.
func (c EvalConfig) samples(set *data.Dataset) (s adversary.Samples, shape []int, err error) {
	rows := evaluated(set)
	if c.Examples > rows.N() {
		return s, nil, experiments.Usagef("n_examples is %d, and there are %d rows", c.Examples, rows.N())
	}
	s.Labels = rows.Labels[:c.Examples]
	for i := range c.Examples * rows.Dim {
		v := value(rows, i)
		if x := float64(v) / c.White; x >= 0 && x <= 1 {
			s.Images = append(s.Images, float32(x))
			continue
		}
		return s, nil, fmt.Errorf("the value %g in row %d of %s is no pixel from 0 to %g: attacks work on images in "+
			"[0, 1], so give the value of a white pixel as --white, or shift the data", v, i/rows.Dim, set.Name,
			c.White)
	}
	return s, shapeOf(set), nil
}

// shapeOf is the shape of a row. One of a set that says nothing of it is a row of numbers.
func shapeOf(set *data.Dataset) []int {
	if len(set.Shape) == 0 {
		return []int{set.Train.Dim}
	}
	return set.Shape
}

// mostChannels is how many channels an image file has at most.
const mostChannels = 4

// imageOf is a shape as attacks want it. Channels come last, as in the sets that are read here, or first where only the
// first axis is as short as a number of channels. What is no image is one row of pixels.
func imageOf(shape []int) adversary.Image {
	switch len(shape) {
	case 2:
		return adversary.Image{Height: shape[0], Width: shape[1], Channels: 1}
	case 3:
		if shape[0] > mostChannels || shape[2] <= mostChannels {
			return adversary.Image{Height: shape[0], Width: shape[1], Channels: shape[2], ChannelsLast: true}
		}
		return adversary.Image{Height: shape[1], Width: shape[2], Channels: shape[0]}
	}
	d := 1
	for _, n := range shape {
		d *= n
	}
	return adversary.Image{Height: 1, Width: d, Channels: 1}
}

// record puts what was found into tables, a curve over the radius, pictures, arrays and words. The keys of the main
// numbers are RobustBench's. The main radius is the first one that was given.
func (c EvalConfig) record(set *data.Dataset, s adversary.Samples, shape []int, main float64, all []scored) (
	r *experiments.Record) {
	r = experiments.NewRecord()
	n := s.N()
	clean := all[0].levels[0].Raw.Clean
	accuracy := experiments.Table{Name: "accuracy", Columns: []string{"eps", "attack", "robust_acc", "std_error",
		"robust_acc_raw", "n_examples"}}
	attacks := experiments.Table{Name: "attacks", Columns: []string{"eps", "attack", "part", "attacked", "broken",
		"robust", "seconds"}}
	r.Curve.Columns = []string{"eps", "clean_acc", "robust_acc"}
	for _, k := range all {
		r.Curve.Columns = append(r.Curve.Columns, k.name)
	}
	share, err := adversary.Accuracy(clean)
	r.Scalars["clean_acc"], r.Scalars["clean_acc_std"] = share, err
	cleanAcc := share
	seen := map[string]bool{}
	for i := range all[0].levels {
		eps := all[0].levels[i].Ball.Eps
		worst, from := slices.Clone(clean), make([]int, n) // which method's image shows it
		line := []float64{eps, cleanAcc, 0}
		for k, of := range all {
			l := of.levels[i]
			share, err := adversary.Accuracy(l.Robust)
			raw, _ := adversary.Accuracy(l.Raw.Robust)
			line = append(line, share)
			accuracy.Rows = append(accuracy.Rows, []string{experiments.Number(eps), of.name, experiments.Number(share),
				experiments.Number(err), experiments.Number(raw), strconv.Itoa(n)})
			for j, robust := range l.Robust {
				if !robust {
					worst[j], from[j] = false, k
				}
			}
			for _, t := range l.Raw.Attacks {
				attacks.Rows = append(attacks.Rows, []string{experiments.Number(eps), of.name, t.Name,
					strconv.Itoa(t.Attacked), strconv.Itoa(t.Broken), strconv.Itoa(t.Robust),
					fmt.Sprintf("%.3g", t.Duration.Seconds())})
			}
			for _, w := range l.Raw.Warnings {
				if w = fmt.Sprintf("eps %.4g: %s", eps, w); !seen[w] {
					seen[w] = true
					r.Warnings = append(r.Warnings, w)
				}
			}
		}
		line[2], _ = adversary.Accuracy(worst)
		r.Curve.Rows = append(r.Curve.Rows, line)
		images := worstImages(s, all, i, from)
		name := "adversarial"
		if eps != main {
			name += "-" + experiments.Number(eps)
		} else {
			c.main(r, set, s, shape, all[0].levels[i].Ball, clean, worst, images)
		}
		r.Arrays = append(r.Arrays, experiments.Array{Name: name, Shape: append([]int{n}, shape...), Values: images})
	}
	r.Tables = append([]experiments.Table{accuracy, attacks}, r.Tables...)
	r.Counts["n_examples"] = int64(n)
	return r
}

// worstImages are the images that show what holds at a radius: of each that is not robust, those of the method that
// broke it.
func worstImages(s adversary.Samples, all []scored, level int, from []int) []float32 {
	d := len(s.Images) / s.N()
	images := make([]float32, 0, len(s.Images))
	for i, k := range from {
		images = append(images, all[k].levels[level].Images[i*d:(i+1)*d]...)
	}
	return images
}

// main is what a record says of the main radius.
func (c EvalConfig) main(r *experiments.Record, set *data.Dataset, s adversary.Samples, shape []int,
	ball adversary.Ball, clean, robust []bool, images []float32) {
	share, err := adversary.Accuracy(robust)
	threat := map[adversary.Norm]string{adversary.Linf: "Linf", adversary.L2: "L2"}[ball.Norm]
	r.Scalars["robust_acc"], r.Scalars["robust_acc_std"], r.Scalars["eps"] = share, err, ball.Eps
	r.Texts["threat_model"] = threat
	r.Texts["evaluation"] = fmt.Sprintf("clean accuracy %.1f %% ± %.1f, robust accuracy %.1f %% ± %.1f (one standard "+
		"deviation of %d rows; %s, eps %.4g; the worst case over %s)", 100*r.Scalars["clean_acc"],
		100*r.Scalars["clean_acc_std"], 100*share, 100*err, s.N(), threat, ball.Eps, strings.Join(c.Attack, ", "))

	classes := experiments.Table{Name: "classes", Columns: []string{"class", "n_examples", "clean_acc", "robust_acc"}}
	for y := range set.Classes {
		var ofClean, ofRobust []bool
		for i, label := range s.Labels {
			if int(label) == y {
				ofClean, ofRobust = append(ofClean, clean[i]), append(ofRobust, robust[i])
			}
		}
		if len(ofClean) == 0 {
			continue
		}
		a, _ := adversary.Accuracy(ofClean)
		b, _ := adversary.Accuracy(ofRobust)
		classes.Rows = append(classes.Rows, []string{set.ClassName(int32(y)), strconv.Itoa(len(ofClean)),
			experiments.Number(a), experiments.Number(b)})
	}
	r.Tables = append(r.Tables, classes)
	if len(shape) != 2 {
		return
	}
	if g := tiles(set, s, shape, ball, clean, robust, images); len(g.Captions) > 0 {
		r.Images = append(r.Images, g)
	}
}

// tiles shows the first images that were broken, three tiles each: the image, the adversarial example, and their
// difference, where grey is 0 and black and white are the radius.
func tiles(set *data.Dataset, s adversary.Samples, shape []int, ball adversary.Ball, clean, robust []bool,
	images []float32) experiments.Grid {
	const most = 8
	g := experiments.Grid{Name: "adversarial", Height: shape[0], Width: shape[1]}
	d := shape[0] * shape[1]
	for i := 0; i < s.N() && len(g.Captions) < 3*most; i++ {
		if !clean[i] || robust[i] {
			continue
		}
		x, x0 := images[i*d:(i+1)*d], s.Images[i*d:(i+1)*d]
		g.Pixels = append(append(g.Pixels, x0...), x...)
		far := 0.0 // in l_2 the largest change of a pixel
		for j := range x {
			far = max(far, math.Abs(float64(x[j])-float64(x0[j])))
		}
		if ball.Norm == adversary.Linf {
			far = ball.Eps
		}
		for j := range x {
			v := 0.5 + 0.5*(float64(x[j])-float64(x0[j]))/max(far, 1e-12)
			g.Pixels = append(g.Pixels, float32(min(1, max(0, v))))
		}
		g.Captions = append(g.Captions, fmt.Sprintf("%d: %s", i, set.ClassName(s.Labels[i])), "perturbed", "difference")
	}
	return g
}

// Report is what `bilevel robust attack` shows.
func (Eval) Report() experiments.Report {
	line := func(name, column string) experiments.Line {
		return experiments.Line{Name: name, Column: column, Optional: true}
	}
	return experiments.Report{
		After: []string{"evaluation"},
		Rows: []experiments.Row{
			{Title: "clean accuracy", Scalar: "clean_acc", Percent: true},
			{Title: "  standard error", Scalar: "clean_acc_std", Percent: true},
			{Title: "robust accuracy ({threat_model})", Scalar: "robust_acc", Percent: true},
			{Title: "  standard error", Scalar: "robust_acc_std", Percent: true},
			{Title: "eps", Scalar: "eps"},
		},
		Plots: []experiments.Plot{{
			File: "accuracy-eps", X: "eps", Y: "robust accuracy (%)", Over: "eps", ScaleToPercent: true,
			Lines: []experiments.Line{line("worst case", "robust_acc"), line("AutoAttack", "autoattack"),
				line("PGD-50-10", "pgd-50-10"), line("clean", "clean_acc")},
		}},
	}
}
