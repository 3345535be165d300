package experiments

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"reflect"
	"strings"

	"bilevel/internal/atomicfile"
	"bilevel/internal/safetensors"
	"bilevel/solvers/engine"
)

// Checkpoint is an unfinished cell: the snapshot of the stage that it was in, and its log. Written back, the cell ends
// with the same bits as one that was never stopped, on the same version, device and instruction set.
type Checkpoint struct {
	Cell     json.RawMessage  `json:"cell"` // as Cell.Key reads it
	Key      string           `json:"key"`
	Version  string           `json:"version"`
	Device   string           `json:"device"` // with its instruction set
	Stage    string           `json:"stage"`
	Snapshot *engine.Snapshot `json:"snapshot"`
	Columns  []string         `json:"columns"`

	Log *Log `json:"-"`
}

// Places of arrays in the file.
const (
	statePrefix, bestPrefix           = "state/", "best/"
	movedName, rowsName, vectorPrefix = "moved", "log/rows", "log/vector/"
)

// Write writes the checkpoint as a safetensors file, whole or not at all.
func (c *Checkpoint) Write(path string) error {
	meta, err := json.Marshal(c)
	if err != nil {
		return err
	}
	f := safetensors.File{Metadata: map[string]string{"checkpoint": string(meta)},
		Arrays: map[string]safetensors.Array{}}
	put := func(name string, values []float64, shape ...int) {
		if shape == nil {
			shape = []int{len(values)}
		}
		f.Arrays[name] = safetensors.Compact(shape, values)
	}
	for name, a := range c.Snapshot.Arrays {
		put(statePrefix+name, a)
	}
	if c.Snapshot.Best != nil {
		for name, a := range c.Snapshot.Best.Arrays {
			put(bestPrefix+name, a)
		}
	}
	if c.Snapshot.Moved != nil {
		put(movedName, c.Snapshot.Moved)
	}
	if c.Log != nil && len(c.Log.rows) > 0 {
		var all []float64
		for i, row := range c.Log.rows {
			all = append(all, row...)
			if v := c.Log.vectors[i]; v != nil {
				put(fmt.Sprint(vectorPrefix, i), v)
			}
		}
		f.Arrays[rowsName] = safetensors.Array{Shape: []int{len(c.Log.rows), len(c.Columns)}, F64: all}
	}
	if f.Metadata[checksumName], err = checksumOf(f); err != nil {
		return err
	}
	return atomicfile.Write(path, func(w io.Writer) error { return safetensors.Write(w, f) })
}

// ReadCheckpoint reads a file that Write wrote; its error wraps fs.ErrNotExist where there is none.
func ReadCheckpoint(path string) (*Checkpoint, error) {
	f, err := safetensors.ReadFile(path, "checkpoint")
	if err != nil {
		return nil, err
	}
	sum, err := checksumOf(*f)
	if err == nil && f.Metadata[checksumName] != sum {
		err = errChecksum
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no checkpoint that can be gone on with: %w", path, err)
	}
	c := &Checkpoint{}
	if err := json.Unmarshal([]byte(f.Metadata["checkpoint"]), c); err != nil || c.Snapshot == nil {
		return nil, fmt.Errorf("%s is no checkpoint of this program: its metadata have no snapshot", path)
	}
	return c, c.take(f, path)
}

// take fills in the arrays of a file.
func (c *Checkpoint) take(f *safetensors.File, path string) error {
	c.Snapshot.Arrays = map[string][]float64{}
	c.Log = NewLog(c.Columns...)
	if rows, ok := f.Arrays[rowsName]; ok {
		if len(rows.Shape) != 2 || rows.Shape[1] != len(c.Columns) || rows.F64 == nil {
			return fmt.Errorf("%s: its log of shape %v does not have the columns %v", path, rows.Shape, c.Columns)
		}
		for i := range rows.Shape[0] {
			c.Log.rows = append(c.Log.rows, rows.F64[i*rows.Shape[1]:(i+1)*rows.Shape[1]])
			var vector []float64
			if v, ok := f.Arrays[fmt.Sprint(vectorPrefix, i)]; ok {
				vector = v.Reals()
			}
			c.Log.vectors = append(c.Log.vectors, vector)
		}
	}
	for name, a := range f.Arrays {
		if s, ok := strings.CutPrefix(name, statePrefix); ok {
			c.Snapshot.Arrays[s] = a.Reals()
		} else if s, ok := strings.CutPrefix(name, bestPrefix); ok {
			if c.Snapshot.Best == nil {
				c.Snapshot.Best = &engine.Snapshot{Arrays: map[string][]float64{}}
			}
			c.Snapshot.Best.Arrays[s] = a.Reals()
		} else if name == movedName {
			c.Snapshot.Moved = a.Reals()
		}
	}
	return nil
}

// Difference says in which fields of the configuration two cells differ, given as JSON: "reg is 0.005 there, 0.01
// here".
func Difference(there, here json.RawMessage) string {
	type cell struct {
		Experiment string         `json:"experiment"`
		Config     map[string]any `json:"config"`
		Seed       uint64         `json:"seed"`
		Data       string         `json:"data"`
	}
	var a, b cell
	if json.Unmarshal(there, &a) != nil || json.Unmarshal(here, &b) != nil {
		return "one of the two is no configuration"
	}
	var parts []string
	note := func(name string, x, y any) {
		if !reflect.DeepEqual(x, y) {
			parts = append(parts, fmt.Sprintf("%s is %v there, %v here", name, x, y))
		}
	}
	note("the experiment", a.Experiment, b.Experiment)
	note("the seed", a.Seed, b.Seed)
	note("the data's fingerprint", a.Data, b.Data)
	for _, name := range sortedKeys(a.Config, b.Config) {
		note(name, a.Config[name], b.Config[name])
	}
	return strings.Join(parts, "; ")
}

// isMissing tells whether an error says that a file is not there.
func isMissing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
