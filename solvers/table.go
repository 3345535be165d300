package solvers

import (
	"fmt"
	"strings"

	"bilevel/internal/nearest"
	"bilevel/internal/settings"
)

// Entry is one algorithm's row in the list: its paper, and the algorithm with every setting left to be chosen. What it
// needs is in Needs; what an iteration costs is counted by its engine.
type Entry struct {
	Source string
	Zero   Algorithm
}

// Name is the algorithm's.
func (e Entry) Name() string { return e.Zero.Name() }

// Algorithms lists every algorithm.
func Algorithms() []Entry {
	return []Entry{
		{"Dagréou, Ablin, Vaiter, Moreau, NeurIPS 2022", SOBA{}},
		{"Kwon, Kwon, Wright, Nowak, ICML 2023", F2SA{}},
		{"Ji, Yang, Liang, ICML 2021", StocBiO{}},
	}
}

// AlgorithmByName finds an algorithm; its error names the nearest one.
func AlgorithmByName(name string) (Entry, error) {
	var names []string
	for _, e := range Algorithms() {
		if e.Name() == name {
			return e, nil
		}
		names = append(names, e.Name())
	}
	return Entry{}, fmt.Errorf("unknown algorithm %q (there are %s)%s", name, strings.Join(names, ", "),
		nearest.Hint(name, names))
}

// plain refuses algorithms whose fields cannot be set: those that are no struct, or a pointer to one.
func plain(a Algorithm) error { return settings.Check("an algorithm", a) }

// Fields lists the names of an algorithm's settings.
func Fields(a Algorithm) (names []string) { return settings.Fields(a) }

// Decode sets fields of an algorithm from a YAML mapping or a JSON object, {"step": 0.1, "schedule": "linear"}; the
// others keep their values. Its error names an unknown field with the nearest one, or what a field wants.
func Decode(a Algorithm, text []byte) (Algorithm, error) {
	if err := plain(a); err != nil {
		return nil, err
	}
	return settings.Decode(a, text)
}

// Set sets fields given as texts, "step=0.1", as a command line gives them.
func Set(a Algorithm, assignments ...string) (Algorithm, error) {
	if err := plain(a); err != nil {
		return nil, err
	}
	return settings.Set(a, assignments...)
}
