package table

import (
	"math"
	"strconv"

	"bilevel/experiments"
)

// Overlap says how much of a set of elements, such as a mask, the seeds of a row have in common.
type Overlap struct {
	Method string   `json:"method"`
	Varied []string `json:"varied"`
	Set    string   `json:"set"`
	// Stat is of |A ∩ B| / √(|A| |B|) over pairs of seeds: 1 where both chose the same elements.
	Stat
	// Chance is the mean of the same for sets of these sizes that are drawn by chance, √(|A| |B|) / n.
	Chance Number `json:"chance"`
}

// overlaps compares the sets of a row's cells, those of one name and size, pair by pair.
func overlaps(row RowResult, of []Outcome) (list []Overlap) {
	sets := map[string][]experiments.Set{}
	var names []string
	for _, o := range of {
		if o.Record == nil {
			continue
		}
		for _, s := range o.Record.Sets {
			if sets[s.Name] == nil {
				names = append(names, s.Name)
			}
			sets[s.Name] = append(sets[s.Name], s)
		}
	}
	for _, name := range names {
		var values, chance []float64
		for i, a := range sets[name] {
			for _, b := range sets[name][:i] {
				size := math.Sqrt(float64(a.Count()) * float64(b.Count()))
				if a.Of != b.Of || size == 0 {
					continue
				}
				values = append(values, float64(a.Common(b))/size)
				chance = append(chance, size/float64(a.Of))
			}
		}
		if len(values) > 0 {
			list = append(list, Overlap{row.Method, row.Varied, name, statistics(values), statistics(chance).Mean})
		}
	}
	return list
}

// overlaps is the table of them.
func (r *Result) overlaps() experiments.Table {
	t := experiments.Table{
		Name:    "What the seeds have in common, by pairs: |A ∩ B| / √(|A| |B|)",
		Columns: append(append([]string{"method"}, r.Varied...), "set", "pairs", "overlap", "by chance"),
	}
	for _, o := range r.Overlaps {
		m := Measure{Percent: true}
		line := append(append([]string{o.Method}, o.Varied...), o.Set, strconv.Itoa(o.N), m.text(o.Stat))
		t.Rows = append(t.Rows, append(line, m.number(o.Chance)))
	}
	return t
}
