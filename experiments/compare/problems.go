package compare

import (
	"fmt"
	"slices"
	"strings"

	"bilevel/data"
	"bilevel/experiments/check"
	"bilevel/internal/nearest"
	"bilevel/solvers/solvertest"
	"bilevel/tensor"
)

// Problem is one that algorithms are compared on.
type Problem struct {
	Name  string
	About string
	Data  string // the data set that it is made of, "" where it brings its own numbers
	Best  string // the measure by which settings are chosen

	// measures are the columns of its curves beside what a run has cost, and the one of them that says how far the
	// upper variable is from a solution. It is a function because some problems have to be built to say it, and the
	// list of problems is made each time that the program starts.
	measures func() (columns []string, distance string)
	open     func(ex *tensor.Executor, c Config, set *data.Dataset, seed uint64) (*task, error)
}

// Measures are the columns of its curves beside what a run has cost.
func (p Problem) Measures() []string {
	columns, _ := p.measures()
	return columns
}

// always is what problems measure that all have the same columns.
func always(distance string, columns ...string) func() ([]string, string) {
	return func() ([]string, string) { return columns, distance }
}

// Problems lists them: those of package check, whose solutions are known, and applications on data.
func Problems() (list []Problem) {
	for _, p := range slices.Concat(check.Problems(), saddles()) {
		list = append(list, closedProblem(p))
	}
	return append(list, regularization("ijcnn1"), regularization("adult"), cleaning("mnist"), cleaning("fashion-mnist"),
		cleaning("digits"))
}

// saddles are problems in closed form whose upper objective is maximized over a further variable, which package check
// has no truth for.
func saddles() []check.Problem {
	return []check.Problem{
		{Name: "worst", About: "the worst of five upper objectives, each with a lower level of its own",
			New: func(seed uint64) solvertest.Closed { return solvertest.NewWorst(seed, 5) }},
		{Name: "duals", About: "twelve lower levels, drawn two at a time, each with a variable that is maximized over",
			New: func(seed uint64) solvertest.Closed {
				return &solvertest.Duals{Worst: *solvertest.NewWorst(seed, 12)}
			}},
	}
}

// ByName finds a problem; its error names the nearest one.
func ByName(name string) (Problem, error) {
	for _, p := range Problems() {
		if p.Name == name {
			return p, nil
		}
	}
	names := Names()
	return Problem{}, fmt.Errorf("unknown problem %q (there are %s)%s", name, strings.Join(names, ", "),
		nearest.Hint(name, names))
}

// Names lists the names of the problems.
func Names() (names []string) {
	for _, p := range Problems() {
		names = append(names, p.Name)
	}
	return names
}

// Column is a measure as it is drawn over the course of runs.
type Column struct {
	Name        string
	AboveLowest bool // what it is above the lowest value that any run comes to is drawn
}

// Drawn are the measures that are worth a plot: what is known of the distance from a solution, and of the value.
func (p Problem) Drawn() []Column {
	columns, distance := p.measures()
	value := Column{"value", true}
	if slices.Contains(columns, "gap") {
		value = Column{"gap", false}
	}
	return []Column{{distance, false}, value}
}

// Gaps says what the measures are.
func (p Problem) Gaps() string {
	switch {
	case p.Data == "":
		return "value is h(x) = F(x, y*(x)), gap what it is above the minimum of h (that of a search with exact " +
			"gradients from the start, where the problem declares no solution), gradient |∇h|, in a set the " +
			"length of a projected step, inner_distance |y - y*(x)|, distance |x - x*|; all in float64 from " +
			"closed forms."
	case slices.Contains(p.Measures(), "gradient"):
		return "value is the mean loss of the validation rows at y*(x), which Newton's method finds, gradient " +
			"|∇h| by the implicit function theorem, inner_distance |y - y*(x)|."
	}
	return "value is the mean loss of the validation rows at the y of the time, val_error and test_error the part " +
		"of the rows that it judges wrong."
}
