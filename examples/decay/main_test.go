package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"strings"
	"testing"
)

// Example runs the program: it meets its tolerance, and the certificate raises no doubt. Numbers, which depend on the
// machine's arithmetic, are left out.
func Example() {
	out, w, _ := os.Pipe()
	stdout := os.Stdout
	os.Stdout = w
	main()
	os.Stdout = stdout
	w.Close()
	text, _ := io.ReadAll(out)
	for line := range strings.Lines(string(text)) {
		words := strings.Fields(line)
		fmt.Println(strings.Join(words[:2], " "))
	}
	// Output:
	// converged after
	// log decays:
	// hypergradient of
}

// A bi-level problem with data of one's own takes at most 30 lines of at most 100 columns, from main to the printed
// certificate.
func TestIsShort(t *testing.T) {
	text, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, "main.go", text, 0)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range f.Decls {
		if m, ok := d.(*ast.FuncDecl); ok && m.Name.Name == "main" {
			if lines := set.Position(m.End()).Line - set.Position(m.Pos()).Line + 1; lines > 30 {
				t.Errorf("main has %d lines", lines)
			}
		}
	}
	for i, line := range strings.Split(string(text), "\n") {
		if len([]rune(strings.ReplaceAll(line, "\t", "        "))) > 100 {
			t.Errorf("line %d has more than 100 columns", i+1)
		}
	}
}

// The README shows this program: every line of its Go code is here, in the same order.
func TestReadmeShowsIt(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("main.go")
	if err != nil {
		t.Fatal(err)
	}
	_, shown, _ := strings.Cut(string(readme), "```go\n")
	shown, _, found := strings.Cut(shown, "```")
	if !found {
		t.Fatal("the README has no Go code")
	}
	rest := string(text)
	for line := range strings.Lines(shown) {
		if strings.TrimSpace(line) == "…" {
			continue
		}
		if _, rest, found = strings.Cut(rest, line); !found {
			t.Errorf("the README has a line that main.go has not, or not there: %s", line)
		}
	}
}
