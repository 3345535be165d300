package experiments

// Log is what a run notes down as it goes: rows of the curve, and with each a vector where one is wanted (the
// parameters at that time, for test errors that are scored at the end). A checkpoint holds it together with the
// engine's snapshot.
type Log struct {
	columns []string
	rows    [][]float64
	vectors [][]float64
}

// NewLog begins an empty log; the first column is the iteration.
func NewLog(columns ...string) *Log { return &Log{columns: columns} }

// Add notes a row, in place of one of the same iteration, and a vector, nil for none. Neither is copied.
func (l *Log) Add(row, vector []float64) {
	for n := len(l.rows); n > 0 && l.rows[n-1][0] >= row[0]; n = len(l.rows) {
		l.rows, l.vectors = l.rows[:n-1], l.vectors[:n-1]
	}
	l.rows, l.vectors = append(l.rows, row), append(l.vectors, vector)
}

// until is a copy of the log up to an iteration.
func (l *Log) until(iteration int) *Log {
	c := NewLog(l.columns...)
	for i, row := range l.rows {
		if row[0] <= float64(iteration) {
			c.rows, c.vectors = append(c.rows, row), append(c.vectors, l.vectors[i])
		}
	}
	return c
}

// Curve is the rows, which are the log's own: more columns may be filled in. Vectors are those of the rows.
func (l *Log) Curve() Curve         { return Curve{l.columns, l.rows} }
func (l *Log) Vectors() [][]float64 { return l.vectors }
