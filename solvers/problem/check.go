package problem

import (
	"errors"
	"fmt"
	"math"
	"strings"

	"bilevel/tensor"
)

// Features are what a problem may have beyond two smooth objectives of x and y. An algorithm says which it can use.
type Features uint16

const (
	UpperSet         Features = 1 << iota // a set that holds x
	LowerSet                              // a set that holds y
	UpperConstraints                      // functions of (x, y) on the upper level
	LowerConstraints                      // functions of (x, y) on the lower level
	LowerResidual                         // the lower level is the root of a residual
	LowerProx                             // the lower objective has a term known by its proximal map
	UpperSaddle                           // an upper objective that is maximized over a further variable
	LowerPerBatch                         // a lower variable for every batch
	ModelState                            // running statistics
)

// featureTable says each feature in words: as a part of the reason of a refusal, and as a noun for lists.
var featureTable = []struct {
	feature Features
	has     func(*Problem) bool
	text    string
	noun    string
}{
	{UpperSet, func(p *Problem) bool { return p.Upper.Set != nil }, "keeps x in a set", "set of x"},
	{LowerSet, func(p *Problem) bool { return p.Lower.Set != nil }, "keeps y in a set", "set of y"},
	{UpperConstraints, func(p *Problem) bool { return p.Upper.Inequality != nil || p.Upper.Equality != nil },
		"has constraint functions on the upper level", "upper constraints"},
	{LowerConstraints, func(p *Problem) bool { return p.Lower.Inequality != nil || p.Lower.Equality != nil },
		"has constraint functions on the lower level", "lower constraints"},
	{LowerResidual, func(p *Problem) bool { return p.Lower.Residual != nil },
		"gives its lower level as the root of a residual", "residual"},
	{LowerProx, func(p *Problem) bool { return p.Lower.Prox != nil }, "has a proximal map on the lower level",
		"proximal map"},
	{UpperSaddle, func(p *Problem) bool { return p.Upper.Saddle != nil },
		"maximizes its upper objective over a further variable", "maximum over a further variable"},
	{LowerPerBatch, func(p *Problem) bool { return p.PerBatch != nil }, "has a lower variable for every batch",
		"lower variable by batch"},
	{ModelState, func(p *Problem) bool { return p.State.Size() > 0 }, "has running statistics", "running statistics"},
}

// Features are those that the problem has.
func (p *Problem) Features() (f Features) {
	for _, row := range featureTable {
		if row.has(p) {
			f |= row.feature
		}
	}
	return f
}

func (f Features) String() string {
	var texts []string
	for _, row := range featureTable {
		if f&row.feature != 0 {
			texts = append(texts, row.text)
		}
	}
	return strings.Join(texts, ", ")
}

// Nouns lists the features as nouns: "set of x, running statistics".
func (f Features) Nouns() string {
	var nouns []string
	for _, row := range featureTable {
		if f&row.feature != 0 {
			nouns = append(nouns, row.noun)
		}
	}
	return strings.Join(nouns, ", ")
}

// Refuse is an error where the problem has a feature that an algorithm cannot use; why says what the algorithm needs.
func (p *Problem) Refuse(algorithm string, usable Features, why string) error {
	if left := p.Features() &^ usable; left != 0 {
		return fmt.Errorf("%s: the problem %s %s, which this algorithm cannot use: %s", algorithm, p.Name, left, why)
	}
	return nil
}

// Check refuses problems that make no sense for any algorithm; its error says what is wrong and what is wanted.
func (p *Problem) Check() error {
	if p == nil {
		return errors.New("problem: there is no problem (nil)")
	}
	fail := func(format string, args ...any) error {
		return fmt.Errorf("problem %q: "+format, append([]any{p.Name}, args...)...)
	}
	for _, side := range []Side{Upper, Lower} {
		l := p.Level(side)
		given := 0
		for _, is := range []bool{l.Value != nil, l.Composite != nil, l.Loss != nil, l.Residual != nil,
			l.Saddle != nil} {
			if is {
				given++
			}
		}
		switch {
		case given == 0:
			return fail("there is no %s objective", side)
		case l.Composite != nil && (l.Composite.Outputs == nil || l.Composite.Outer == nil):
			return fail("the %s level's Composite lacks its Outputs or its Outer; wants both", side)
		case given > 1:
			return fail("the %s level has %d of Value, Composite, Loss, Residual and Saddle; wants one", side, given)
		case side == Lower && l.Saddle != nil:
			return fail("only an upper level can be a Saddle")
		case side == Upper && (l.Residual != nil || l.Prox != nil):
			return fail("only a lower level can be a residual or have a proximal map")
		case l.Residual != nil && l.Prox != nil:
			return fail("a proximal map belongs to a Value or a Loss, but the lower level is a Residual")
		}
		if err := l.Rows.check(); err != nil {
			return fail("the %s level's rows: %w", side, err)
		}
		if err := checkSampler(fmt.Sprintf("the %s level", side), "rows", l.Sampler, l.Rows.Count()); err != nil {
			return fail("%w", err)
		}
		if err := p.checkStart(side); err != nil {
			return fail("%w", err)
		}
	}
	if err := checkValues("running statistics", p.State); err != nil {
		return fail("%w", err)
	}
	if p.State.Size() > 0 && p.Upper.Loss == nil && p.Lower.Loss == nil {
		return fail("there are running statistics, but no objective that can read them: give one as Loss")
	}
	if err := p.Upper.Saddle.check(); err != nil {
		return fail("%w", err)
	}
	if err := p.checkBlocks(); err != nil {
		return fail("%w", err)
	}
	if n, rows := p.Upper.Start.Size(), p.Lower.Rows.Count(); p.WeightPerRow && n != rows {
		return fail("WeightPerRow with %d upper variables and %d rows of the lower level: wants one for each row",
			n, rows)
	}
	if !(p.Mu >= 0) || math.IsInf(p.Mu, 0) {
		return fail("the modulus of convexity Mu is %g: wants a finite number from 0 on", p.Mu)
	}
	if c := p.Constants; c != nil {
		for _, v := range []float64{c.GradXF, c.GradYF, c.Cross, c.Hessian, c.CrossNorm} {
			if !(v >= 0) || math.IsInf(v, 0) {
				return fail("one of the Constants is %g: wants finite numbers from 0 on", v)
			}
		}
	}
	return nil
}

// checkSampler refuses a sampler whose size does not go with the number of rows (or blocks) that there are.
func checkSampler(who, what string, s Sampler, n int) error {
	if s == nil {
		return nil
	}
	if size := s.Size(); size < 1 || n < 1 {
		return fmt.Errorf("%s draws minibatches of %d from %d %s; wants at least one of each", who, size, n, what)
	}
	if err := s.Check(n); err != nil {
		return fmt.Errorf("%s: %w", who, err)
	}
	return nil
}

// checkStart refuses start values that are missing, not finite or outside their set.
func (p *Problem) checkStart(side Side) error {
	l := p.Level(side)
	if side == Lower && p.PerBatch != nil {
		if p.PerBatch.Start == nil || p.PerBatch.Size == nil || l.Start.Size() > 0 {
			return fmt.Errorf("a lower variable for every batch wants PerBatch.Start and PerBatch.Size, and no " +
				"Lower.Start")
		}
		if l.Set == nil {
			return nil
		}
		rows := l.Rows.Count()
		if l.Sampler != nil {
			rows = l.Sampler.Size()
		}
		if err := l.Set.Check(nil, p.PerBatch.Size(rows)); err != nil {
			return fmt.Errorf("the lower level's set: %w", err)
		}
		return nil
	}
	if l.Start.Size() == 0 {
		return fmt.Errorf("the %s level has no start values", side)
	}
	if err := checkValues(side.String()+" start values", l.Start); err != nil {
		return err
	}
	if l.Set == nil {
		return nil
	}
	if err := l.Set.Check(l.Start.Layout, l.Start.Size()); err != nil {
		return fmt.Errorf("the %s level's set: %w", side, err)
	}
	if !l.Set.Contains(l.Start) {
		return fmt.Errorf("the %s level starts outside its %s", side, l.Set)
	}
	return nil
}

// checkReals refuses start values that are finite and that the device's Real does not hold.
func (p *Problem) checkReals(ex *tensor.Executor) error {
	info := ex.Info()
	values := []struct {
		what string
		of   Values
	}{
		{"upper start values", p.Upper.Start}, {"lower start values", p.Lower.Start}, {"running statistics", p.State},
	}
	for _, v := range values {
		for i, c := range v.of.Flat {
			if info.RealBits == 32 && math.Abs(c) > math.MaxFloat32 {
				return fmt.Errorf("problem %q: %s: element %d is %g, which is beyond float32, in which device %s "+
					"computes: at most %.8g", p.Name, v.what, i, c, info.Name, math.MaxFloat32)
			}
		}
	}
	return nil
}

func checkValues(what string, v Values) error {
	if err := v.Check(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	for i, c := range v.Flat {
		if math.IsNaN(c) || math.IsInf(c, 0) {
			return fmt.Errorf("%s: element %d is %g", what, i, c)
		}
	}
	return nil
}
