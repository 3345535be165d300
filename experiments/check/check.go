// Package check holds every estimator and algorithm against answers that are known: closed forms, and differences of
// values in float64.
package check

import (
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"bilevel/internal/nearest"
	"bilevel/tensor"
)

// Check is one row of the table: a problem with known answers, and what is compared with them.
type Check struct {
	Name  string
	About string
	Run   func(ctx context.Context, ex *tensor.Executor, seed uint64) ([]Finding, error)
}

// Checks lists every check.
func Checks() []Check {
	return []Check{
		{"quadratic", "two quadratics, whose hypergradient, adjoint and optimum have closed forms", quadratic},
	}
}

// ByName finds a check; its error names the nearest one.
func ByName(name string) (Check, error) {
	var names []string
	for _, c := range Checks() {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	return Check{}, fmt.Errorf("unknown check %q (there are: %s)%s",
		name, strings.Join(names, ", "), nearest.Hint(name, names))
}

// Finding is one comparison: what was compared, by how much it is off, and how much it may be.
type Finding struct {
	What    string  `json:"what"`
	Error   float64 `json:"error"`
	Allowed float64 `json:"allowed"`
	// Why says where the allowance comes from.
	Why string `json:"why"`
}

// OK tells whether the comparison holds.
func (f Finding) OK() bool { return f.Error <= f.Allowed } // false for NaN

// Write prints findings as a table and returns how many do not hold.
func Write(w io.Writer, findings []Finding) (failed int, err error) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "\terror\tallowed\t")
	for _, f := range findings {
		verdict := "ok"
		if !f.OK() {
			verdict = "FAILS"
			failed++
		}
		fmt.Fprintf(t, "%s\t%.2g\t%.2g\t%s\t%s\n", f.What, f.Error, f.Allowed, verdict, f.Why)
	}
	return failed, t.Flush()
}
