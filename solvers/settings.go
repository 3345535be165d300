package solvers

import (
	"fmt"
	"reflect"
)

// Setting is one of an algorithm's settings: its name in configuration files, what it means, and its default.
type Setting struct {
	Name, Meaning string
	// Default is the value of an algorithm whose settings are all left to be chosen; Chosen says that it depends on the
	// problem, where it is measured, and Default is empty.
	Default string
	Chosen  bool
}

// meanings says what settings mean. A name means the same in every algorithm.
func meanings() map[string]string {
	return map[string]string{
		"adaptive":            "true: the step of x is found on the way; outer_step is the size of the first move",
		"aggregate":           "weight of the upper gradient in the first step on y, at most 1",
		"average":             "weight of the new direction in the average of directions, above 0 and at most 1",
		"begin":               "multiplier of the penalty in the first iteration of its ramp",
		"beta1":               "factor of Adam's average of gradients",
		"beta2":               "factor of Adam's average of squared gradients",
		"bound":               "the largest multiplier",
		"cg_steps":            "steps of conjugate gradients on the linear system in an iteration",
		"cold":                "true: the inner solve starts anew in every iteration, false: where the last one ended",
		"barrier":             "weight of the barrier, or of one over the penalty, in the first iteration",
		"decrease":            "part of the slope's promise that a step must keep to be taken",
		"delay":               "iterations before steps begin to fall like a power",
		"directions":          "random directions along which the response of y to x is measured",
		"dual_step":           "step size of the multiplier, or of the further variable",
		"epsilon":             "number in a denominator against 0/0; -1 for none, where that is allowed",
		"eta":                 "how fast the gap of the lower level shall fall",
		"every":               "steps of L-BFGS between two pairs in the direction that is wanted; 0: none",
		"exponent":            "of the power by which steps (bvfim: weights) fall; that of y beside outer_exponent",
		"extrapolation":       "weight of the change of the gap in the step of the multiplier; -1 for none",
		"fallback":            "a v so many times longer than the gradient of F in y gives way to it; 0: never",
		"growth":              "by how much the multiplier grows after the first iteration",
		"growth_exponent":     "of the power by which the growth falls",
		"inner_exponent":      "of the power by which the steps on the lower level grow in number",
		"inner_steps":         "steps on the lower level in an iteration",
		"last":                "of the steps on the lower level, how many are differentiated",
		"memory":              "of directions: true begins with directions at the start, zero with zero vectors",
		"momentum":            "weight of the new direction in the memory of directions in the first iteration",
		"multiplier":          "of the lower objective in the penalty function, in the first iteration",
		"multiplier_exponent": "of the power by which the multiplier grows",
		"neumann_step":        "step of the Neumann series, at most 1 over the largest eigenvalue of H",
		"outer_exponent":      "of the power by which the step of x falls",
		"outer_step":          "step size of x",
		"pairs":               "that L-BFGS remembers",
		"penalty":             "of the gap of the lower level: a multiplier at the end of a ramp; or log, quadratic",
		"period":              "iterations between two passes over all rows; 0: so many as draw half as many rows",
		"perturbation":        "size of a random linear term of the lower level, drawn once; -1 for none",
		"phi":                 "what the gap shall fall by: grad_norm, a part of its squared gradient, or value, of it",
		"probability":         "of a projection after a step on y",
		"proximal":            "weight of the proximal term that holds z at y",
		"ramp":                "iterations in which the penalty grows; 0: none",
		"refine":              "steps of conjugate gradients that improve v; 0: none",
		"regularization":      "weight of half the squared norm that is added to the lower level; -1 for none",
		"rule":                "by which tolerances fall: exponential, quadratic or cubic",
		"schedule":            "factor on step sizes by iteration, by name",
		"slack":               "by how much the gap of the lower level may stay open",
		"smoothing":           "distance over which differences are taken",
		"start":               "of tables: zero, or full, which makes a pass over all minibatches",
		"still":               "true: x may stand still where the upper objective does not depend on it",
		"step":                "step size of y",
		"terms":               "length of the Neumann series",
		"tolerance":           "of the lower level's gradient in the first iteration",
		"upper_decay":         "weight of half the squared norm of y in the upper objective",
		"upper_step":          "step size of y for the upper objective",
		"upper_steps":         "steps of x between two projections of it, or on y for the upper level",
		"v_step":              "step size of v",
		"v_steps":             "steps on the linear system in an iteration",
		"variant":             "paper, or benchmark: what a public implementation does",
		"y_exponent":          "of the power by which the step of y falls",
		"y_step":              "step size of y",
		"z_exponent":          "of the power by which the step of z falls",
		"z_step":              "step size of z, which follows the lower level's minimizer",
	}
}

// Settings lists an algorithm's settings, with the values that it takes where all are left to be chosen.
func (e Entry) Settings() ([]Setting, error) {
	var filled [2]reflect.Value
	for i, s := range []Scale{{2, 3, 5}, {7, 11, 13}} { // what comes out differently depends on the problem
		a, err := e.Zero.Defaults(func() (Scale, error) { return s, nil })
		if err != nil {
			return nil, err
		}
		filled[i] = reflect.ValueOf(a)
	}
	var out []Setting
	known := meanings()
	for _, name := range Fields(e.Zero) {
		s := Setting{Name: name, Meaning: known[name]}
		one, two := settingOf(filled[0], name), settingOf(filled[1], name)
		if s.Chosen = one != two; !s.Chosen {
			s.Default = fmt.Sprint(one)
		}
		if name == "schedule" && s.Default == "" {
			s.Default = "constant"
		}
		out = append(out, s)
	}
	return out, nil
}

// settingOf is the value of the field whose name in configuration files is given.
func settingOf(v reflect.Value, name string) any {
	for _, f := range reflect.VisibleFields(v.Type()) {
		if f.Tag.Get("json") == name {
			return v.FieldByIndex(f.Index).Interface()
		}
	}
	return nil
}
