package solvers

import (
	"cmp"
	"reflect"
	"strings"
)

// Defaults chooses both steps where they are missing, and then a schedule that falls.
func (a SOBA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	if a.Step == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.Step, a.OuterStep = cmp.Or(a.Step, s.Inner), cmp.Or(a.OuterStep, s.Outer)
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	return a, nil
}

func (a F2SA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Multiplier, a.InnerSteps = cmp.Or(a.Multiplier, 10), cmp.Or(a.InnerSteps, 10)
	if a.ZStep == 0 || a.OuterStep == 0 {
		s, err := scale()
		if err != nil {
			return nil, err
		}
		a.ZStep, a.OuterStep = cmp.Or(a.ZStep, s.Inner), cmp.Or(a.OuterStep, s.Outer)
		a.Schedule = cmp.Or(a.Schedule, "linear")
	}
	a.YStep = cmp.Or(a.YStep, a.ZStep/a.Multiplier) // y then moves at the pace of z
	return a, nil
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

// Defaults of the variance-reduced algorithms leave the schedule alone: they converge with constant steps.
func (a SABA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	err := steps(scale, &a.Step, &a.OuterStep)
	return a, err
}

func (a SRBA) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	err := steps(scale, &a.Step, &a.OuterStep)
	return a, err
}

func (a VRBO) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Terms, a.InnerSteps = cmp.Or(a.Terms, 10), cmp.Or(a.InnerSteps, 3)
	series := a.Step == 0 && a.NeumannStep == 0
	if err := steps(scale, &a.Step, &a.OuterStep); err != nil {
		return nil, err
	}
	if a.NeumannStep = cmp.Or(a.NeumannStep, a.Step); series {
		a.NeumannStep = 2 * a.Step // 1/L: the shortest series
	}
	return a, nil
}

func (a SUSTAIN) Defaults(scale func() (Scale, error)) (Algorithm, error) {
	a.Terms, a.Momentum, a.Exponent = cmp.Or(a.Terms, 10), cmp.Or(a.Momentum, 0.5), cmp.Or(a.Exponent, 1.0/3)
	series := a.Step == 0 && a.NeumannStep == 0
	if err := steps(scale, &a.Step, &a.OuterStep); err != nil {
		return nil, err
	}
	if a.NeumannStep = cmp.Or(a.NeumannStep, a.Step); series {
		a.NeumannStep = 2 * a.Step // 1/L: the shortest series
	}
	return a, nil
}

// steps chooses both steps where they are missing.
func steps(scale func() (Scale, error), inner, outer *float64) error {
	if *inner != 0 && *outer != 0 {
		return nil
	}
	s, err := scale()
	*inner, *outer = cmp.Or(*inner, s.Inner), cmp.Or(*outer, s.Outer)
	return err
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
