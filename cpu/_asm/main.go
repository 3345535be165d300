// Command _asm writes the assembly of package cpu. It is a module of its own, so that avo stays out of the project's.
//
//	go run .         writes every family
//	go run . gemm    writes one: ../gemm_amd64.s and ../gemm_amd64.go
//
// go test fails with a diff where a committed file is not what this program writes.
package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"

	"github.com/mmcloughlin/avo/build"
	"github.com/mmcloughlin/avo/buildtags"
	"github.com/mmcloughlin/avo/pass"
	"github.com/mmcloughlin/avo/printer"
)

func main() {
	only := ""
	if len(os.Args) > 1 {
		only = os.Args[1]
	}
	written := 0
	for _, f := range families {
		if only != "" && only != f.name {
			continue
		}
		for name, text := range f.files() {
			if err := os.WriteFile(filepath.Join("..", name), text, 0o644); err != nil {
				fmt.Fprintln(os.Stderr, err)
				os.Exit(1)
			}
		}
		written++
	}
	if written == 0 {
		fmt.Fprintf(os.Stderr, "no family %q\n", only)
		os.Exit(1)
	}
}

// files is what the family's two files contain, by name.
func (f family) files() map[string][]byte {
	if f.texts != nil {
		return f.texts()
	}
	c := build.NewContext()
	tag, _ := buildtags.ParseConstraint("!purego")
	c.Constraints(tag.ToConstraints())
	f.write(c)

	cfg := printer.Config{Argv: []string{"go", "run", ".", f.name}, Pkg: "cpu"}
	var asm, stubs bytes.Buffer
	passes := []pass.Interface{
		pass.Compile,
		&pass.Output{Writer: nopCloser{&asm}, Printer: printer.NewGoAsm(cfg)},
		&pass.Output{Writer: nopCloser{&stubs}, Printer: printer.NewStubs(cfg)},
	}
	if build.Main(&build.Config{ErrOut: nopCloser{os.Stderr}, MaxErrors: 10, Passes: passes}, c) != 0 {
		os.Exit(1)
	}
	return map[string][]byte{f.name + "_amd64.s": asm.Bytes(), f.name + "_amd64.go": stubs.Bytes()}
}

type nopCloser struct{ writer }

type writer interface{ Write([]byte) (int, error) }

func (nopCloser) Close() error { return nil }
