package clean

import (
	"cmp"
	"fmt"
	"strings"

	"bilevel/internal/nearest"
)

// settings are the numbers of the rounds that a user may change; a zero step or number of iterations is chosen by model
// and size of the data.
type settings struct {
	Reg, Step, OuterStep float64
	Iterations, Batch    int
}

// settings of a configuration.
func (c Config) settings() settings {
	return settings{cmp.Or(c.Reg, 0.005), c.Step, c.OuterStep, c.Iterations, cmp.Or(c.Batch, 64)}
}

// Names of --weights beside the forms.
const (
	Auto  = "auto"
	Plain = "plain" // one round from equal weights, without a start on trusted rows
)

// Choices lists what --weights takes.
func Choices() []string { return []string{Auto, formTable, formRows, formNone, Plain} }

// Models lists what --model takes.
func Models() []string {
	names := []string{Auto}
	for _, s := range modelSpecs() {
		names = append(names, s.name)
	}
	return names
}

// CheckChoices refuses names that are not in the lists.
func (c Config) CheckChoices() error {
	for _, choice := range []struct {
		what, name string
		of         []string
	}{{"weights", cmp.Or(c.Weights, Plain), Choices()}, {"model", cmp.Or(c.Model, Auto), Models()}} {
		found := false
		for _, n := range choice.of {
			found = found || n == choice.name
		}
		if !found {
			return fmt.Errorf("unknown %s %q (there are %s)%s", choice.what, choice.name,
				strings.Join(choice.of, ", "), nearest.Hint(choice.name, choice.of))
		}
	}
	return nil
}

// specs are the models that a configuration leaves open.
func (c Config) specs() (specs []modelSpec) {
	for _, s := range modelSpecs() {
		if (c.Model == "" || c.Model == Auto) && !s.named || c.Model == s.name {
			specs = append(specs, s)
		}
	}
	return specs
}
