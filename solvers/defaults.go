package solvers

import (
	"cmp"
	"reflect"
	"strings"

	"bilevel/solvers/engine"
)

// choose fills in the step sizes of both levels where they are missing, and then a schedule that falls.
func choose(scale func() (Scale, error), inner, outer *float64, schedule *engine.Schedule) error {
	if *inner == 0 || *outer == 0 {
		*schedule = cmp.Or(*schedule, "linear")
	}
	return steps(scale, inner, outer)
}

func (a AIDBiO) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.CGSteps = cmp.Or(a.InnerSteps, 10), cmp.Or(a.CGSteps, 10)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}

// Defaults takes half the step of x that algorithms without a series of random length take, for its noise.
func (a ALSET) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Terms, a.InnerSteps = cmp.Or(a.Terms, 10), cmp.Or(a.InnerSteps, 1)
	inner, outer := a.Step == 0, a.OuterStep == 0
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	if outer {
		a.OuterStep /= 2
	}
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, inner))
	return a, err
}

// neumannStep is 1/L where the step of y was chosen, which is half of that, and else the step of y.
func neumannStep(inner float64, chosen bool) float64 {
	if chosen {
		return 2 * inner
	}
	return inner
}

func (a AmIGO) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps = cmp.Or(a.InnerSteps, 10)
	a.VSteps = cmp.Or(a.VSteps, a.InnerSteps)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	a.VStep = cmp.Or(a.VStep, a.Step)
	return a, err
}

// Defaults takes a longer step of x than other algorithms: y has the one direction ∇q in which it follows x, so that
// the pair goes slowly, and |λ∇q| is bounded, so that it does not diverge.
func (a BOME) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps, a.Eta = cmp.Or(a.InnerSteps, 10), cmp.Or(a.Eta, 0.5)
	a.Phi, a.Epsilon = cmp.Or(a.Phi, "grad_norm"), cmp.Or(a.Epsilon, 1e-8)
	if a.Step == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.Step = cmp.Or(a.Step, s.Inner)
		a.OuterStep = cmp.Or(a.OuterStep, min(10*s.Outer, s.Gap))
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	a.ZStep = cmp.Or(a.ZStep, a.Step)
	return a, nil
}

// Defaults keeps the step of y such that y moves at the pace of z.
func (a F2SA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Multiplier, a.InnerSteps = cmp.Or(a.Multiplier, 10), cmp.Or(a.InnerSteps, 10)
	err := choose(scale, &a.ZStep, &a.OuterStep, &a.Schedule)
	a.YStep = cmp.Or(a.YStep, a.ZStep/a.Multiplier)
	return a, err
}

// Defaults knows no scale: the steps are lengths in units of the variables.
func (a F2SAAdam) Defaults(func() (Scale, error)) (Algorithm, error) {
	if a.ZStep == 0 || a.OuterStep == 0 {
		a.ZStep, a.OuterStep = cmp.Or(a.ZStep, 0.01), cmp.Or(a.OuterStep, 0.01)
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	a.YStep, a.Multiplier, a.InnerSteps = cmp.Or(a.YStep, a.ZStep), cmp.Or(a.Multiplier, 10), cmp.Or(a.InnerSteps, 10)
	a.Beta1, a.Beta2, a.Epsilon = cmp.Or(a.Beta1, 0.9), cmp.Or(a.Beta2, 0.99), cmp.Or(a.Epsilon, 1e-8)
	return a, nil
}

func (a ITDBiO) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.InnerSteps = cmp.Or(a.InnerSteps, 10)
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}

// Defaults takes half the step of x that SOBA takes, because x sees the average later than its directions.
func (a MASOBA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Average = cmp.Or(a.Average, 0.1)
	chosen := a.OuterStep == 0
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	if chosen {
		a.OuterStep /= 2
	}
	return a, err
}

// Defaults chooses both steps where they are missing, and then a schedule that falls.
func (a SOBA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	return a, err
}

func (a StocBiO) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Terms, a.InnerSteps = cmp.Or(a.Terms, 10), cmp.Or(a.InnerSteps, 10)
	if a.Step == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.Step, a.OuterStep = cmp.Or(a.Step, s.Inner), cmp.Or(a.OuterStep, s.Outer)
		a.NeumannStep = cmp.Or(a.NeumannStep, 2*s.Inner) // 1/L: the shortest series
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	a.NeumannStep = cmp.Or(a.NeumannStep, a.Step)
	return a, nil
}

// Defaults puts a schedule that ends at 0 on top of powers that are still large at the end of a short run.
func (a TTSA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Terms, a.Exponent, a.OuterExponent = cmp.Or(a.Terms, 10), cmp.Or(a.Exponent, 0.4), cmp.Or(a.OuterExponent, 0.6)
	a.Delay = cmp.Or(a.Delay, 100)
	chosen := a.Step == 0
	err := choose(scale, &a.Step, &a.OuterStep, &a.Schedule)
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, chosen))
	return a, err
}

// Defaults takes a step of x that is γ times that of other algorithms, because s_k divides it by γ again, but no longer
// than the penalty's curvature in x allows.
func (a VPBGD) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Penalty, a.InnerSteps = cmp.Or(a.Penalty, 10), cmp.Or(a.InnerSteps, 1)
	if a.ZStep == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.ZStep = cmp.Or(a.ZStep, s.Inner)
		a.OuterStep = cmp.Or(a.OuterStep, min(s.Outer*max(1, a.Penalty), s.Gap))
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	a.YStep = cmp.Or(a.YStep, a.ZStep)
	return a, nil
}

// Defaults of the variance-reduced algorithms leave the schedule alone: they converge with constant steps.
func (a SABA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Start = cmp.Or(a.Start, "zero")
	err := steps(scale, &a.Step, &a.OuterStep)
	return a, err
}

func (a SRBA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	err := steps(scale, &a.Step, &a.OuterStep)
	return a, err
}

func (a SUSTAIN) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Memory = cmp.Or(a.Memory, "true")
	a.Terms, a.Momentum, a.Exponent = cmp.Or(a.Terms, 10), cmp.Or(a.Momentum, 0.5), cmp.Or(a.Exponent, 1.0/3)
	chosen := a.Step == 0
	err := steps(scale, &a.Step, &a.OuterStep)
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, chosen))
	return a, err
}

func (a VRBO) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Terms, a.InnerSteps, a.Variant = cmp.Or(a.Terms, 10), cmp.Or(a.InnerSteps, 3), cmp.Or(a.Variant, "paper")
	chosen := a.Step == 0
	err := steps(scale, &a.Step, &a.OuterStep)
	a.NeumannStep = cmp.Or(a.NeumannStep, neumannStep(a.Step, chosen))
	return a, err
}

// steps chooses both steps where they are missing, and leaves the schedule alone.
func steps(scale func() (Scale, error), inner, outer *float64) error {
	if *inner != 0 && *outer != 0 {
		return nil
	}
	s, err := scale()
	*inner, *outer = cmp.Or(*inner, s.Inner), cmp.Or(*outer, s.Outer)
	return err
}

// StepsOf calls f for every step size of a copy of an algorithm, by its name in configuration files, and gives the
// copy.
func StepsOf(a Algorithm, f func(name string, step reflect.Value)) Algorithm {
	v := reflect.New(reflect.TypeOf(a)).Elem()
	v.Set(reflect.ValueOf(a))
	for i := range v.NumField() {
		name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("json"), ",")
		if field := v.Field(i); field.Kind() == reflect.Float64 && strings.HasSuffix(name, "step") {
			f(name, field)
		}
	}
	return v.Interface().(Algorithm)
}

// WithSteps gives an algorithm steps where it has none, so that no problem is looked at to choose them: to find out
// whether it fits one.
func WithSteps(a Algorithm) Algorithm {
	return StepsOf(a, func(_ string, step reflect.Value) {
		if step.Float() == 0 {
			step.SetFloat(1)
		}
	})
}

// shrink makes the step sizes that were chosen here smaller: those that a leaves at zero and that chosen has. ok is
// false where there are none.
func shrink(a, chosen Algorithm) (smaller Algorithm, ok bool) {
	v := reflect.New(reflect.TypeOf(chosen))
	v.Elem().Set(reflect.ValueOf(chosen))
	before := reflect.ValueOf(a)
	if before.Type() != v.Elem().Type() {
		return chosen, false
	}
	for i := range before.NumField() {
		f := v.Elem().Field(i)
		name, _, _ := strings.Cut(before.Type().Field(i).Tag.Get("json"), ",")
		if f.Kind() == reflect.Float64 && strings.HasSuffix(name, "step") && before.Field(i).Float() == 0 {
			f.SetFloat(f.Float() * backOff)
			ok = true
		}
	}
	return v.Elem().Interface().(Algorithm), ok
}
