package bilevel_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// module is the import path of this repository.
const module = "bilevel/"

// mayImport lists, for each layer, the only layers its non-test files may import.
// A layer is the longest matching key. Any layer may import internal.
var mayImport = map[string][]string{
	".": {},
	"cmd": {"experiments", "experiments/table", "experiments/audit", "solvers", "solvers/engine", "bench", "data",
		"data/fetch", "tensor", "device", "device/open", "device/null", "device/devicetest", "device/cuda/report"},
	"cmd/ptxrun": {},
	"bench": {"experiments", "solvers", "solvers/engine", "solvers/problem", "models", "models/params", "data",
		"tensor", "device", "device/open", "device/null", "device/devicetest", "cpu", "kernels"},
	"experiments": {"experiments", "solvers", "solvers/engine", "solvers/hypergrad", "solvers/linear",
		"solvers/minimize", "solvers/problem", "solvers/prune", "solvers/attack", "solvers/robust",
		"solvers/solvertest", "models", "models/params", "models/sparse", "data", "tensor"},
	"experiments/table": {"experiments", "data", "tensor"},
	"experiments/audit": {"experiments", "experiments/table"},
	"solvers": {"solvers/engine", "solvers/linear", "solvers/minimize", "solvers/problem", "models/params",
		"tensor"},
	"solvers/minimize":  {"solvers/engine", "solvers/linear", "solvers/problem", "models/params", "tensor"},
	"solvers/hypergrad": {"solvers/linear", "solvers/minimize", "solvers/problem", "models/params", "tensor"},
	"solvers/prune": {"solvers/engine", "solvers/linear", "solvers/minimize", "solvers/problem", "models/params",
		"tensor"},
	"solvers/attack":     {"solvers/problem", "models", "models/params", "tensor"},
	"solvers/engine":     {"solvers/problem", "models/params", "tensor"},
	"solvers/problem":    {"solvers/linear", "models/params", "tensor", "device/open"},
	"solvers/linear":     {"tensor"},
	"solvers/robust":     {"solvers/engine", "solvers/problem", "models", "models/params", "tensor"},
	"solvers/solvertest": {"solvers/problem", "tensor"},
	"models":             {"models/params", "tensor"},
	"models/sparse":      {"models", "cpu"},
	"models/params":      {"tensor"},
	"data":               {},
	"data/fetch":         {"data"},
	"tensor":             {"device"},
	"tensor/dense":       {"tensor"},
	"tensor/tensortest":  {"tensor", "device"},
	"device":             {},
	"device/cpudevice":   {"device", "cpu"},
	"device/cuda":        {"device", "device/cuda", "kernels"},
	"device/cuda/report": {"device", "device/cuda"},
	"device/null":        {"device"},
	"device/ref":         {"device"},
	"device/open":        {"cpu", "device", "device/cpudevice", "device/cuda", "device/ref"},
	"device/devicetest":  {"device", "device/ref"},
	"cpu":                {},
	"kernels":            {},
	"internal":           {},
}

// isModule tells whether a folder is a module of its own, as the examples are.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// onlyIn names the one layer that imports a library with many dependencies of its own, so that the others do without
// them.
var onlyIn = map[string]string{"gorgonia.org/tensor": "tensor/dense"}

func layerOf(dir string) string {
	for {
		if _, ok := mayImport[dir]; ok {
			return dir
		}
		if dir == "." {
			return ""
		}
		if dir = path.Dir(dir); dir == "." {
			return "" // only the root package itself is the layer "."
		}
	}
}

func TestImportsFlowOneWay(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), "_") || isModule(file)) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") || strings.HasSuffix(file, "_test.go") {
			return nil
		}
		from := layerOf(filepath.ToSlash(filepath.Dir(file)))
		if from == "" {
			t.Errorf("%s: package belongs to no layer; add it to mayImport", file)
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		for _, imp := range f.Imports {
			p, _ := strconv.Unquote(imp.Path.Value)
			if layer, ok := onlyIn[p]; ok && layer != from {
				t.Errorf("%s: %s is imported by layer %q alone", file, p, layer)
			}
			rel, ours := strings.CutPrefix(p, module)
			if !ours || strings.HasPrefix(rel, "internal/") {
				continue
			}
			seen++
			to, ok := layerOf(rel), false
			for _, allowed := range mayImport[from] {
				ok = ok || to == allowed
			}
			if !ok {
				t.Errorf("%s: layer %q may not import layer %q", file, from, to)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if seen == 0 {
		t.Fatal("no internal imports seen; the test is not looking at the module")
	}
}

// A file of more than 520 lines needs a reason: a comment near its top that begins with "Long:". Those that a program
// writes may be as long as it likes.
func TestFilesAreShort(t *testing.T) {
	const limit = 520
	err := filepath.WalkDir(".", func(file string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && file != "." && (strings.HasPrefix(d.Name(), "_") || strings.HasPrefix(d.Name(), ".")) {
			return filepath.SkipDir
		}
		if !strings.HasSuffix(file, ".go") {
			return nil
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		head := string(text[:min(len(text), 1500)])
		excused := strings.HasPrefix(head, "// Code generated ") || strings.Contains(head, "// Long:")
		if lines := strings.Count(string(text), "\n"); lines > limit && !excused {
			t.Errorf("%s has %d lines: split it, or say why near its top (// Long: …)", file, lines)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
