package experiments

import (
	"encoding/json"
	"fmt"
	"math"
	"math/bits"
	"strings"

	"bilevel/data"
	"bilevel/models/params"
	"bilevel/solvers/hypergrad"
	"bilevel/solvers/linear"
	"bilevel/solvers/problem"
)

// Record is what a cell reports.
type Record struct {
	Experiment, Key, Device string
	Seed                    uint64
	Data                    string // Cell.Data

	Scalars map[string]float64 // by name; a dot in it makes an object in JSON, NaN is a null
	Counts  map[string]int64   // whole numbers
	Texts   map[string]string
	Flags   map[string]bool
	Lists   map[string][]string // a name at its number, such as those of classes

	Curve       Curve
	Tables      []Table
	Samples     []Sample // values whose distribution is drawn
	Images      []Grid
	Heats       []Heat
	Networks    []Network
	Models      []Model
	Arrays      []Array
	Sets        []Set
	Certificate *hypergrad.Hypergradient // at the end, on all rows
	Implicit    *Implicit                // what the implicit term does; every bi-level record has it
	Warnings    []string                 // sentences for a user
}

// Curve is numbers over the course of a run, one row a record; the first column is the iteration.
type Curve struct {
	Columns []string
	Rows    [][]float64
}

// Column is one column of the curve.
func (c Curve) Column(name string) []float64 {
	for j, n := range c.Columns {
		if n == name {
			out := make([]float64, len(c.Rows))
			for i, row := range c.Rows {
				out[i] = row[j]
			}
			return out
		}
	}
	return nil
}

// Table is a list that is written as CSV, NAME.csv (NAME-seed-S.csv for several seeds).
type Table struct {
	Name    string
	Columns []string
	Rows    [][]string
}

// AddFiles adds a last column: the file of each row of the table, which is at place(i) among the files. Where there are
// no files it adds none.
func (t *Table) AddFiles(files []string, place func(i int) int32) {
	if files == nil {
		return
	}
	t.Columns = append(t.Columns, "file")
	for i := range t.Rows {
		t.Rows[i] = append(t.Rows[i], files[place(i)])
	}
}

// Sample is values in [0, 1] of one kind, drawn as one colour of a histogram.
type Sample struct {
	Name   string
	Values []float64
}

// Model is trained parameters and how to rebuild the model, written as NAME.safetensors (NAME-seed-S.safetensors).
type Model struct {
	Name     string
	Arrays   params.Values // with PyTorch's names
	Metadata map[string]string
}

// Array is numbers of a shape, written as NAME.npy (NAME-seed-S.npy).
type Array struct {
	Name   string
	Shape  []int
	Values []float32
}

// Set is a choice of some of a number of elements, such as the weights that a mask keeps. Tables tell how much of it
// the records of several seeds have in common.
type Set struct {
	Name string
	Of   int    // elements that it is chosen from
	Bits []byte // element i is in the set where bit i%8 of byte i/8 is 1
}

// NewSet is the set of the elements that are not 0.
func NewSet(name string, elements []float64) Set {
	s := Set{Name: name, Of: len(elements), Bits: make([]byte, (len(elements)+7)/8)}
	for i, v := range elements {
		if v != 0 {
			s.Bits[i/8] |= 1 << (i % 8)
		}
	}
	return s
}

// Count is how many elements the set has.
func (s Set) Count() (n int) {
	for _, b := range s.Bits {
		n += bits.OnesCount8(b)
	}
	return n
}

// Common is how many elements two sets of the same size have in common.
func (s Set) Common(t Set) (n int) {
	for i, b := range s.Bits {
		n += bits.OnesCount8(b & t.Bits[i])
	}
	return n
}

// Grid is images [n, height, width] with values in [0, 1] and a caption each, written as NAME.png.
type Grid struct {
	Name          string
	Height, Width int
	Pixels        []float32
	Captions      []string
}

// Implicit is what the implicit term of the hypergradient does at the end of a run.
type Implicit struct {
	Share  float64 // |C v| / |∇h|
	Cosine float64 // between -C v and ∇h, which was certified
	// Control is the run's own measure without the term, NaN where no such run was made; Measure names it.
	Control float64
	Measure string
}

// NewRecord is an empty record.
func NewRecord() *Record {
	return &Record{
		Scalars: map[string]float64{}, Counts: map[string]int64{}, Texts: map[string]string{}, Flags: map[string]bool{},
		Lists: map[string][]string{},
	}
}

// Warn adds a sentence for a user.
func (r *Record) Warn(format string, args ...any) {
	r.Warnings = append(r.Warnings, fmt.Sprintf(format, args...))
}

// WarnOfSeenRows warns of the scores of a network that was trained before, where the set has no test part of its own:
// its training may have had any of the rows.
func (r *Record) WarnOfSeenRows(set *data.Dataset) {
	if set.Test == nil {
		r.Warn("%s has no test part: the network may have been trained on the rows that it is evaluated on", set.Name)
	}
}

// NameClasses keeps what the data call their classes, in the order of their numbers.
func (r *Record) NameClasses(set *data.Dataset) {
	names := make([]string, set.Classes)
	for c := range names {
		names[c] = set.ClassName(int32(c))
	}
	r.Lists[ClassMapping] = names
}

// ClassMapping is the list that NameClasses keeps.
const ClassMapping = "class_mapping"

// Certify keeps a certificate: its figures, what the implicit term does, and a warning where it cannot be trusted.
func (r *Record) Certify(h *hypergrad.Hypergradient, remedy string) {
	r.Certificate = h
	r.Implicit = &Implicit{Share: h.Share(), Cosine: h.Cosine, Control: math.NaN()}
	for name, v := range map[string]float64{
		"norm": h.Norm(), "error": h.Error, "stationarity": h.Stationarity, "residual": h.Residual,
		"smallest_eigenvalue": h.SmallestEigenvalue, "implicit_share": r.Implicit.Share,
		"implicit_cosine": r.Implicit.Cosine, "control": r.Implicit.Control,
	} {
		r.Scalars["hypergradient."+name] = v
	}
	r.Texts["hypergradient.kind"], r.Texts["hypergradient.status"] = string(h.Kind), h.Status.String()
	if h.Status != linear.Converged {
		r.Warn("the hypergradient at the end is not reliable (%s): %s", h.Status, remedy)
	}
}

// Count keeps what a run has cost.
func (r *Record) Count(c problem.Counts) {
	for name, n := range map[string]int64{
		"lower_gradients": c.LowerGradients, "upper_gradients": c.UpperGradients, "hvp": c.HVP, "jvp": c.JVP,
		"values": c.Values, "samples": c.Samples,
	} {
		r.Counts["oracle."+name] = n
	}
}

// MarshalJSON writes the scalars, counts, texts, flags and lists as one object, names with dots as objects in it, and
// the warnings as a list, which is empty where there are none.
func (r *Record) MarshalJSON() ([]byte, error) {
	out := map[string]any{
		"seed": r.Seed, "device": r.Device, "key": r.Key, "warnings": append([]string{}, r.Warnings...),
	}
	put := func(name string, v any) {
		at := out
		parts := strings.Split(name, ".")
		for _, p := range parts[:len(parts)-1] {
			next, ok := at[p].(map[string]any)
			if !ok {
				next = map[string]any{}
				at[p] = next
			}
			at = next
		}
		at[parts[len(parts)-1]] = v
	}
	for name, v := range r.Scalars {
		if math.IsNaN(v) || math.IsInf(v, 0) {
			put(name, nil)
		} else {
			put(name, v)
		}
	}
	for name, v := range r.Counts {
		put(name, v)
	}
	for name, v := range r.Texts {
		put(name, v)
	}
	for name, v := range r.Flags {
		put(name, v)
	}
	for name, v := range r.Lists {
		put(name, append([]string{}, v...)) // a record that was read has nil for an empty list
	}
	return json.Marshal(out)
}

// Report says how an experiment's records are shown: rows of the terminal's table, and plots.
type Report struct {
	Before []string // texts by name, each a line before the table; those that a record has not are left out
	Rows   []Row
	After  []string // and after it
	Plots  []Plot
	// Histogram, where its File is set, draws the records' samples. Its Over, where set, is a scalar of the first
	// record that is marked as a line.
	Histogram Plot
}

// Row is one line of the terminal's table: a scalar's mean over the records, left out where any of them has none.
type Row struct {
	Title   string // {kind} stands for the text of the record called so
	Scalar  string
	Percent bool
	Whole   bool // without decimals, such as an estimated number of rows
}

// Plot is lines of the curve over one of its columns, drawn as mean and deviation over the records; FILE.svg and .png.
type Plot struct {
	File           string
	X, Y           string // the axes' labels
	Over           string // the column along the axis
	Lines          []Line
	ScaleToPercent bool
	Mark           Mark // of a histogram
}

// Mark is a dashed line at a value of the horizontal axis; nothing is drawn where it has no name.
type Mark struct {
	Name string
	At   float64
}

// Line is one line of a plot.
type Line struct {
	Name, Column string
	Optional     bool // left out where the curves have no such column; a plot without any line is not drawn
}
