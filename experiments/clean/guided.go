package clean

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strings"

	"bilevel/data"
	"bilevel/experiments"
	"bilevel/experiments/train"
)

const (
	confidentParts = 4 // folds of confident learning as a control
	withoutTrusted = 5 // and where it is the method itself
	confidentSteps = 1000
	mostlyWrong    = 0.4 // a share of suggestions beside the given labels that wants a word
)

// guided is one seed's run of a form that begins on trusted rows, or of confident learning where there are none.
type guided struct {
	Config
	env   *experiments.Env
	data  *data.Judged
	seed  uint64
	rows  tables
	nets  []*net
	all   []int32 // the rows of the training table
	trust []int32 // and of the trusted one
	folds []fold
	// starts are models trained on the trusted rows of a fold, by model and fold.
	starts map[[2]int][]float64
	keep   *pieces
	// trustedFrom says where the trusted rows come from; empty where there are none.
	trustedFrom string
	r           *experiments.Record
	done        int
}

// control is a way to train that needs no upper level.
type control struct {
	name   string // of its scalar
	title  string // in sentences
	y      []float64
	held   *held      // on trusted rows that it was not trained on
	found  []bool     // see ending
	right  *standing  // see ending; nil: that of planted rows
	judged *judgement // of the training rows, out of fold where it was trained on them
}

// ending is what the run ends with, and what the ranking is made of.
type ending struct {
	method  string
	form    string // of the weights of the rounds; that of self-training where a control without rounds won
	net     *net
	y       []float64
	judged  *judgement
	weights []float64
	held    *held  // nil where no trusted rows judge it
	found   []bool // rows that the method's own rule flags; nil: those with another suggested label
	// right and flipped are what expect estimates by; nil without trusted rows.
	right, flipped *standing
}

func (g *guided) unit() { g.done++; g.env.Done(g.done) }

func (g *guided) begin(name string, units int) {
	g.done = 0
	g.env.Begin(name, units)
}

// runGuided does one seed of every form but "plain".
func runGuided(ctx context.Context, env *experiments.Env, c Config, seed uint64) (_ *experiments.Record, err error) {
	if c.Batch > env.Data.Train.N() || c.Train > 0 && c.Batch > c.Train {
		return nil, experiments.Usagef("minibatches of %d rows out of %d training rows: wants 1 to %d", c.Batch,
			max(c.Train, 1), max(c.Train, 1))
	}
	mark, err := data.FindTrusted(env.Data, c.Trusted)
	if err != nil {
		return nil, err
	}
	if err := enoughMemory(env.Data); err != nil {
		return nil, err
	}
	d, err := data.Judge(env.Data, data.Judging{Trusted: mark, Corrupt: c.Corrupt, Train: c.Train, Val: c.Val}, seed)
	if err != nil {
		return nil, err
	}
	if d.Trusted == nil && (c.Weights != Auto) {
		return nil, experiments.Usagef("--weights %s wants trusted rows: mark them with --trusted FILE or in %s, "+
			"or give val_x.npy and val_y.npy", c.Weights, data.TrustedFile)
	}
	g := &guided{Config: c, env: env, data: d, seed: seed, starts: map[[2]int][]float64{}, r: experiments.NewRecord(),
		keep: newPieces(env.Keeper)}
	g.trustedFrom = trustedFrom(env.Data, c, mark, d)
	sc := env.Executor.Scope()
	closeAll := func() error {
		var errs []error
		for _, n := range g.nets {
			errs = append(errs, n.close())
		}
		return errors.Join(append(errs, sc.Close())...)
	}
	var errs [3]error
	g.rows.train, errs[0] = upload(sc, "training", d.Train)
	g.rows.trusted, errs[1] = upload(sc, "trusted", d.Trusted)
	g.rows.test, errs[2] = upload(sc, "test", d.Test)
	if err := errors.Join(errs[:]...); err != nil {
		return nil, errors.Join(err, closeAll())
	}
	for _, spec := range c.specs() {
		n, err := newNet(env.Executor, c.settings(), spec, train.InputsOf(env.Data), &g.rows, d.Classes, seed, g.keep)
		if err != nil {
			return nil, errors.Join(err, closeAll())
		}
		g.nets = append(g.nets, n)
	}
	g.all, g.trust = indices(d.Train.N()), nil
	if d.Changed != nil {
		wrong := 0
		for _, changed := range d.Changed {
			if changed {
				wrong++
			}
		}
		g.r.Texts["corruption"] = fmt.Sprintf("%s with labels made wrong on purpose, %d of %d: --corrupt %g "+
			"redraws that share of them at random",
			filepath.Base(env.Data.Name), wrong, len(d.Changed), c.Corrupt)
	}
	for _, sentence := range d.Warnings {
		g.r.Warn("%s", sentence)
	}
	work := g.withoutTrusted
	if d.Trusted != nil {
		g.trust = indices(d.Trusted.N())
		g.folds = folds(d.Trusted.Labels, d.Classes, d.Provisional, seed)
		work = g.withTrusted
	}
	if err := work(ctx); err != nil {
		if ctx.Err() != nil { // the device may still be busy: nothing is freed
			return nil, errors.Join(err, g.keep.save())
		}
		return nil, errors.Join(fmt.Errorf("seed %d: %w", seed, err), closeAll())
	}
	return g.r, closeAll()
}

// trustedFrom says in words where the trusted rows of a run come from.
func trustedFrom(set *data.Dataset, c Config, mark []bool, d *data.Judged) string {
	switch {
	case d.Trusted == nil:
		return ""
	case mark != nil:
		return cmp.Or(c.Trusted, data.TrustedFile)
	case set.Val != nil:
		return "the set's validation rows"
	}
	return "drawn at random"
}

func indices(n int) []int32 {
	out := make([]int32, n)
	for i := range out {
		out[i] = int32(i)
	}
	return out
}

// withTrusted chooses model and form, runs it with all trusted rows, and compares it with the controls.
func (g *guided) withTrusted(ctx context.Context) error {
	g.begin("choosing on held-out trusted rows", len(g.folds)*(len(g.nets)+len(g.forms())))
	c, err := g.choose(ctx)
	if err != nil {
		return err
	}
	n := g.nets[c.spec]
	g.begin("cleaning", rounds)
	y0, err := n.fit(ctx, "training on trusted rows", g.rows.trusted, g.trust, startSteps, g.seed)
	if err != nil {
		return err
	}
	labels := g.data.Train.Labels
	out, err := n.run(ctx, weighing{
		name: cleaning, form: c.form, labels: labels, train: g.all, trusted: g.trust, start: y0, seed: g.seed,
		each: func(round int, y []float64) error {
			g.env.Done(round)
			return g.note(ctx, n, cleaning, 0, round, y, nil)
		},
	})
	if err != nil {
		return err
	}
	last, err := n.look(ctx, out.before, labels)
	if err != nil {
		return err
	}
	if err := g.certify(ctx, n, c.form, out, last); err != nil {
		return err
	}
	end := &ending{method: "weights " + c.form, form: c.form, net: n, y: out.y,
		weights: n.weights(c.form, last, labels, out.x), held: c.run}
	g.curve(c.run.name, n.iterationsFor(len(g.all)))
	if end.judged, err = n.look(ctx, out.y, labels); err != nil {
		return err
	}
	g.r.Texts["choice"] = c.why
	g.r.Texts["model"], g.r.Texts["form"] = n.spec.name, c.form
	g.r.Count(out.cost)
	if saturated(end.weights) {
		g.r.Warn(saturatedWeights)
	}
	g.warnOfRowsNeverDrawn(n)
	for _, h := range c.tried {
		g.r.Scalars["selection."+h.name+".log_loss"] = mean(h.loss)
		g.r.Scalars["selection."+h.name+".error"] = mean(h.wrong)
	}
	controls, err := g.controls(ctx, c, y0)
	if err != nil {
		return err
	}
	g.decide(end, controls)
	if end.right == nil {
		if end.right, err = g.planted(ctx, c.spec, end.form); err != nil {
			return err
		}
		end.flipped = g.unseen(end.held)
	}
	return g.finish(ctx, end, controls)
}

// controls trains what the run is compared with.
func (g *guided) controls(ctx context.Context, c *choice, y0 []float64) (controls []*control, err error) {
	n, labels := g.nets[c.spec], g.data.Train.Labels
	g.begin("controls", confidentParts+3)
	trusted := g.data.Trusted.Labels[:g.data.Trusted.N()-g.data.Provisional]
	oof, err := n.confident(ctx, labels, trusted, confidentParts, confidentSteps, g.seed, g.env.Done)
	if err != nil {
		return nil, err
	}
	kept := oof.keeps()
	g.done = confidentParts
	g.r.Scalars["confident_learning.wrong_labels"] = oof.wrong
	for _, k := range []struct {
		name, title string
		rows        []int32
	}{{"all", "training on all rows", g.all}, {"confident_learning", "confident learning", kept}} {
		if len(kept) == 0 {
			continue
		}
		one := &control{name: k.name, title: k.title, judged: &oof.judgement, found: oof.found,
			right: oof.right, held: &held{name: k.title}}
		if one.y, err = n.fit(ctx, k.title, g.rows.train, k.rows, startSteps, g.seed); err != nil {
			return nil, err
		}
		j, err := n.judge(ctx, g.rows.trusted, one.y, nil)
		if err != nil {
			return nil, err
		}
		one.held.take(j, g.data.Trusted.Labels, c.run.rows)
		controls = append(controls, one)
		g.unit()
	}
	alone := &control{name: "trusted", title: "training on the trusted rows alone", y: y0, held: c.onTrusted,
		right: g.unseen(c.onTrusted)}
	if alone.judged, err = n.look(ctx, y0, labels); err != nil {
		return nil, err
	}
	controls = append(controls, alone)
	self := &control{name: "self_training", title: "self-training", held: c.selfTraining}
	if c.form != formNone {
		out, err := n.run(ctx, weighing{name: self.title, form: formNone, labels: labels, train: g.all,
			trusted: g.trust, start: y0, seed: g.seed})
		if err != nil {
			return nil, err
		}
		self.y = out.y
		if self.judged, err = n.look(ctx, out.y, labels); err != nil {
			return nil, err
		}
		controls = append(controls, self)
	}
	g.unit()
	return controls, nil
}

// decide hands the ranking to a control that does better on held-out trusted rows.
func (g *guided) decide(end *ending, controls []*control) {
	best := end.held
	var winner *control
	for _, c := range controls {
		if c.held.better(best) {
			best, winner = c.held, c
		}
	}
	if winner == nil {
		g.warnOfEquals(end, controls)
		return
	}
	wrong, se := gain(end.held.wrong, winner.held.wrong)
	loss, lossError := gain(winner.held.loss, end.held.loss)
	g.r.Texts["headline"] = fmt.Sprintf("%s does better than hyper-cleaning on %d held-out trusted rows (%+.1f ± "+
		"%.1f points of accuracy, log loss %+.3f ± %.3f): the ranking and the model are its own",
		winner.title, len(best.rows), 100*wrong, 100*se, loss, lossError)
	end.method, end.form, end.y, end.judged = winner.title, formNone, winner.y, winner.judged
	end.held, end.found, end.right, end.flipped = winner.held, winner.found, winner.right, winner.right
}

// warnOfEquals names the controls that may well be better than the run: held-out trusted rows do not exclude that they
// get more right by half a point, since the difference plus two standard errors is above that.
func (g *guided) warnOfEquals(end *ending, controls []*control) {
	const worthKnowing, errorsWide = 0.005, 2
	var names []string
	for _, c := range controls {
		wrong, se := gain(end.held.wrong, c.held.wrong)
		se = max(se, 1/float64(len(end.held.rows))) // equal answers on so many rows do not make models equal
		if most := wrong + errorsWide*se; most > worthKnowing {
			names = append(names, fmt.Sprintf("%s (%.1f %%, so at most about %.1f points better)", c.title,
				100*mean(c.held.wrong), 100*most))
		}
	}
	if len(names) > 0 {
		g.r.Warn("on %d held-out trusted rows the cleaned model is wrong for %.1f %%, which is too few rows to tell "+
			"whether it is more accurate than %s; more trusted rows would tell",
			len(end.held.rows), 100*mean(end.held.wrong), strings.Join(names, ", "))
	}
}

// withoutTrusted ranks by out-of-fold self-confidence and flags by confident learning.
func (g *guided) withoutTrusted(ctx context.Context) error {
	g.begin("out-of-fold probabilities", withoutTrusted*len(g.nets))
	labels := g.data.Train.Labels
	var best *outOfFold
	var chosen *net
	parts := min(withoutTrusted, g.data.Train.N())
	for _, n := range g.nets {
		o, err := n.confident(ctx, labels, nil, parts, startSteps, g.seed, func(int) { g.unit() })
		if err != nil {
			return err
		}
		if best == nil || mean(o.loss) < mean(best.loss) {
			best, chosen = o, n
		}
	}
	differ := 0
	for i, l := range best.label {
		if l != labels[i] {
			differ++
		}
	}
	if share := float64(differ) / float64(len(labels)); share > mostlyWrong {
		g.r.Warn("the %s suggests another label for %.0f %% of the rows that it was not trained on: either so many "+
			"labels are wrong, or it cannot tell the %d classes "+
			"apart by these columns, and then flagged rows mean little", chosen.spec.name, 100*share, g.data.Classes)
	}
	g.begin("cleaned model", 1)
	kept := best.keeps()
	if len(kept) == 0 {
		return errors.New("confident learning finds every label wrong: the features do not tell the classes apart")
	}
	y, err := chosen.fit(ctx, "cleaned model", g.rows.train, kept, startSteps, g.seed)
	if err != nil {
		return err
	}
	end := &ending{method: "confident learning", net: chosen, y: y, judged: &best.judgement, found: best.found}
	g.r.Texts["model"], g.r.Texts["form"] = chosen.spec.name, "confident learning"
	g.r.Scalars["confident_learning.wrong_labels"] = best.wrong
	g.r.Texts["headline"] = fmt.Sprintf("no rows are trusted, so that no bi-level run was made: the ranking is by "+
		"out-of-fold self-confidence where classes are confused as they are, the flag by confident learning (%s)",
		chosen.spec.name)
	g.r.Texts["advice"] = fmt.Sprintf("look at the labels of a few hundred random rows and name them with "+
		"--trusted FILE (or %s): then model and weights are chosen on them, and the output says how many of the "+
		"flagged rows are expected to be wrong and whether simpler ways do better", data.TrustedFile)
	all := &control{name: "all", title: "training on all rows"}
	if all.y, err = chosen.fit(ctx, all.title, g.rows.train, g.all, startSteps, g.seed); err != nil {
		return err
	}
	return g.finish(ctx, end, []*control{all})
}

// saturatedWeights is what a user is told where saturated holds.
const saturatedWeights = "every weight is 0 or 1 to three digits: they say nothing of the order of rows, and " +
	"--outer-step is too large"

// saturated tells whether weights say nothing more.
func saturated(weights []float64) bool {
	for _, w := range weights {
		if w >= 0.001 && w <= 0.999 {
			return false
		}
	}
	return true
}

// testError is the share of test rows that parameters get wrong; NaN where there are none.
func (g *guided) testError(ctx context.Context, n *net, y []float64) (float64, error) {
	if g.rows.test == nil {
		return math.NaN(), nil
	}
	j, err := n.judge(ctx, g.rows.test, y, nil)
	if err != nil {
		return 0, err
	}
	return j.mistakes(g.data.Test.Labels, indices(g.rows.test.n)), nil
}
