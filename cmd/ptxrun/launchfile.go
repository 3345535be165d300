package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// A launchFile is the JSON of -launch: what the flags say, for launches whose parameters are too long for a command
// line.
type launchFile struct {
	PTX       string            `json:"ptx"`
	Buffers   map[string]string `json:"buffers"`
	Constants map[string]string `json:"constants"`
	Launches  []struct {
		Entry       string `json:"entry"`
		Grid        sizes  `json:"grid"`
		Block       sizes  `json:"block"`
		Shared      int    `json:"shared"`
		Cooperative bool   `json:"cooperative"`
		Repeat      *int   `json:"repeat"`
		Args        []arg  `json:"args"`
	} `json:"launches"`
}

// sizes is one to three numbers: 8, [8] or [8, 1, 1].
type sizes [3]int

func (s *sizes) UnmarshalJSON(text []byte) error {
	list := []int{}
	if err := json.Unmarshal(text, &list); err != nil {
		var one int
		if json.Unmarshal(text, &one) != nil {
			return errors.New("a grid or block is one to three whole numbers, such as [16, 16, 1]")
		}
		list = []int{one}
	}
	*s = sizes{1, 1, 1}
	for i, n := range list {
		if i == len(s) || n < 1 {
			return errors.New("a grid or block is one to three whole numbers from 1 on, such as [16, 16, 1]")
		}
		s[i] = n
	}
	return nil
}

// arg is the text of an -arg, or a structure {"struct": [fields], "align": N}.
type arg struct {
	text   string
	fields []arg // of a structure
	align  int
}

func (a *arg) UnmarshalJSON(text []byte) error {
	if json.Unmarshal(text, &a.text) == nil {
		return nil
	}
	var s struct {
		Struct []arg `json:"struct"`
		Align  int   `json:"align"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&s); err != nil || len(s.Struct) == 0 {
		return errors.New(`an argument is a text such as "i32:5", or {"struct": [fields]}`)
	}
	a.fields, a.align, a.text = s.Struct, max(s.Align, 1), "struct"
	if s.Align != 0 && vectorAlign(fmt.Sprintf("struct%d", s.Align)) == 0 {
		return fmt.Errorf("an alignment is a power of two up to 128, not %d", s.Align)
	}
	return nil
}

// argument reads the text, or those of the fields.
func (a *arg) argument(dir string, depth int) (argument, error) {
	if a.fields == nil {
		return parseArg(a.text, dir)
	}
	s := argument{text: a.text, align: a.align}
	if depth > maxNesting {
		return s, errNesting
	}
	for i := range a.fields {
		f, err := a.fields[i].argument(dir, depth+1)
		if err != nil {
			return s, fmt.Errorf("field %q: %w", a.fields[i].text, err)
		}
		s.fields, s.align = append(s.fields, f), max(s.align, f.align)
	}
	return s, nil
}

// maxLaunchFile is the most bytes of a launch file.
const maxLaunchFile = 16 << 20

// readLaunchFile adds to opt what a launch file says. Names of files in it count from its folder.
func readLaunchFile(path string, opt *options) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxLaunchFile+1))
	if err != nil {
		return err
	}
	if len(text) > maxLaunchFile {
		return fmt.Errorf("%s: a launch file has at most %d bytes", path, maxLaunchFile)
	}
	if err := parseLaunchFile(text, filepath.Dir(path), opt); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

func parseLaunchFile(text []byte, dir string, opt *options) error {
	var file launchFile
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&file); err != nil {
		return fmt.Errorf("not a launch file: %w", err)
	}
	if d.More() {
		return errors.New("not a launch file: text behind the object")
	}
	if opt.ptx == "" && file.PTX != "" {
		opt.ptx = within(dir, file.PTX)
	}
	if opt.ptx == "" {
		return errors.New(`"ptx" is missing`)
	}
	if len(file.Launches) == 0 {
		return errors.New(`"launches" is missing or empty`)
	}
	for _, name := range sortedKeys(file.Buffers) {
		b, err := parseNamedBuffer(name+"="+file.Buffers[name], dir)
		if err != nil {
			return fmt.Errorf("buffer %q: %w", name, err)
		}
		opt.buffers = append(opt.buffers, b)
	}
	for _, name := range sortedKeys(file.Constants) {
		opt.constants = append(opt.constants, constant{name, within(dir, file.Constants[name])})
	}
	for i, l := range file.Launches {
		run := launch{entry: l.Entry, grid: l.Grid, block: l.Block, shared: l.Shared, cooperative: l.Cooperative,
			repeat: 1}
		if l.Repeat != nil {
			run.repeat = *l.Repeat
		}
		for k := range l.Args {
			a, err := l.Args[k].argument(dir, 0)
			if err != nil {
				return fmt.Errorf("launch %d, argument %q: %w", i+1, l.Args[k].text, err)
			}
			run.args = append(run.args, a)
		}
		if err := run.check(); err != nil {
			return fmt.Errorf("launch %d: %w", i+1, err)
		}
		opt.launches = append(opt.launches, run)
	}
	return nil
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}
